//! A kernel's activity record, from its bytes.

/// A kernel that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRecord {
    /// Its entry.
    pub name: String,
    /// When it began, nanoseconds.
    pub start: u64,
    /// When it ended.
    pub end: u64,
}

/// `CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL`: kernels, without holding them apart.
pub(super) const CONCURRENT_KERNEL: u32 = 10;

/// What is read of `CUpti_ActivityKernel5` (CUDA 11.1) to `13` (CUDA 13.5): each has grown at its end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub start: u64,
    pub end: u64,
    /// Address of the name.
    pub name: u64,
}

impl Head {
    const START: usize = 16;
    const END: usize = 24;
    const NAME: usize = 104;
    /// Bytes that are looked at.
    pub const LEN: usize = Head::NAME + 8;

    /// From a record's first bytes; none if they are another kind's, or too few.
    pub fn parse(record: &[u8]) -> Option<Head> {
        let word = |at: usize| Some(u64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?));
        let kind = u32::from_ne_bytes(record.get(..4)?.try_into().ok()?);
        if kind != CONCURRENT_KERNEL {
            return None;
        }
        Some(Head { start: word(Head::START)?, end: word(Head::END)?, name: word(Head::NAME)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a `CUpti_ActivityKernel9`, of which only what is read is set.
    fn record(kind: u32) -> Vec<u8> {
        let mut bytes = vec![0xa5; 208];
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        for (at, word) in [(16, 1_000u64), (24, 3_500), (104, 0x7fff_0000_1234)] {
            bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn times_and_name_are_where_the_header_has_them() {
        let head = Head { start: 1_000, end: 3_500, name: 0x7fff_0000_1234 };
        assert_eq!(Head::parse(&record(CONCURRENT_KERNEL)), Some(head));
        // Later versions are longer; nothing behind the name is looked at.
        assert_eq!(Head::parse(&[record(CONCURRENT_KERNEL), vec![1; 40]].concat()), Some(head));
        assert_eq!(Head::parse(&record(CONCURRENT_KERNEL)[..Head::LEN]), Some(head));
    }

    #[test]
    fn other_kinds_and_records_cut_off_are_none() {
        assert_eq!(Head::parse(&record(1)), None);
        for len in [0, 3, 4, 24, Head::LEN - 1] {
            assert_eq!(Head::parse(&record(CONCURRENT_KERNEL)[..len]), None, "{len}");
        }
    }
}
