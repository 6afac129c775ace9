//! From views to addresses.

use crate::graph::StorageKind;
use crate::plan::{Plan, StepKernel};
use crate::{Buffer, TensorPtr};
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
    /// A step that workers cannot run.
    #[error("step {0} runs on a GPU, not on a worker pool")]
    NotCpu(usize),
}

/// A plan's calls with addresses, its arena and scratch. Good for as long as what it was bound to stays where it is.
pub struct Bound {
    pub(super) calls: Vec<BoundCall>,
    pub(super) scratch: Scratch,
    arena: Buffer,
    outputs: Vec<(u32, usize, usize)>,
    bases: Vec<Option<(*mut u8, usize)>>,
}

// SAFETY: the addresses are dereferenced only by runs and reads, whose callers hold the bound plan and its memory.
unsafe impl Send for Bound {}

pub(super) struct BoundCall {
    pub kernel: &'static dyn Kernel,
    pub inputs: Vec<TensorPtr>,
    pub outputs: Vec<TensorPtr>,
    pub shared: Option<TensorPtr>,
}

/// A piece of memory for each worker.
pub(super) struct Scratch {
    buffer: Buffer,
    each: usize,
}

impl Scratch {
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
    /// Gives every view of the plan its address.
    ///
    /// # Errors
    /// If something is not bound or too small.
    ///
    /// # Safety
    /// What `to` names stays live, and is not touched by others while the plan runs, for as long as the result is used.
    pub unsafe fn new(plan: &Plan, to: &dyn Bindings, threads: usize) -> Result<Bound, BindError> {
        let arena = Buffer::zeroed(plan.arena_bytes);
        let mut bases = Vec::with_capacity(plan.graph.storages.len());
        let mut outputs = Vec::new();
        for (i, s) in plan.graph.storages.iter().enumerate() {
            let found = match s.kind {
                StorageKind::Weight(id) => to.weight(id).map(|(p, n)| (p.cast_mut(), n)),
                StorageKind::Packed(id, packing) => to.packed(id, packing).map(|(p, n)| (p.cast_mut(), n)),
                StorageKind::Input(id) => to.input(id),
                StorageKind::State(id) => to.state(id),
                StorageKind::Temp | StorageKind::Output(_) => {
                    let at = plan.arena_offset(crate::graph::StorageId(i as u32)).unwrap_or(0);
                    if let StorageKind::Output(id) = s.kind {
                        outputs.push((id, at, s.bytes));
                    }
                    // SAFETY: the planner placed it inside `arena_bytes`.
                    Some((unsafe { arena.as_ptr().add(at) }, s.bytes))
                }
            };
            bases.push(found);
        }
        let address = |v: crate::ValueId| -> Result<TensorPtr, BindError> {
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
        for (number, step) in plan.steps.iter().enumerate() {
            let StepKernel::Cpu(kernel) = step.kernel else { return Err(BindError::NotCpu(number)) };
            debug_assert!(step.inputs.len() <= ops::def(step.inst.op).inputs().len());
            calls.push(BoundCall {
                kernel,
                inputs: step.inputs.iter().map(|&v| address(v)).collect::<Result<_, _>>()?,
                outputs: step.outputs.iter().map(|&v| address(v)).collect::<Result<_, _>>()?,
                shared: step.shared.map(address).transpose()?,
            });
        }
        let each = plan.scratch_bytes.next_multiple_of(128);
        let scratch = Scratch { buffer: Buffer::zeroed(each * threads.max(plan.threads)), each };
        Ok(Bound { calls, scratch, arena, outputs, bases })
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
        let Some((base, have)) = self.bases[value.storage.0 as usize] else { return Vec::new() };
        let n = value.layout.span();
        if value.offset + n > have {
            return Vec::new();
        }
        // SAFETY: `new` was promised that what is bound stays live; between runs nobody writes it.
        unsafe { std::slice::from_raw_parts(base.add(value.offset), n) }.to_vec()
    }
}
