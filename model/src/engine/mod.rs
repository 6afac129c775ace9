//! The engine: runs batches through plans, keeps sequences' states, and changes plans between two tokens.
//!
//! * [`Engine::eval`] runs one batch; [`Engine::prompt`] and [`Engine::decode`] are what generation is made of.
//! * Which variant serves what is the stack of profiles; [`Engine::stack_mut`] changes it, and the next run has a new
//!   plan over the same states.
//! * [`swap`] checks a change against what it replaces, on live inputs; [`sides`] times an op on either backend.

mod activity;
mod error;
mod gpu;
mod host;
mod launches;
mod memory;
mod mixed;
mod options;
mod place;
mod plans;
pub mod sides;
pub mod swap;

pub use error::EngineError;
pub use options::{Options, Place};
pub use plans::Ready;

use crate::choice::{ProfileChooser, placed_on};
use crate::model::Model;
use crate::profiling::{PlanInfo, RunRecord};
use crate::qwen3next::{BatchShape, Logits};
use crate::sampling::Scores;
use crate::state::{Checkpoint, State};
use crate::store::PackProgress;
use activity::Activity;
use deltascope_kernels::Backend;
use deltascope_kernels::cuda::DeviceInfo;
use deltascope_kernels::pool::Pool;
use deltascope_profiles::{Phase, Stack};
use gpu::{Gpu, Landing};
use host::{Host, Workers};
use memory::{Binding, Memory};
use plans::{PlanKey, Plans, Runners};
use std::sync::Arc;

/// Runs one model.
pub struct Engine {
    model: Arc<Model>,
    options: Options,
    stack: Stack,
    runners: Runners,
    /// Before what they are bound to: fields are dropped in order.
    plans: Plans,
    state: State,
    memory: Memory,
    /// Why a GPU that is there is not used.
    note: Option<String>,
    recording: bool,
    last_record: Option<RunRecord>,
    /// The largest logits of the last [`Engine::next`].
    top: Vec<(u32, f32)>,
    /// What packing reports; set by whoever shows it.
    on_pack: Option<Box<dyn FnMut(PackProgress) + Send>>,
}

/// What runs can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Token ids, `n_tokens` of each sequence one after another.
    pub tokens: &'a [u32],
    /// The first of the neighbouring slots that the sequences live in.
    pub slot: usize,
    /// Sequences; divides the number of tokens.
    pub n_seqs: usize,
    /// Which logits to compute.
    pub logits: Logits,
}

