//! The engine: runs batches through plans, keeps sequences' states, and changes plans between two tokens.
//!
//! * [`Engine::eval`] runs one batch; [`Engine::prompt`] and [`Engine::decode`] are what generation is made of.
//! * Which variant serves what is the stack of profiles; [`Engine::stack_mut`] changes it, and the next run has a new
//!   plan over the same states.
//! * [`swap`] checks a change against what it replaces, on live inputs.

mod error;
mod plans;
pub mod swap;

pub use error::EngineError;
pub use plans::Ready;

use crate::choice::ProfileChooser;
use crate::model::Model;
use crate::profiling::{PlanInfo, RunRecord};
use crate::qwen3next::{BatchShape, Logits, StateShape, io};
use crate::state::{Checkpoint, State};
use crate::store::{PackProgress, PackedStore};
use deltascope_kernels::exec::{self, Recorder};
use deltascope_kernels::pool::Pool;
use deltascope_kernels::{Buffer, DType};
use deltascope_profiles::{Phase, Stack};
use plans::{PlanKey, Plans};
use std::sync::Arc;
use std::time::Instant;

/// Options of an engine.
#[derive(Clone, Debug)]
pub struct Options {
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

/// Runs one model.
pub struct Engine {
    model: Arc<Model>,
    options: Options,
    stack: Stack,
    pool: Pool,
    state: State,
    store: PackedStore,
    plans: Plans,
    ids: Buffer,
    positions: Buffer,
    recorder: Option<Recorder>,
    recording: bool,
    last_record: Option<RunRecord>,
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
        let settings = stack.engine();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let pick = |given: usize, profile: Option<usize>| if given > 0 { given } else { profile.unwrap_or(cores) };
        options.threads_decode = pick(options.threads_decode, settings.threads.decode.map(|n| n as usize));
        options.threads_prefill = pick(options.threads_prefill, settings.threads.prefill.map(|n| n as usize));
        if options.ubatch == 0 {
            options.ubatch = settings.ubatch.map_or(512, |n| n as usize);
        }
        let limit = model.config.context_length;
        if options.n_ctx == 0 {
            options.n_ctx = limit.min(4096);
        }
        if options.n_ctx > limit {
            return Err(EngineError::Context { asked: options.n_ctx, limit });
        }
        options.n_slots = options.n_slots.max(1);
        let all_f32 = model.weights.types().iter().all(|t| *t == DType::F32);
        let kv_type = options.kv_type.unwrap_or(if all_f32 { DType::F32 } else { DType::F16 });
        let shape = StateShape { n_slots: options.n_slots, n_ctx: options.n_ctx, kv_type };
        let available = available_memory();
        let need = State::bytes_for(&model.config, shape);
        if need > available {
            return Err(EngineError::Memory { what: "the state", need: need >> 20, available: available >> 20 });
        }
        if options.packed_budget == 0 {
            options.packed_budget = (available - need) / 4 * 3;
        }
        let state = State::new(&model.config, shape);
        let pool = Pool::new(options.threads_decode.max(options.threads_prefill));
        Ok(Engine {
            store: PackedStore::new(options.packed_budget),
            model,
            stack,
            pool,
            state,
            plans: Plans::default(),
            ids: Buffer::zeroed(0),
            positions: Buffer::zeroed(0),
            recorder: None,
            recording: false,
            last_record: None,
            on_pack: None,
            options,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
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
        if most != self.pool.threads() {
            self.pool = Pool::new(most);
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

    /// Whether runs note what every worker does.
    pub fn record(&mut self, on: bool) {
        self.recording = on;
    }

    /// What the last recorded run did.
    pub fn take_record(&mut self) -> Option<RunRecord> {
        self.last_record.take()
    }

    /// Tokens that a slot has seen.
    pub fn position(&self, slot: usize) -> usize {
        self.state.position(slot)
    }

    /// Forgets a sequence.
    pub fn reset(&mut self, slot: usize) {
        self.state.reset(slot);
    }

    /// Copies a slot's recurrent state.
    pub fn checkpoint(&self, slot: usize) -> Checkpoint {
        self.state.checkpoint(slot)
    }

    /// Goes back to a checkpoint.
    pub fn restore(&mut self, c: &Checkpoint) {
        self.state.restore(c);
    }

    /// Bytes of packed weights.
    pub fn packed_bytes(&self) -> usize {
        self.store.bytes()
    }

    /// The pool, for what else must run on it between tokens.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.pool
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

    /// Runs a batch; returns logits `[n_vocab, rows]`.
    ///
    /// # Errors
    /// If the batch does not fit the slots, the context or the vocabulary, or no plan can be made for it.
    pub fn eval(&mut self, batch: Batch<'_>) -> Result<&[f32], EngineError> {
        let ready = self.prepare(batch)?;
        self.run(ready, None)?;
        self.finish(batch);
        let ready = self.plans.get(ready);
        ready.bound.output_f32(io::LOGITS).ok_or(EngineError::NoLogits)
    }

    /// Checks a batch, makes its plan ready and fills the inputs.
    pub(crate) fn prepare(&mut self, batch: Batch<'_>) -> Result<PlanKey, EngineError> {
        let shape = self.shape_of(batch)?;
        let phase = phase_of(&shape);
        let key = PlanKey { shape, slot: batch.slot, phase };
        self.fill_inputs(batch, shape);
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

    fn fill_inputs(&mut self, batch: Batch<'_>, shape: BatchShape) {
        let bytes = batch.tokens.len() * 4;
        if self.ids.len() < bytes {
            // Bound plans point to the old buffers.
            self.plans.clear();
            self.ids = Buffer::zeroed(bytes.next_power_of_two());
            self.positions = Buffer::zeroed(bytes.next_power_of_two());
        }
        for (dst, &t) in self.ids.as_i32_mut().iter_mut().zip(batch.tokens) {
            *dst = t as i32;
        }
        for s in 0..shape.n_seqs {
            let start = self.state.position(batch.slot + s);
            for t in 0..shape.n_tokens {
                self.positions.as_i32_mut()[s * shape.n_tokens + t] = (start + t) as i32;
            }
        }
    }

    fn build(&mut self, key: PlanKey) -> Result<Ready, EngineError> {
        let chooser =
            ProfileChooser { stack: &self.stack, phase: key.phase, tokens: key.shape.n_tokens * key.shape.n_seqs };
        let threads = self.threads(key.phase);
        let plan = plans::plan(&self.model, &self.state, key.shape, &chooser, threads)?;
        let mut silent = |_: PackProgress| {};
        let progress: &mut dyn FnMut(PackProgress) = match &mut self.on_pack {
            Some(f) => f,
            None => &mut silent,
        };
        self.store.ensure(&self.model, &plan.packed, progress)?;
        let memory = plans::Memory {
            model: &self.model,
            store: &self.store,
            state: &self.state,
            slot: key.slot,
            ids: &self.ids,
            positions: &self.positions,
        };
        plans::bind(plan, &memory, self.pool.threads(), key.phase)
    }

    fn threads(&self, phase: Phase) -> usize {
        match phase {
            Phase::Decode => self.options.threads_decode,
            Phase::Prefill => self.options.threads_prefill,
        }
    }

    /// Runs a prepared plan, or a range of its steps.
    pub(crate) fn run(&mut self, key: PlanKey, range: Option<std::ops::Range<usize>>) -> Result<(), EngineError> {
        let started = Instant::now();
        let ready = self.plans.get_mut(key);
        let steps = ready.plan.steps.len();
        let whole = range.is_none();
        let range = range.unwrap_or(0..steps);
        if self.recording && whole {
            let threads = ready.plan.threads.min(self.pool.threads());
            if !self.recorder.as_mut().is_some_and(|r| r.fits(threads, steps)) {
                self.recorder = Some(Recorder::new(self.pool.threads(), steps.next_power_of_two()));
            }
            exec::run(&mut self.pool, &ready.plan, &mut ready.bound, range, self.recorder.as_ref());
            let wall = started.elapsed();
            if let Some(r) = &mut self.recorder {
                let info: &Arc<PlanInfo> = &ready.info;
                self.last_record = Some(RunRecord::read(r, info, threads, wall));
            }
        } else {
            exec::run(&mut self.pool, &ready.plan, &mut ready.bound, range, None);
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
