//! From views to addresses.

use crate::graph::{StorageId, StorageKind, ValueId};
use crate::plan::{Plan, StepKernel};
use crate::{Backend, Buffer, TensorPtr};
use crate::{Kernel, Packing, ops};

/// Says where the memory that the caller owns lies.
pub trait Bindings {
    /// Start and length of a weight. Never written.
    fn weight(&self, id: u32) -> Option<(*const u8, usize)>;
    /// Start and length of a packed weight. Never written.
    fn packed(&self, id: u32, packing: Packing) -> Option<(*const u8, usize)>;
    /// Start and length of an input.
    fn input(&self, id: u32) -> Option<(*mut u8, usize)>;
    /// Start and length of a state.
    fn state(&self, id: u32) -> Option<(*mut u8, usize)>;
}

/// Memory that is missing or too small.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Nothing is bound.
    #[error("nothing is bound to {0:?}")]
    Missing(StorageKind),
    /// Less is bound than the plan's views reach.
    #[error("{kind:?} has {have} bytes, the plan reaches {need}")]
    TooSmall {
        /// Which.
        kind: StorageKind,
        /// Bytes bound.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// The plan has nothing for workers.
    #[error("no step of the plan runs on a worker pool")]
    NotCpu,
}

/// A plan's calls with addresses, its arena and scratch. Good for as long as what it was bound to stays where it is.
pub struct Bound {
    /// By step; none where it is a device's.
    pub(super) calls: Vec<Option<BoundCall>>,
    pub(super) scratch: Pieces,
    arena: Buffer,
    /// Results of redundant steps. Held for the calls' addresses.
    _own: Pieces,
    outputs: Vec<(u32, usize, usize)>,
    bases: Vec<Option<(*mut u8, usize)>>,
}

// SAFETY: the addresses are dereferenced only by runs and reads, whose callers hold the bound plan and its memory.
unsafe impl Send for Bound {}

pub(super) struct BoundCall {
    pub kernel: &'static dyn Kernel,
    pub shared: Option<TensorPtr>,
    /// Inputs, outputs, workers' own outputs; once for each worker if one of them is a worker's own.
    tensors: Vec<TensorPtr>,
    inputs: usize,
    outputs: usize,
    /// All together.
    each: usize,
}

impl BoundCall {
    /// Inputs and outputs as worker `ith` has them; `own` for the outputs that are its own.
    #[inline]
    pub(super) fn of(&self, ith: usize, own: bool) -> (&[TensorPtr], &[TensorPtr]) {
        let from = if self.tensors.len() > self.each { ith * self.each } else { 0 };
        let (inputs, outputs) = self.tensors[from..from + self.each].split_at(self.inputs);
        let (shared, mine) = outputs.split_at(self.outputs);
        (inputs, if own { mine } else { shared })
    }
}

/// A piece of memory for each worker.
pub(super) struct Pieces {
    buffer: Buffer,
    each: usize,
}

impl Pieces {
    /// Pieces of so many bytes, rounded up so that no two share a cache line.
    fn new(bytes: usize, workers: usize) -> Pieces {
        let each = bytes.next_multiple_of(128);
        Pieces { buffer: Buffer::zeroed(each * workers), each }
    }

    /// Worker `ith`'s piece.
    ///
    /// # Safety
    /// Only worker `ith` holds it.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn of(&self, ith: usize) -> &mut [u8] {
        debug_assert!((ith + 1) * self.each <= self.buffer.len());
        // SAFETY: pieces do not overlap and lie in the buffer; the caller is the only holder of this one.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.as_ptr().add(ith * self.each), self.each) }
    }
}