impl Engine {
    /// An engine with empty sequences.
    ///
    /// # Errors
    /// If the options ask for more than the model or the memory has.
    pub fn new(model: Arc<Model>, stack: Stack, mut options: Options) -> Result<Engine, EngineError> {
        let shape = options.settle(&model, &stack)?;
        let found = place::find(options.place, &model, shape, &stack)?;
        let main = found.main;
        let on_host = if main == Backend::Cpu { State::bytes_for(&model.config, shape) } else { 0 };
        let available = available_memory();
        if on_host > available {
            return Err(EngineError::Memory { what: "the state", need: on_host >> 20, available: available >> 20 });
        }
        if options.packed_budget == 0 {
            options.packed_budget = (available - on_host) / 4 * 3;
        }
        let gpu = found.gpu.as_ref().map(|device| Gpu::new(device.clone(), options.graphs)).transpose()?;
        let memory = Memory { main, host: Host::new(options.packed_budget), gpu: gpu.map(Box::new) };
        let workers = Workers::new(options.threads_decode.max(options.threads_prefill));
        Ok(Engine {
            state: State::new(&model.config, shape, found.gpu.as_ref().filter(|_| main == Backend::Cuda))?,
            memory,
            note: found.note,
            model,
            stack,
            runners: Runners { workers, landing: Landing::default(), activity: Activity::new(options.cupti) },
            plans: Plans::default(),
            recording: false,
            last_record: None,
            top: Vec::new(),
            on_pack: None,
            options,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Where it runs, but for nodes that are placed elsewhere.
    pub fn backend(&self) -> Backend {
        self.memory.main
    }

    /// The GPU that it runs on, if it does, or that nodes can be placed on.
    pub fn device(&self) -> Option<&DeviceInfo> {
        self.memory.device()
    }

    /// Whether there is a GPU and the profiles place nodes on another backend than the rest.
    pub fn is_mixed(&self) -> bool {
        self.memory.gpu.is_some() && self.stack.places().any(|p| placed_on(p.backend, true) != Some(self.memory.main))
    }

    /// Why a GPU that is there is not used, where the engine was left to choose.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The options in force, with what was left open filled in.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The profiles in force.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The profiles, to be changed; the next run has new plans.
    pub fn stack_mut(&mut self) -> &mut Stack {
        self.plans.clear();
        &mut self.stack
    }

    /// Changes profiles and keeps the plans of the old ones for [`Self::set_stack`] to return to: for comparing two in
    /// turn without building plans each time.
    pub fn set_stack(&mut self, stack: Stack) -> Stack {
        self.plans.park(&self.stack);
        self.plans.unpark(&stack);
        std::mem::replace(&mut self.stack, stack)
    }

    /// Workers of each phase. The pool grows where it must.
    pub fn set_threads(&mut self, decode: usize, prefill: usize) {
        self.options.threads_decode = decode.max(1);
        self.options.threads_prefill = prefill.max(1);
        let most = self.options.threads_decode.max(self.options.threads_prefill);
        if most != self.runners.workers.pool.threads() {
            self.runners.workers = Workers::new(most);
        }
        self.plans.clear();
    }

    /// Tokens of a prompt that run at once.
    pub fn set_ubatch(&mut self, ubatch: usize) {
        self.options.ubatch = ubatch.max(1);
    }

    /// Tells about packing, which can take a while.
    pub fn on_pack(&mut self, f: impl FnMut(PackProgress) + Send + 'static) {
        self.on_pack = Some(Box::new(f));
    }

    /// Whether runs note what every worker, or the GPU, does.
    pub fn record(&mut self, on: bool) {
        self.recording = on;
        if let Some(driver) = self.memory.device().map(|d| d.driver).filter(|_| self.backend() == Backend::Cuda) {
            self.runners.activity.switch(on && !self.is_mixed(), driver);
        }
    }

    /// Why a GPU's steps are timed by events though CUPTI was asked for.
    pub fn timing_note(&self) -> Option<&str> {
        self.runners.activity.note()
    }

    /// What the last recorded run did; none if it was the one in which CUPTI was found not to serve.
    pub fn take_record(&mut self) -> Option<RunRecord> {
        self.last_record.take()
    }

    /// Tokens that a slot has seen.
    pub fn position(&self, slot: usize) -> usize {
        self.state.position(slot)
    }

    /// Forgets a sequence.
    ///
    /// # Errors
    /// The GPU's, if the engine runs on one.
    pub fn reset(&mut self, slot: usize) -> Result<(), EngineError> {
        Ok(self.state.reset(slot)?)
    }

    /// Copies a slot's recurrent state.
    ///
    /// # Errors
    /// As [`Self::reset`].
    pub fn checkpoint(&self, slot: usize) -> Result<Checkpoint, EngineError> {
        Ok(self.state.checkpoint(slot)?)
    }

    /// Goes back to a checkpoint.
    ///
    /// # Errors
    /// As [`Self::reset`].
    pub fn restore(&mut self, c: &Checkpoint) -> Result<(), EngineError> {
        Ok(self.state.restore(c)?)
    }

    /// Bytes of weights that are held beside the mapped file: packed, or on a GPU.
    pub fn held_bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// The pool, for what else must run on it between tokens.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.runners.workers.pool
    }

    /// Runs a prompt on a slot, split by the ubatch; returns the logits of its last token.
    ///
    /// # Errors
    /// If it does not fit the context, or an id is none of the vocabulary's.
    pub fn prompt(&mut self, slot: usize, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        let mut last = Vec::new();
        for part in tokens.chunks(self.options.ubatch) {
            last = self.eval(Batch { tokens: part, slot, n_seqs: 1, logits: Logits::Last })?.to_vec();
        }
        Ok(last)
    }

    /// Runs one token on a slot; returns its logits.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn decode(&mut self, slot: usize, token: u32) -> Result<&[f32], EngineError> {
        self.eval(Batch { tokens: &[token], slot, n_seqs: 1, logits: Logits::Last })
    }

    /// Runs one token on a slot; returns what a sampler that looks at the `top` largest logits has to see
    /// ([`crate::sampling::Sampler::wants`]). On a GPU those are found there, and only they come back; else all logits are
    /// there anyway.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn next(&mut self, slot: usize, token: u32, top: Option<usize>) -> Result<Scores<'_>, EngineError> {
        let logits = self.logits_for(top);
        if logits == Logits::Last {
            return self.decode(slot, token).map(Scores::All);
        }
        let batch = Batch { tokens: &[token], slot, n_seqs: 1, logits };
        let ready = self.prepare(batch)?;
        self.run(ready, None)?;
        self.finish(batch);
        self.top.clear();
        self.top.extend(self.runners.landing.top());
        Ok(Scores::Top(&self.top))
    }

