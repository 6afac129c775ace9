//! What one phase measures: its rate and the records of its last runs.

use super::interval::{Interval, notch};
use super::snapshot::Baseline;
use super::speed::Meter;
use deltascope_model::profiling::{Group, RunRecord, Stats};
use deltascope_profiles::Phase;
use std::time::{Duration, Instant};

/// Runs whose records are kept.
const KEPT_DECODE: usize = 128;
const KEPT_PREFILL: usize = 24;

/// Runs after a change that are not counted: they touch new memory.
const WARM_UP: usize = 2;

/// Time after which the first baseline is pinned.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) const GROUPS: [Group; 4] = [Group::Op, Group::Node, Group::Layer, Group::Block];

pub(super) struct Lane {
    pub phase: Phase,
    pub meter: Meter,
    pub stats: Stats,
    pub tokens_per_run: usize,
    to_skip: usize,
    /// The first run.
    started: Option<Instant>,
}

impl Lane {
    pub fn new(phase: Phase, tokens_per_run: usize) -> Lane {
        let kept = if phase == Phase::Decode { KEPT_DECODE } else { KEPT_PREFILL };
        Lane {
            phase,
            meter: Meter::new(tokens_per_run),
            stats: Stats::new(kept),
            tokens_per_run,
            to_skip: WARM_UP,
            started: None,
        }
    }

    /// Counts a run.
    pub fn push(&mut self, seconds: f64, record: Option<&RunRecord>) {
        self.started.get_or_insert_with(Instant::now);
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

    /// Enough runs, over enough time, to hold others against: the first ones are slow, and on a fast model over at once.
    pub fn settled(&self) -> bool {
        let runs = if self.phase == Phase::Decode { 96 } else { 6 };
        self.stats.len() >= runs && self.started.is_some_and(|t| t.elapsed() >= SETTLE)
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
