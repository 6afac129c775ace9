//! Barriers: between steps that touch the same bytes, and nowhere else.

use super::{Step, redundant};
use crate::graph::{Graph, StorageId, StorageKind, ValueId};
use crate::ops;
use std::collections::HashMap;

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
    let own = step.own_outputs.iter().copied();
    step.outputs.iter().copied().chain(own).chain(updated).chain(step.shared)
}

/// Sets `barrier` and `first_worker` of each step and gives redundant steps their workers' own results; returns the
/// segment (number of barriers before it) of each.
pub(super) fn schedule(graph: &mut Graph, steps: &mut [Step], threads: usize) -> Vec<usize> {
    let mut segments = Vec::with_capacity(steps.len());
    let (mut read, mut written): (Vec<Span>, Vec<Span>) = (Vec::new(), Vec::new());
    // Results in this segment of which each worker has its own: nobody waits for those.
    let mut own: HashMap<StorageId, StorageId> = HashMap::new();
    let mut segment = 0;
    let mut next_worker = 0;
    let mut side = None;
    for step in steps.iter_mut() {
        // A leg is run by itself, so it is whole rounds.
        let crosses = side.replace(step.side()).is_some_and(|before| before != step.side());
        let w: Vec<Span> = writes(step).map(|v| Span::of(graph, v)).collect();
        let mut r: Vec<Span> = reads(graph, step).map(|v| Span::of(graph, v)).collect();
        let hits = |a: &[Span], b: &[Span]| a.iter().any(|x| b.iter().any(|y| x.meets(y)));
        // Copies do not outlive a round, and each phase is one.
        if step.reads_later {
            own.clear();
        }
        let waits: Vec<Span> = r.iter().copied().filter(|s| !own.contains_key(&s.storage)).collect();
        step.barrier = crosses || hits(&waits, &written) || hits(&w, &written) || hits(&w, &read);
        if step.barrier {
            segment += 1;
            next_worker = 0;
            read.clear();
            written.clear();
            own.clear();
        } else {
            r = waits;
        }
        redundant::read_copies(graph, &mut step.inputs, &own);
        if step.redundant {
            redundant::give_copies(graph, step, &mut own);
        }
        if step.phases > 1 {
            own.clear();
        }
        step.first_worker = next_worker % threads;
        next_worker += step.threads;
        // Work between the phases of a step meets at barriers of its own: the steps before it are then done too, but
        // nothing is gained by counting on that.
        segments.push(segment);
        read.extend(r);
        written.extend(w);
    }
    segments
}
