//! CUPTI's kernel activity: when each kernel of a run began and ended, by the GPU's own clock, with nothing between them.
//!
//! Events between steps hold kernels apart and cannot see inside a graph that runs whole. CUPTI can: it is NVIDIA's tracing
//! library, loaded at run time where it is installed ([`Cupti::load`]). [`Cupti::start`] and [`Cupti::take`] stand around a
//! run; [`attribute`] holds what was seen against what was launched and says what each kernel took.

mod attribution;
mod library;
mod record;

pub use attribution::{KernelSpan, attribute};
pub use library::Cupti;
pub use record::KernelRecord;

/// Why there are no times of kernels from CUPTI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CuptiError {
    /// The library cannot be loaded.
    #[error("no CUPTI (looked for {0}): it comes with the CUDA toolkit; DELTASCOPE_CUPTI names the library")]
    NotFound(String),
    /// Its records are laid out otherwise.
    #[error("CUPTI {0} is too old: 14 (CUDA 11.1) or later is needed")]
    TooOld(u32),
    /// It refuses.
    #[error("CUPTI: {what} failed: {answer}")]
    Call {
        /// The call.
        what: &'static str,
        /// Its result, in CUPTI's words.
        answer: String,
    },
    /// Records that are no kernels', or were cut off.
    #[error("CUPTI's record of {0} bytes cannot be read")]
    Record(usize),
    /// It dropped records, or had no time for a kernel.
    #[error("CUPTI has no time for {0}")]
    NoTime(String),
    /// Other kernels than those of the run were seen, or not all of them.
    #[error("CUPTI saw {seen} kernels of a run that launched {launched}")]
    Count {
        /// Seen.
        seen: usize,
        /// Launched.
        launched: usize,
    },
    /// Not in the order of their launches.
    #[error("CUPTI saw {seen} as kernel {at} of a run, where {launched} was launched")]
    Order {
        /// Number of the launch.
        at: usize,
        /// The kernel seen.
        seen: String,
        /// The kernel launched.
        launched: String,
    },
}
