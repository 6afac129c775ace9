//! Variants against the reference: the op's test suite, the correctness gate of the tuner and the check of a live swap
//! are this code.
//!
//! [`suite`] runs a variant over its op's cases × strides × aliasing × threads; [`compare`] runs it once on given
//! inputs; [`time_on`] says how long it takes there by itself.

mod alone;
mod error;
mod fill;
mod on_device;
mod single;
mod suite;
mod timed;

pub use error::{Difference, difference};
pub use fill::{Random, fill};
pub use single::{Outcome, RunError, Tensor, compare, run_on, run_reference, run_variant};
pub use suite::{Failure, SuiteReport, suite, suite_on};
pub use timed::{Repeat, Timed, time_on};