    /// What [`Self::next`] has a run compute.
    pub fn logits_for(&self, top: Option<usize>) -> Logits {
        let on_gpu_alone = self.backend() == Backend::Cuda && !self.is_mixed();
        let k = top.filter(|_| on_gpu_alone).map(|k| k.clamp(1, self.model.config.n_vocab));
        k.map_or(Logits::Last, Logits::Top)
    }

    /// Runs a batch; returns logits `[n_vocab, rows]`.
    ///
    /// # Errors
    /// If the batch does not fit the slots, the context or the vocabulary, or no plan can be made for it; or if it asks
    /// for the largest logits alone: see [`Self::next`].
    pub fn eval(&mut self, batch: Batch<'_>) -> Result<&[f32], EngineError> {
        if let Logits::Top(_) = batch.logits {
            return Err(EngineError::NoLogits);
        }
        let ready = self.prepare(batch)?;
        self.run(ready, None)?;
        self.finish(batch);
        self.plans.get(ready).logits(&self.runners).ok_or(EngineError::NoLogits)
    }

    /// Checks a batch, makes its plan ready and fills the inputs.
    pub(crate) fn prepare(&mut self, batch: Batch<'_>) -> Result<PlanKey, EngineError> {
        let shape = self.shape_of(batch)?;
        let phase = phase_of(&shape);
        let key = PlanKey { shape, slot: batch.slot, phase };
        self.fill_inputs(batch, shape)?;
        if !self.plans.has(key) {
            let ready = self.build(key)?;
            self.plans.insert(key, ready);
        }
        Ok(key)
    }

    fn shape_of(&self, batch: Batch<'_>) -> Result<BatchShape, EngineError> {
        let n_vocab = self.model.config.n_vocab;
        if let Some(&id) = batch.tokens.iter().find(|&&t| t as usize >= n_vocab) {
            return Err(EngineError::Token { id, n_vocab });
        }
        let n_seqs = batch.n_seqs;
        if n_seqs == 0 || batch.tokens.is_empty() || !batch.tokens.len().is_multiple_of(n_seqs) {
            return Err(EngineError::Batch { tokens: batch.tokens.len(), n_seqs });
        }
        if batch.slot + n_seqs > self.options.n_slots {
            return Err(EngineError::Slot { slot: batch.slot + n_seqs - 1, n_slots: self.options.n_slots });
        }
        let n_tokens = batch.tokens.len() / n_seqs;
        let end = (batch.slot..batch.slot + n_seqs).map(|s| self.position(s)).max().unwrap_or(0) + n_tokens;
        if end > self.options.n_ctx {
            return Err(EngineError::Context { asked: end, limit: self.options.n_ctx });
        }
        let n_kv = end.next_multiple_of(256).min(self.options.n_ctx);
        Ok(BatchShape { n_tokens, n_seqs, n_kv, logits: batch.logits })
    }

