//! Measuring, search, the correctness gate and the journal.
//!
//! * [`stats`]: medians with intervals, ratios of pairs, verdicts, drift.
//! * [`ab`]: two stacks of profiles in the running model, measured in turn.
//! * [`gate`]: a variant against the reference on the running model's own inputs.
//! * [`journal`]: every measurement, a JSON line each.
//! * [`search`]: the best variant and tunables of one op.
//! * [`measure`]: what is run, and when to stop.
//! * [`machine`]: the machine at hand, as profiles record it.

pub mod ab;
#[cfg(test)]
mod demo;
mod error;
pub mod gate;
pub mod journal;
pub mod machine;
pub mod measure;
pub mod search;
pub mod stats;

pub use error::TuneError;
