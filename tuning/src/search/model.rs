//! Which ops of a model are worth tuning, and in which order.

use crate::TuneError;
use crate::measure::{Workload, run};
use deltascope_kernels::Op;
use deltascope_model::Engine;
use deltascope_model::profiling::{Group, Stats};

/// Runs that the order is from; one more warms up.
const RUNS: usize = 4;

/// The ops of the plan in force with their share of a run's time, the largest first. A node that is computed by others
/// counts, and so do those: shares may sum to more than 1. The slot's state is afterwards that from before.
///
/// # Errors
/// If the workload cannot run.
pub fn ops_by_time(engine: &mut Engine, workload: &Workload) -> Result<Vec<(Op, f64)>, TuneError> {
    let start = engine.checkpoint(workload.slot)?;
    let mut stats = Stats::new(RUNS);
    let result = (0..=RUNS).try_for_each(|i| {
        let record = run(engine, workload.batch(i)?)?.0;
        engine.restore(&start)?;
        if i > 0 {
            stats.push(&record);
        }
        Ok(())
    });
    engine.restore(&start)?;
    result.map(|()| by_op(&stats))
}

fn by_op(stats: &Stats) -> Vec<(Op, f64)> {
    let mut ops: Vec<(Op, f64)> = Vec::new();
    for row in stats.table(Group::Op).rows {
        // There is one way to transfer.
        let Some(op) = row.op.filter(|&op| op != Op::Transfer) else { continue };
        match ops.iter_mut().find(|(o, _)| *o == op) {
            Some((_, share)) => *share += row.share,
            None => ops.push((op, row.share)),
        }
    }
    ops.sort_by(|a, b| b.1.total_cmp(&a.1));
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo;

    #[test]
    fn every_op_once_and_the_slot_is_left_as_it_was() {
        let (mut engine, workload) = demo::engine();
        let position = engine.position(workload.slot);
        let ops = ops_by_time(&mut engine, &workload).unwrap();
        assert_eq!(engine.position(workload.slot), position);
        assert!(ops.windows(2).all(|w| w[0].1 >= w[1].1));
        let names: std::collections::HashSet<Op> = ops.iter().map(|(op, _)| *op).collect();
        assert_eq!(names.len(), ops.len());
        assert!(names.contains(&Op::MulMat) && names.contains(&Op::GatedDeltaNet));
        let sum: f64 = ops.iter().map(|(_, share)| share).sum();
        assert!(sum > 0.5, "what runs is most of a run: {ops:?}");
    }
}
