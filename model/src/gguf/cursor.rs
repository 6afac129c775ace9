//! A reader of little-endian fields that trusts no length.

use std::path::Path;

use super::error::{Fault, GgufError};

pub(super) struct Cursor<'a> {
    file: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a Path, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { file, bytes, at: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// An error at byte `at`.
    pub(super) fn fault(&self, at: usize, fault: Fault) -> GgufError {
        GgufError::new(self.file, Some(at as u64), fault)
    }

    pub(super) fn take(&mut self, n: u64, what: &dyn Fn() -> String) -> Result<&'a [u8], GgufError> {
        match usize::try_from(n).ok().filter(|n| *n <= self.left()) {
            Some(n) => {
                let taken = &self.bytes[self.at..self.at + n];
                self.at += n;
                Ok(taken)
            }
            None => Err(self.fault(self.at, Fault::Truncated { what: what(), wanted: n, left: self.left() as u64 })),
        }
    }

    pub(super) fn array<const N: usize>(&mut self, what: &dyn Fn() -> String) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &dyn Fn() -> String) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &dyn Fn() -> String) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(super) fn string(&mut self, what: &dyn Fn() -> String) -> Result<&'a str, GgufError> {
        let at = self.at;
        let n = self.u64(what)?;
        let bytes = self.take(n, what)?;
        std::str::from_utf8(bytes).map_err(|_| self.fault(at, Fault::Utf8 { what: what() }))
    }

    /// A count of entries, refused unless that many of the smallest kind fit in what is left: so that reserving
    /// memory for them never takes more than a small multiple of the file.
    pub(super) fn count(&mut self, each: u64, what: &dyn Fn() -> String) -> Result<usize, GgufError> {
        let at = self.at;
        let count = self.u64(what)?;
        self.check_count(at, count, each, what)
    }

    /// As `count`, of a number read before.
    pub(super) fn check_count(
        &self,
        at: usize,
        count: u64,
        each: u64,
        what: &dyn Fn() -> String,
    ) -> Result<usize, GgufError> {
        let left = self.left() as u64;
        match count.checked_mul(each) {
            Some(total) if total <= left => Ok(count as usize),
            _ => Err(self.fault(at, Fault::Count { what: what(), count, each, left })),
        }
    }
}
