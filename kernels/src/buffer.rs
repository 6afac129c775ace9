//! Owned memory for tensors: aligned, zeroed, in huge pages where it is large.

use memmap2::{Advice, MmapMut};

/// Memory aligned to a cache line, zeroed.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    /// First byte; stays where it is for the life of the buffer.
    ptr: *mut u8,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Lines {
        _owned: Vec<Line>,
    },
    /// Fresh pages are zero without being touched, so that whoever first writes them has them near (NUMA), and the
    /// system may back them with huge pages: a token of a big model walks gigabytes, and 4 KiB at a time that is a
    /// page table walk for every expert row.
    Pages {
        _owned: MmapMut,
    },
}

// SAFETY: a buffer owns its memory as a Vec does; the pointer is to that memory alone.
unsafe impl Send for Buffer {}
// SAFETY: shared references only read (writing through `as_ptr` is the kernels' unsafe contract).
unsafe impl Sync for Buffer {}

/// From here on buffers are mapped pages of their own.
const PAGES_FROM: usize = 4 << 20;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Buffer {
    /// `len` zeroed bytes.
    ///
    /// # Panics
    /// If the system has no memory left, as a `Vec` would.
    pub fn zeroed(len: usize) -> Buffer {
        if len >= PAGES_FROM {
            return Buffer::paged(len);
        }
        let mut lines = vec![Line([0; 64]); len.div_ceil(64)];
        let ptr = lines.as_mut_ptr().cast();
        Buffer { memory: Memory::Lines { _owned: lines }, ptr, len }
    }

    /// As [`Self::zeroed`], in pages of its own whatever its length (of one page at least): memory that can be locked.
    ///
    /// # Panics
    /// As [`Self::zeroed`].
    pub fn paged(len: usize) -> Buffer {
        let mut pages = MmapMut::map_anon(len.max(1)).unwrap_or_else(|e| panic!("{len} bytes of memory: {e}"));
        // Where the system has no huge pages to give, small ones do.
        let _ = pages.advise(Advice::HugePage);
        let ptr = pages.as_mut_ptr();
        Buffer { memory: Memory::Pages { _owned: pages }, ptr, len }
    }

    /// A copy of some bytes.
    pub fn from_bytes(bytes: &[u8]) -> Buffer {
        let mut b = Buffer::zeroed(bytes.len());
        b.bytes_mut().copy_from_slice(bytes);
        b
    }

    /// A copy of some F32.
    pub fn from_f32(values: &[f32]) -> Buffer {
        let mut b = Buffer::zeroed(values.len() * 4);
        b.as_f32_mut().copy_from_slice(values);
        b
    }

    /// A copy of some I32.
    pub fn from_i32(values: &[i32]) -> Buffer {
        let mut b = Buffer::zeroed(values.len() * 4);
        b.as_i32_mut().copy_from_slice(values);
        b
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if it is mapped pages of its own, which the system was asked to make huge.
    pub fn is_paged(&self) -> bool {
        matches!(self.memory, Memory::Pages { .. })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer owns `len` initialised bytes from `ptr`.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr, self.len) }
    }

    /// The bytes as F32 (the length rounded down to whole elements).
    pub fn as_f32(&self) -> &[f32] {
        // SAFETY: `ptr` is aligned to 64, every bit pattern is an f32, and `len / 4` of them lie inside.
        unsafe { std::slice::from_raw_parts(self.ptr.cast::<f32>(), self.len / 4) }
    }

    /// The bytes as F32, to be written.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        // SAFETY: as `as_f32`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.cast::<f32>(), self.len / 4) }
    }

    /// The bytes as I32.
    pub fn as_i32(&self) -> &[i32] {
        // SAFETY: as `as_f32`: alignment and length hold for i32 too.
        unsafe { std::slice::from_raw_parts(self.ptr.cast::<i32>(), self.len / 4) }
    }

    /// The bytes as I32, to be written.
    pub fn as_i32_mut(&mut self) -> &mut [i32] {
        // SAFETY: as `as_i32`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.cast::<i32>(), self.len / 4) }
    }

    /// First byte, for binding; whoever writes through it holds the buffer exclusively.
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_are_zero_aligned_and_writable() {
        for len in [0, 1, 63, 64, 4096, PAGES_FROM, PAGES_FROM + 7] {
            let mut b = Buffer::zeroed(len);
            assert_eq!(b.len(), len);
            assert_eq!(b.is_paged(), len >= PAGES_FROM);
            assert_eq!(b.as_ptr() as usize % 64, 0);
            assert!(b.bytes().iter().all(|&x| x == 0));
            if let Some(last) = b.bytes_mut().last_mut() {
                *last = 7;
                assert_eq!(b.bytes()[len - 1], 7);
            }
        }
        assert_eq!(Buffer::from_i32(&[1, -2]).as_i32(), [1, -2]);
    }
}
