//! Why measuring or tuning was not possible.

use deltascope_kernels::Op;
use deltascope_model::EngineError;
use deltascope_profiles::Phase;
use std::path::PathBuf;

/// Why measuring or tuning was not possible. The engine is left with the profiles and the state that it had.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The engine refused a run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A workload without tokens.
    #[error("there are no tokens to run")]
    NoTokens,
    /// A run left no record, though recording was on.
    #[error("the run left no record to read times from")]
    NoRecord,
    /// The op does not occur under the profiles in force: it may be inside of a fused variant.
    #[error(
        "no node of the {phase} plan computes {op}: a fused variant may do it; choose a lowering that has it first"
    )]
    NoNodes {
        /// The op.
        op: Op,
        /// The phase.
        phase: Phase,
    },
    /// The journal could not be read or written.
    #[error("{}: can't use this journal", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
