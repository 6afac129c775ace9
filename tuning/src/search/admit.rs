//! Who may race: what the journal knows is taken up, what it does not know passes the gate or is refused.

use super::race::Out;
use super::report::Event;
use super::{Search, space};
use crate::TuneError;
use crate::gate::{self, Gate};
use crate::journal::Entry;
use crate::measure::run;
use deltascope_model::profiling::PlanInfo;
use std::sync::Arc;

impl Search<'_> {
    /// Settles for each candidate on each shape whether it is measured.
    pub(super) fn admit(&mut self) -> Result<(), TuneError> {
        for cell in 0..self.cells.len() {
            let unknown: Vec<usize> =
                (0..self.candidates.len()).filter(|&c| self.series[cell][c].live() && !self.recall(cell, c)).collect();
            if !unknown.is_empty() {
                self.gate(cell, &unknown)?;
            }
        }
        Ok(())
    }

    /// Takes up what the journal has of a candidate; `false` if that is nothing.
    fn recall(&mut self, cell: usize, candidate: usize) -> bool {
        let key = self.key(cell, candidate);
        let series = &mut self.series[cell][candidate];
        let mut known = false;
        for entry in self.journal.iter().flat_map(|j| j.history(&key)) {
            known = true;
            match entry {
                Entry::Measured { samples_us, ratio } => {
                    series.samples_us.extend(samples_us);
                    series.ratios.push(*ratio);
                }
                Entry::Refused { reason } => series.out = Some(Out::Refused(reason.clone())),
                Entry::Dropped { reason } => series.out = Some(Out::Dropped(reason.clone())),
                Entry::Decided { .. } => {}
            }
        }
        known
    }

    fn gate(&mut self, cell: usize, candidates: &[usize]) -> Result<(), TuneError> {
        let batch = self.workload.batch(0)?;
        let info = self.plan()?;
        for node in gate::representatives(&info, &self.cells[cell].nodes) {
            if self.limits.reached() {
                break;
            }
            let gate = Gate::at(self.engine, batch, &info.nodes[node].name, self.phase())?;
            for &c in candidates {
                if self.series[cell][c].live() && !self.limits.reached() {
                    self.hold_against(&gate, cell, c)?;
                }
            }
        }
        if self.limits.reached() {
            // Some of them were not held against every node, so none of them is measured.
            for &c in candidates {
                self.series[cell][c].out.get_or_insert(Out::Unchecked);
            }
        }
        Ok(())
    }

    fn hold_against(&mut self, gate: &Gate, cell: usize, c: usize) -> Result<(), TuneError> {
        let candidate = self.candidates[c].clone();
        (self.on_event)(Event::Checking { candidate: candidate.clone() });
        let stack = space::stack_with(&self.base, self.op, self.phase(), &candidate, [&self.cells[cell]]);
        let mut result = gate.check(self.engine, candidate.variant, &candidate.kernel_tunables(), &stack).map(drop);
        if result.is_ok() && self.options.suite {
            result = gate::suite(candidate.variant);
        }
        match result {
            Ok(()) => Ok(()),
            Err(e) => self.refuse(cell, c, e.to_string()),
        }
    }

    /// The plan under the baseline.
    fn plan(&mut self) -> Result<Arc<PlanInfo>, TuneError> {
        let batch = self.workload.batch(0)?;
        let start = self.engine.checkpoint(batch.slot)?;
        let record = run(self.engine, batch);
        self.engine.restore(&start)?;
        Ok(record?.0.info)
    }
}