    fn fill_inputs(&mut self, batch: Batch<'_>, shape: BatchShape) -> Result<(), EngineError> {
        if self.memory.reserve(batch.tokens.len())? {
            self.plans.clear();
        }
        let state = &self.state;
        let positions = (0..shape.n_seqs).flat_map(|s| {
            let start = state.position(batch.slot + s);
            start..start + shape.n_tokens
        });
        self.memory.fill(batch.tokens, positions)
    }

    fn build(&mut self, key: PlanKey) -> Result<Ready, EngineError> {
        let (phase, backend) = (key.phase, self.backend());
        let tokens = key.shape.n_tokens * key.shape.n_seqs;
        let chooser = ProfileChooser { stack: &self.stack, phase, tokens, backend, gpu: self.memory.gpu.is_some() };
        let plan = plans::plan(&self.model, &self.state, key.shape, &chooser, self.threads(phase))?;
        let mut silent = |_: PackProgress| {};
        let to = Binding {
            model: &self.model,
            state: &self.state,
            slot: key.slot,
            threads: self.runners.workers.pool.threads(),
            progress: match &mut self.on_pack {
                Some(f) => f,
                None => &mut silent,
            },
        };
        let program = self.memory.bind(&plan, to)?;
        let info = Arc::new(PlanInfo::of(&plan, phase, backend));
        Ok(Ready { plan, program, info })
    }

    fn threads(&self, phase: Phase) -> usize {
        let on_gpu_alone = self.backend() == Backend::Cuda && !self.is_mixed();
        match phase {
            _ if on_gpu_alone => 1,
            Phase::Decode => self.options.threads_decode,
            Phase::Prefill => self.options.threads_prefill,
        }
    }

    /// Runs a prepared plan, or a range of its steps.
    pub(crate) fn run(&mut self, key: PlanKey, range: Option<std::ops::Range<usize>>) -> Result<(), EngineError> {
        let ready = self.plans.get_mut(key);
        match range {
            None if self.recording => self.last_record = ready.run_recorded(&mut self.runners)?,
            None => ready.run(0..ready.plan.steps.len(), &mut self.runners)?,
            Some(range) => ready.run(range, &mut self.runners)?,
        }
        Ok(())
    }

    /// Counts a batch's tokens as seen.
    pub(crate) fn finish(&mut self, batch: Batch<'_>) {
        let n = batch.tokens.len() / batch.n_seqs;
        for s in 0..batch.n_seqs {
            self.state.advance(batch.slot + s, n);
        }
    }

    pub(crate) fn plans(&mut self) -> &mut Plans {
        &mut self.plans
    }

    /// What the plan for the next run of this many tokens on slot 0 would be: for lists of variants before anything ran.
    ///
    /// # Errors
    /// As [`Self::eval`].
    pub fn plan_info(&mut self, phase: Phase) -> Result<Arc<PlanInfo>, EngineError> {
        let n = if phase == Phase::Decode { 1 } else { self.options.ubatch.min(self.options.n_ctx) };
        let tokens = vec![0u32; n];
        let at = self.position(0);
        if at + n > self.options.n_ctx {
            return Err(EngineError::Context { asked: at + n, limit: self.options.n_ctx });
        }
        let key = self.prepare(Batch { tokens: &tokens, slot: 0, n_seqs: 1, logits: Logits::Last })?;
        Ok(Arc::clone(&self.plans.get(key).info))
    }
}

/// One token per sequence is decode, more are prefill.
fn phase_of(shape: &BatchShape) -> Phase {
    if shape.n_tokens == 1 { Phase::Decode } else { Phase::Prefill }
}

/// Bytes of memory that can be had without swapping, as the system says; a cgroup's limit counts. All of the address
/// space where it says nothing.
fn available_memory() -> usize {
    deltascope_kernels::cpu::available_memory().unwrap_or(usize::MAX / 2)
}
