//! What one phase measures: its rate and the records of its last runs.

use super::interval::{Interval, notch};
use super::snapshot::Baseline;
use super::speed::Meter;
use deltascope_model::profiling::{Group, RunRecord, Stats};
use deltascope_profiles::Phase;

/// Runs whose records are kept.
const KEPT_DECODE: usize = 128;
const KEPT_PREFILL: usize = 24;

/// Runs after a change that are not counted: they touch new memory.
const WARM_UP: usize = 2;

pub(super) const GROUPS: [Group; 4] = [Group::Op, Group::Node, Group::Layer, Group::Block];

pub(super) struct Lane {
    pub phase: Phase,
    pub meter: Meter,
    pub stats: Stats,
    pub tokens_per_run: usize,
    to_skip: usize,
}

impl Lane {
    pub fn new(phase: Phase, tokens_per_run: usize) -> Lane {
        let kept = if phase == Phase::Decode { KEPT_DECODE } else { KEPT_PREFILL };
        Lane { phase, meter: Meter::new(tokens_per_run), stats: Stats::new(kept), tokens_per_run, to_skip: WARM_UP }
    }

    /// Counts a run.
    pub fn push(&mut self, seconds: f64, record: Option<&RunRecord>) {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        self.meter.push(seconds, record.is_some());
        if let Some(record) = record {
            self.stats.push(record);
        }
    }

    /// Another plan runs from now on.
    pub fn changed(&mut self) {
        self.stats.clear();
        self.meter.changed();
        self.to_skip = WARM_UP;
    }

    /// Times of one row in the runs kept, µs.
    pub fn samples(&self, group: Group, label: &str) -> Vec<f64> {
        let table = self.stats.table(group);
        let row = table.rows.iter().find(|r| r.label == label);
        row.map_or_else(Vec::new, |r| r.samples.iter().map(|&s| f64::from(s)).collect())
    }

    /// Enough runs to hold others against.
    pub fn settled(&self) -> bool {
        self.stats.len() >= if self.phase == Phase::Decode { 48 } else { 5 }
    }

    /// Puts the lane's times into a baseline.
    pub fn pin(&self, baseline: &mut Baseline) {
        let speed = self.meter.speed();
        baseline.tokens_per_s.insert(self.phase, (speed.tokens_per_s, speed.plus_minus));
        baseline.rows.retain(|(phase, ..), _| *phase != self.phase);
        for group in GROUPS {
            for row in self.stats.table(group).rows {
                let interval: Option<Interval> = notch(&row.samples);
                baseline.rows.extend(interval.map(|i| ((self.phase, group, row.label), i)));
            }
        }
    }
}
