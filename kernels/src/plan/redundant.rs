//! Steps that every worker does for itself, so that nobody waits for their results.
//!
//! A norm of a token's row, its quantisation, the choice among its experts: each takes about as long as the barrier that
//! would stand behind it. Such a step is done by every worker, whole, into memory of the worker's own; what reads the
//! result follows without a barrier. All workers run the same code over the same bytes, so the copies are the same.

use super::Step;
use crate::graph::{Graph, StorageKind};
use crate::ops;

/// Sets `redundant` where it can be had of the steps that want it; returns which storages each worker has its own copy of.
///
/// A copy must be whole: a step qualifies if it writes temporaries alone, and each of those is written by such steps alone.
pub(super) fn resolve(graph: &Graph, steps: &mut [Step]) -> Vec<bool> {
    for step in steps.iter_mut().filter(|s| s.redundant) {
        let temporaries = step.outputs.iter().all(|&v| graph.storage(v).kind == StorageKind::Temp);
        step.redundant &= temporaries
            && step.phases == 1
            && step.shared.is_none()
            && ops::def(step.inst.op).updates().is_empty();
    }
    loop {
        let mut own = vec![true; graph.storages.len()];
        let mut written = vec![false; graph.storages.len()];
        for step in steps.iter() {
            for v in super::schedule::writes(step) {
                let s = graph.value(v).storage.0 as usize;
                own[s] &= step.redundant;
                written[s] = true;
            }
        }
        own.iter_mut().zip(written).for_each(|(own, written)| *own &= written);
        let mut changed = false;
        for step in steps.iter_mut().filter(|s| s.redundant) {
            step.redundant = step.outputs.iter().all(|&v| own[graph.value(v).storage.0 as usize]);
            changed |= !step.redundant;
        }
        if !changed {
            return own;
        }
    }
}
