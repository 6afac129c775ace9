//! A range of sizes, the filter that keeps a choice to the shapes it was tuned on.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// A non-empty, inclusive range of sizes: elements, tokens, rows or columns.
///
/// Written like a Rust range: `"65536.."`, `"..64"`, `"1..=31"`, `"128..256"`, or one number for exactly that size.
/// Underscores between digits are allowed (`"65_536.."`).
///
/// ```
/// use deltascope_profiles::SizeRange;
/// let large: SizeRange = "65536..".parse().unwrap();
/// assert!(large.contains(548_864) && !large.contains(4096));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SizeRange {
    min: u64,
    /// `u64::MAX` is no upper bound: no tensor is that large.
    max: u64,
}

/// Why a text is no range of sizes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RangeError {
    /// A bound is not a whole number below 2^64.
    #[error("{0:?} is not a size; a range looks like \"65536..\", \"..64\", \"1..=31\" or 4096")]
    NotASize(String),
    /// No size lies in the range.
    #[error("the range {0:?} holds no size")]
    Empty(String),
    /// `".."` filters nothing.
    #[error("\"..\" has no bound; leave the key out to match every size")]
    Unbounded,
}

impl SizeRange {
    /// Exactly `size`.
    pub fn exact(size: u64) -> Self {
        Self { min: size, max: size }
    }

    /// `min` and everything above it.
    pub fn at_least(min: u64) -> Self {
        Self { min, max: u64::MAX }
    }

    /// From `min` to `max`, both included; `None` if that holds no size.
    pub fn between(min: u64, max: u64) -> Option<Self> {
        (min <= max).then_some(Self { min, max })
    }

    /// The smallest size in the range.
    pub fn min(self) -> u64 {
        self.min
    }

    /// The largest size in the range, `None` without an upper bound.
    pub fn max(self) -> Option<u64> {
        (self.max != u64::MAX).then_some(self.max)
    }

    /// The one size of a range that holds just one.
    pub fn as_exact(self) -> Option<u64> {
        (self.min == self.max).then_some(self.min)
    }

    /// Whether `size` lies in the range.
    pub fn contains(self, size: u64) -> bool {
        self.min <= size && size <= self.max
    }

    /// Whether every size of `other` lies in `self`.
    pub fn covers(self, other: Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// Whether some size lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

impl FromStr for SizeRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let empty = || RangeError::Empty(text.to_owned());
        let Some((low, high)) = text.split_once("..") else {
            return size(text).map(Self::exact);
        };
        let (low, high) = (low.trim(), high.trim());
        if low.is_empty() && high.is_empty() {
            return Err(RangeError::Unbounded);
        }
        let min = if low.is_empty() { 0 } else { size(low)? };
        let max = match high.strip_prefix('=') {
            Some(last) => size(last)?,
            None if high.is_empty() => u64::MAX,
            None => size(high)?.checked_sub(1).ok_or_else(empty)?,
        };
        Self::between(min, max).ok_or_else(empty)
    }
}

fn size(text: &str) -> Result<u64, RangeError> {
    let bad = || RangeError::NotASize(text.to_owned());
    let digits = text.trim();
    // `u64::from_str` would take a sign, and stray underscores hide typing errors.
    let inner_underscores = !digits.starts_with('_') && !digits.ends_with('_') && !digits.contains("__");
    if digits.is_empty() || !inner_underscores || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return Err(bad());
    }
    digits.replace('_', "").parse().map_err(|_| bad())
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (min, u64::MAX) => write!(f, "{min}.."),
            (min, max) if min == max => write!(f, "{min}"),
            (0, max) => write!(f, "..={max}"),
            (min, max) => write!(f, "{min}..={max}"),
        }
    }
}

impl Serialize for SizeRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_exact() {
            Some(size) => serializer.serialize_u64(size),
            None => serializer.collect_str(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> SizeRange {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_means_what_rust_means() {
        for (text, inside, outside) in [
            ("65536..", &[65536, u64::MAX][..], &[0, 65535][..]),
            ("..64", &[0, 63], &[64]),
            ("..=64", &[0, 64], &[65]),
            ("1..=31", &[1, 31], &[0, 32]),
            ("128..256", &[128, 255], &[127, 256]),
            ("4_096", &[4096], &[4095, 4097]),
            (" 8 .. 16 ", &[8, 15], &[7, 16]),
        ] {
            let range = range(text);
            assert!(inside.iter().all(|&n| range.contains(n)), "{text}");
            assert!(!outside.iter().any(|&n| range.contains(n)), "{text}");
        }
    }

    #[test]
    fn bad_ranges_say_why() {
        let error = |text: &str| text.parse::<SizeRange>().unwrap_err();
        assert_eq!(error(".."), RangeError::Unbounded);
        for text in ["5..5", "5..=4", "..0"] {
            assert_eq!(error(text), RangeError::Empty(text.into()));
        }
        for text in ["", "many", "+5", "-1", "1...3", "1..=", "_1", "1_", "1__0", "18446744073709551616"] {
            assert!(matches!(error(text), RangeError::NotASize(_)), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn display_is_read_back(a: u64, b: u64) {
            let range = SizeRange::between(a.min(b), a.max(b)).unwrap();
            prop_assert_eq!(range.to_string().parse::<SizeRange>(), Ok(range));
        }

        #[test]
        fn covers_and_overlaps_agree_with_contains(a in 0u64..12, b in 0u64..12, c in 0u64..12, d in 0u64..12) {
            let x = SizeRange::between(a.min(b), a.max(b)).unwrap();
            let y = SizeRange::between(c.min(d), c.max(d)).unwrap();
            prop_assert_eq!(x.covers(y), (0..12).all(|n| !y.contains(n) || x.contains(n)));
            prop_assert_eq!(x.overlaps(y), (0..12).any(|n| y.contains(n) && x.contains(n)));
        }
    }
}
