//! Numbers with error bars: medians with intervals, ratios of pairs, verdicts, drift.
//!
//! Times of a computer are no bell curve: an interrupt makes one sample ten times the others, and none is ever faster
//! than the hardware. So everything here is ranks: medians, quantiles, and intervals of medians.

mod drift;
mod interval;
mod paired;

pub use drift::{Anchor, Drift};
pub use interval::{Interval, mad, median, quantile};
pub use paired::{MIN_PAIRS, Verdict, paired_ratio};
