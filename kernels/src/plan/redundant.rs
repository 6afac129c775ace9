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
        step.redundant &=
            temporaries && step.phases == 1 && step.shared.is_none() && ops::def(step.inst.op).updates().is_empty();
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
        assert!(plan.own_bytes >= 4 * 2048);
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
