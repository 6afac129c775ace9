//! Barriers: between steps that touch the same bytes, and nowhere else.

use super::Step;
use crate::graph::{Graph, StorageId, StorageKind, ValueId};
use crate::ops;

/// A stretch of memory that a step touches.
#[derive(Clone, Copy)]
struct Span {
    storage: StorageId,
    from: usize,
    to: usize,
}

impl Span {
    fn of(graph: &Graph, v: ValueId) -> Span {
        let value = graph.value(v);
        Span { storage: value.storage, from: value.offset, to: value.offset + value.layout.span() }
    }

    fn meets(&self, other: &Span) -> bool {
        self.storage == other.storage && self.from < other.to && other.from < self.to
    }
}

/// What a step reads, weights aside.
pub(super) fn reads(graph: &Graph, step: &Step) -> impl Iterator<Item = ValueId> {
    let constant = |v| matches!(graph.storage(v).kind, StorageKind::Weight(_) | StorageKind::Packed(..));
    step.inputs.iter().copied().filter(move |&v| !constant(v))
}

/// What a step writes.
pub(super) fn writes(step: &Step) -> impl Iterator<Item = ValueId> {
    let updates = ops::def(step.inst.op).updates();
    let updated = updates.iter().filter_map(|&i| step.inputs.get(i).copied());
    step.outputs.iter().copied().chain(updated).chain(step.shared)
}

/// Sets `barrier` and `first_worker` of each step; returns the segment (number of barriers before it) of each. `own`
/// says which storages each worker has a copy of: nobody waits for those.
pub(super) fn schedule(graph: &Graph, steps: &mut [Step], own: &[bool], threads: usize) -> Vec<usize> {
    let mut segments = Vec::with_capacity(steps.len());
    let (mut read, mut written): (Vec<Span>, Vec<Span>) = (Vec::new(), Vec::new());
    let mut segment = 0;
    let mut next_worker = 0;
    for step in steps.iter_mut() {
        let shared = |v: &ValueId| !own[graph.value(*v).storage.0 as usize];
        let r: Vec<Span> = reads(graph, step).filter(shared).map(|v| Span::of(graph, v)).collect();
        let w: Vec<Span> = writes(step).filter(shared).map(|v| Span::of(graph, v)).collect();
        let hits = |a: &[Span], b: &[Span]| a.iter().any(|x| b.iter().any(|y| x.meets(y)));
        step.barrier = hits(&r, &written) || hits(&w, &written) || hits(&w, &read);
        if step.barrier {
            segment += 1;
            next_worker = 0;
            read.clear();
            written.clear();
        }
        if !step.redundant {
            step.first_worker = next_worker % threads;
            next_worker += step.threads;
        }
        // Work between the phases of a step meets at barriers of its own: the steps before it are then done too, but
        // nothing is gained by counting on that.
        segments.push(segment);
        read.extend(r);
        written.extend(w);
    }
    segments
}
