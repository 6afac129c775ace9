//! Measuring, search, the correctness gate and the journal.
//!
//! * [`stats`]: medians with intervals, ratios of pairs, verdicts, drift.
//! * [`machine`]: the machine at hand, as profiles record it.

pub mod machine;
pub mod stats;
