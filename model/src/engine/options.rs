//! What an engine can be told, and what it makes of what was left open.

use super::EngineError;
use crate::model::Model;
use crate::qwen3next::StateShape;
use deltascope_kernels::DType;
use deltascope_profiles::Stack;

/// Where an engine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// On the processor.
    #[default]
    Cpu,
    /// On the first GPU; an error where that cannot be.
    Cuda,
    /// On the first GPU if there is one that the model fits, else on the processor.
    Auto,
}

/// Options of an engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it runs.
    pub place: Place,
    /// On a GPU: a run that comes again is launched as one CUDA graph, unless the profile says no.
    pub graphs: bool,
    /// On a GPU: recorded runs are as others, and CUPTI says what each kernel took, where it serves; else events around
    /// each step do.
    pub cupti: bool,
    /// Workers in decode; 0 asks the profile, and where that says nothing, takes the cores that there are.
    pub threads_decode: usize,
    /// Workers in prefill; 0 as above.
    pub threads_prefill: usize,
    /// Cells of each sequence's KV cache; 0 takes 4096 or the model's context, whichever is less.
    pub n_ctx: usize,
    /// Sequences that there is room for.
    pub n_slots: usize,
    /// Tokens of a prompt that are run at once; 0 asks the profile, else 512.
    pub ubatch: usize,
    /// Type of the KV cache; `None` takes F32 for a model whose matrices are all F32, else F16.
    pub kv_type: Option<DType>,
    /// Bytes that packed weights may take; 0 takes three quarters of the memory available.
    pub packed_budget: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            place: Place::Cpu,
            graphs: true,
            cupti: false,
            threads_decode: 0,
            threads_prefill: 0,
            n_ctx: 0,
            n_slots: 1,
            ubatch: 0,
            kv_type: None,
            packed_budget: 0,
        }
    }
}

impl Options {
    /// Fills in what was left open, and says what the states look like.
    ///
    /// # Errors
    /// If more context is asked for than the model has.
    pub(super) fn settle(&mut self, model: &Model, stack: &Stack) -> Result<StateShape, EngineError> {
        let settings = stack.engine();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let pick = |given: usize, profile: Option<usize>| if given > 0 { given } else { profile.unwrap_or(cores) };
        self.threads_decode = pick(self.threads_decode, settings.threads.decode.map(|n| n as usize));
        self.threads_prefill = pick(self.threads_prefill, settings.threads.prefill.map(|n| n as usize));
        if self.ubatch == 0 {
            self.ubatch = settings.ubatch.map_or(512, |n| n as usize);
        }
        self.graphs &= settings.graphs.unwrap_or(true);
        let limit = model.config.context_length;
        if self.n_ctx == 0 {
            self.n_ctx = limit.min(4096);
        }
        if self.n_ctx > limit {
            return Err(EngineError::Context { asked: self.n_ctx, limit });
        }
        self.n_slots = self.n_slots.max(1);
        let all_f32 = model.weights.types().iter().all(|t| *t == DType::F32);
        let kv_type = self.kv_type.unwrap_or(if all_f32 { DType::F32 } else { DType::F16 });
        Ok(StateShape { n_slots: self.n_slots, n_ctx: self.n_ctx, kv_type })
    }
}
