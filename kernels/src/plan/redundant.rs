//! Steps that every worker does for itself, so that nobody waits for their results.
//!
//! A norm of a token's row, its quantisation, the choice among its experts: each takes about as long as the barrier that
//! would stand behind it. Such a step is done by every worker, whole, into memory of the worker's own; what reads the
//! result in the same round follows at once. All workers run the same code over the same bytes, so the copies are the
//! same. A copy never outlives its round: what reads the result later reads the one that the workers publish together,
//! so that a worker which comes late has missed nothing that it needs.

use super::{Step, schedule};
use crate::graph::{Graph, StorageId, StorageKind, ValueId};
use crate::ops;
use std::collections::{HashMap, HashSet};

/// Which storages are workers' own.
#[derive(Default)]
pub(super) struct Copies {
    /// By storage.
    pub is_own: Vec<bool>,
    /// For results that are not published: where a worker's own copy is.
    pub instead: HashMap<StorageId, StorageId>,
}

/// Takes `redundant` from the steps that want it but do not qualify: a copy must be whole, so a step must write
/// temporaries alone, each of them fully, and nobody else may write them.
pub(super) fn qualify(graph: &Graph, steps: &mut [Step]) {
    let mut writers = vec![0; graph.storages.len()];
    for v in steps.iter().flat_map(schedule::writes) {
        writers[graph.value(v).storage.0 as usize] += 1;
    }
    for step in steps.iter_mut().filter(|s| s.redundant) {
        let whole = step.outputs.iter().all(|&v| {
            let (value, storage) = (graph.value(v), graph.storage(v));
            storage.kind == StorageKind::Temp
                && writers[value.storage.0 as usize] == 1
                && value.offset == 0
                && value.layout.is_contiguous()
                && value.layout.span() == storage.bytes
        });
        step.redundant =
            whole && step.phases == 1 && step.shared.is_none() && ops::def(step.inst.op).updates().is_empty();
    }
}

/// Gives a redundant step storages for workers' own results, and notes them in `current`.
pub(super) fn give_copies(graph: &mut Graph, step: &mut Step, current: &mut HashMap<StorageId, StorageId>) {
    for &v in &step.outputs {
        let value = *graph.value(v);
        let own = graph.builder().temp(value.layout);
        current.insert(value.storage, graph.value(own).storage);
        step.own_outputs.push(own);
    }
}

/// Has a step read workers' own results where there are.
pub(super) fn read_copies(graph: &mut Graph, inputs: &mut [ValueId], current: &HashMap<StorageId, StorageId>) {
    for v in inputs {
        let value = *graph.value(*v);
        if let Some(&storage) = current.get(&value.storage) {
            graph.values.push(crate::graph::Value { storage, ..value });
            *v = ValueId(graph.values.len() as u32 - 1);
        }
    }
}

/// When all is scheduled: drops copies that nobody reads, and publishes only what somebody reads in a later round.
pub(super) fn settle(graph: &Graph, steps: &mut [Step]) -> Copies {
    let mut copies = Copies { is_own: vec![false; graph.storages.len()], ..Copies::default() };
    // From the last to the first: a step that nobody needs any more reads nothing.
    let mut read: HashSet<StorageId> = HashSet::new();
    for step in steps.iter_mut().rev() {
        if step.redundant {
            let storage = |v: &ValueId| graph.value(*v).storage;
            let is_read = |of: &[ValueId]| of.iter().any(|v| read.contains(&storage(v)));
            step.published = is_read(&step.outputs);
            step.redundant = is_read(&step.own_outputs);
            if !step.redundant {
                // Somebody may want to see it.
                step.published = true;
                step.own_outputs.clear();
            }
            for (v, own) in step.outputs.iter().zip(&step.own_outputs) {
                copies.is_own[storage(own).0 as usize] = true;
                if !step.published {
                    copies.instead.insert(storage(v), storage(own));
                }
            }
        }
        read.extend(step.inputs.iter().map(|&v| graph.value(v).storage));
    }
    copies
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, StorageKind};
    use crate::plan::{Chooser, Chosen, Defaults, Plan};
    use crate::{Instance, Layout, Op, Params};

    /// Every choice left open but one: whether steps are done by every worker.
    struct Never;

    impl Chooser for Never {
        fn choose(&self, _name: &str, _inst: &Instance) -> Option<Chosen> {
            let tunables = vec![("redundant".to_owned(), 0)];
            Some(Chosen { tunables, ..Chosen::default() })
        }
    }

    /// `y = (x + x) + x`, the first sum of `n` elements either whole or as two halves of which the first is a copy.
    fn sums(n: usize, halves: bool) -> Graph {
        let mut graph = Graph::default();
        let mut b = graph.builder();
        let x = b.bind(StorageKind::Input(0), Layout::f32([n, 1, 1, 1]));
        let twice = if halves {
            let twice = b.temp(Layout::f32([n, 1, 1, 1]));
            let half = |b: &mut crate::graph::GraphBuilder<'_>, v, at| b.slice(v, 0, at, n / 2);
            let (from, to) = (half(&mut b, x, 0), half(&mut b, twice, 0));
            b.node_into("copied", Op::Cont, Params::None, &[from], &[to]);
            let (from, to) = (half(&mut b, x, n / 2), half(&mut b, twice, n / 2));
            b.node_into("added", Op::Add, Params::None, &[from, from], &[to]);
            twice
        } else {
            b.one("twice", Op::Add, Params::None, &[x, x])
        };
        let y = b.bind(StorageKind::Output(0), Layout::f32([n, 1, 1, 1]));
        b.node_into("thrice", Op::Add, Params::None, &[twice, x], &[y]);
        graph
    }

    fn redundant(plan: &Plan) -> Vec<bool> {
        plan.steps.iter().map(|s| s.redundant).collect()
    }

    #[test]
    fn a_small_temporary_is_made_by_every_worker_and_nobody_waits() {
        let plan = Plan::build(sums(2048, false), &Defaults, 4).unwrap();
        assert_eq!((redundant(&plan), plan.barriers()), (vec![true, false], 0));
        assert!(plan.own_bytes >= 4 * 2048 && !plan.steps[0].published);
    }

    #[test]
    fn a_profile_can_have_it_shared_out() {
        let plan = Plan::build(sums(2048, false), &Never, 4).unwrap();
        assert_eq!((redundant(&plan), plan.barriers(), plan.own_bytes), (vec![false, false], 1, 0));
    }

    #[test]
    fn much_is_shared_out() {
        let plan = Plan::build(sums(1 << 20, false), &Defaults, 4).unwrap();
        assert_eq!((redundant(&plan), plan.barriers()), (vec![false, false], 1));
    }

    #[test]
    fn a_copy_of_which_only_a_part_would_be_written_is_none() {
        let plan = Plan::build(sums(2048, true), &Defaults, 4).unwrap();
        assert_eq!((redundant(&plan), plan.barriers()), (vec![false; 3], 1));
    }
}