impl Bound {
    /// Gives every view of the plan's CPU steps its address.
    ///
    /// # Errors
    /// If something is not bound or too small, or no step is for the CPU.
    ///
    /// # Safety
    /// What `to` names stays live, and is not touched by others while the plan runs, for as long as the result is used.
    pub unsafe fn new(plan: &Plan, to: &dyn Bindings, threads: usize) -> Result<Bound, BindError> {
        if !plan.runs_on(Backend::Cpu) {
            return Err(BindError::NotCpu);
        }
        // What a device copies to and from is worth locking.
        let mixed = plan.runs_on(Backend::Cuda);
        let arena = if mixed { Buffer::paged(plan.arena_bytes) } else { Buffer::zeroed(plan.arena_bytes) };
        let workers = threads.max(plan.threads);
        let own = Pieces::new(plan.own_bytes, workers);
        let mut bases = Vec::with_capacity(plan.graph.storages.len());
        let mut outputs = Vec::new();
        for (i, s) in plan.graph.storages.iter().enumerate() {
            let found = match s.kind {
                StorageKind::Weight(id) => to.weight(id).map(|(p, n)| (p.cast_mut(), n)),
                StorageKind::Packed(id, packing) => to.packed(id, packing).map(|(p, n)| (p.cast_mut(), n)),
                StorageKind::Input(id) => to.input(id),
                StorageKind::State(id) => to.state(id),
                StorageKind::Temp | StorageKind::Output(_) => {
                    let storage = StorageId(i as u32);
                    let at = plan.arena_offset(storage).unwrap_or(0);
                    let block = if plan.is_own(storage) { &own.buffer } else { &arena };
                    if let StorageKind::Output(id) = s.kind {
                        outputs.push((id, at, s.bytes));
                    }
                    // SAFETY: the planner placed it inside the block's bytes; of workers' own, this is the first one's.
                    Some((unsafe { block.as_ptr().add(at) }, s.bytes))
                }
            };
            bases.push(found);
        }
        let address = |v: ValueId| -> Result<TensorPtr, BindError> {
            let value = plan.graph.value(v);
            let kind = plan.graph.storages[value.storage.0 as usize].kind;
            let (base, have) = bases[value.storage.0 as usize].ok_or(BindError::Missing(kind))?;
            let need = value.offset + value.layout.span();
            if need > have {
                return Err(BindError::TooSmall { kind, have, need });
            }
            // SAFETY: `offset + span` lies inside what is bound.
            Ok(TensorPtr { ptr: unsafe { base.add(value.offset) }, layout: value.layout })
        };
        let mut calls = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let StepKernel::Cpu(kernel) = step.kernel else {
                calls.push(None);
                continue;
            };
            debug_assert!(step.inputs.len() <= ops::def(step.inst.op).inputs().len());
            let values = || step.inputs.iter().chain(&step.outputs).chain(&step.own_outputs).copied();
            let is_own = |v: ValueId| plan.is_own(plan.graph.value(v).storage);
            let mut tensors = values().map(address).collect::<Result<Vec<_>, _>>()?;
            let each = tensors.len();
            if values().any(is_own) {
                for worker in 1..workers {
                    for (i, v) in values().enumerate() {
                        let first = tensors[i];
                        let distance = if is_own(v) { worker * own.each } else { 0 };
                        // SAFETY: the worker's piece is as large as the first one's, in which the address lies.
                        tensors.push(TensorPtr { ptr: unsafe { first.ptr.add(distance) }, ..first });
                    }
                }
            }
            let shared = step.shared.map(address).transpose()?;
            let (inputs, outputs) = (step.inputs.len(), step.outputs.len());
            calls.push(Some(BoundCall { kernel, shared, tensors, inputs, outputs, each }));
        }
        let scratch = Pieces::new(plan.scratch_bytes, workers);
        Ok(Bound { calls, scratch, arena, _own: own, outputs, bases })
    }

    /// First byte of the shared temporaries, and how many there are: for locking them.
    pub fn arena(&self) -> (*mut u8, usize) {
        (self.arena.as_ptr(), self.arena.len())
    }

    /// Start and length of a storage, if it has a place on the host.
    pub fn place(&self, storage: StorageId) -> Option<(*mut u8, usize)> {
        self.bases[storage.0 as usize]
    }

    /// An output's bytes after a run.
    pub fn output(&self, id: u32) -> Option<&[u8]> {
        let &(_, at, len) = self.outputs.iter().find(|o| o.0 == id)?;
        Some(&self.arena.bytes()[at..at + len])
    }

    /// An output as F32 after a run.
    pub fn output_f32(&self, id: u32) -> Option<&[f32]> {
        let &(_, at, len) = self.outputs.iter().find(|o| o.0 == id)?;
        Some(&self.arena.as_f32()[at / 4..(at + len) / 4])
    }

    /// A copy of the bytes that a value of the plan reaches now, wherever it lies: for tapping live inputs. Only values
    /// that a step uses have an address; others are empty.
    pub fn read(&self, plan: &Plan, v: crate::ValueId) -> Vec<u8> {
        let value = plan.graph.value(v);
        let storage = plan.written_in(value.storage);
        let Some((base, have)) = self.bases[storage.0 as usize] else { return Vec::new() };
        let n = value.layout.span();
        if value.offset + n > have {
            return Vec::new();
        }
        // SAFETY: `new` was promised that what is bound stays live; between runs nobody writes it.
        unsafe { std::slice::from_raw_parts(base.add(value.offset), n) }.to_vec()
    }
}
