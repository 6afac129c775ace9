//! What the engine refuses.

use deltascope_kernels::exec::BindError;
use deltascope_kernels::plan::PlanError;

/// Why a run or an engine was not possible.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// More context than there is.
    #[error("{asked} tokens of context were asked for; there is room for {limit}")]
    Context {
        /// Asked for.
        asked: usize,
        /// There is.
        limit: usize,
    },
    /// More memory than there is.
    #[error("{what} takes {need} MiB; {available} MiB are available")]
    Memory {
        /// What for.
        what: &'static str,
        /// MiB needed.
        need: usize,
        /// MiB available.
        available: usize,
    },
    /// An id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {n_vocab}")]
    Token {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        n_vocab: usize,
    },
    /// A batch that cannot be split evenly.
    #[error("{tokens} tokens cannot be split evenly over {n_seqs} sequences")]
    Batch {
        /// Tokens.
        tokens: usize,
        /// Sequences.
        n_seqs: usize,
    },
    /// A slot that does not exist.
    #[error("slot {slot} was asked for; there are {n_slots}")]
    Slot {
        /// Asked for.
        slot: usize,
        /// There are.
        n_slots: usize,
    },
    /// Packed weights beyond the budget.
    #[error(transparent)]
    Budget(#[from] crate::store::BudgetError),
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Memory that is missing.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A GPU, or that there is none.
    #[error(transparent)]
    Cuda(#[from] deltascope_kernels::cuda::CudaError),
    /// A node that the plan does not have.
    #[error("the model has no node `{0}`")]
    Node(String),
    /// A change that serves nothing.
    #[error("{0}")]
    Unsupported(#[from] deltascope_kernels::Reason),
    /// A single run for a check failed.
    #[error(transparent)]
    Check(#[from] deltascope_kernels::check::RunError),
    /// A plan without logits, which is a bug.
    #[error("the plan computed no logits")]
    NoLogits,
}
