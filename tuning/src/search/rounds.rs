//! The race: rounds in which every candidate that is left runs between two turns of the baseline.

use super::report::Event;
use super::space::{self, Candidate};
use super::{Search, race};
use crate::TuneError;
use crate::journal::Entry;
use crate::measure::run;
use crate::stats::{Anchor, Interval, median};
use deltascope_profiles::Stack;

/// What one stack took.
struct Turn {
    /// By cell, samples of a node's time in microseconds; empty where another variant served it.
    node_us: Vec<Vec<f64>>,
    /// The median run.
    wall_us: f64,
}

impl Search<'_> {
    /// Rounds until they are over, nobody is left, or it is time to stop (then `true`).
    pub(super) fn race(&mut self) -> Result<bool, TuneError> {
        let mut anchor = Anchor::new(self.options.drift);
        let rounds = self.options.rounds;
        // Half as many again for turns that were thrown away: too few rounds would leave a candidate undecided.
        for round in 1..=rounds + rounds / 2 {
            let due = round.min(rounds);
            if round > rounds && !self.lacks(rounds) {
                break;
            }
            for i in 0..self.candidates.len() {
                // Forth and back, so that nobody is always measured after the same one.
                let c = if round % 2 == 0 { self.candidates.len() - 1 - i } else { i };
                if self.race_limits.reached() || !self.turn(c, due, &mut anchor)? {
                    return Ok(true);
                }
            }
            self.eliminate()?;
            let live = (0..self.candidates.len()).filter(|&c| self.series.iter().any(|s| s[c].live())).count();
            let leader = self.leader();
            (self.on_event)(Event::Round { round, of: rounds.max(round), live, leader });
            if live == 0 {
                break;
            }
        }
        Ok(false)
    }

    /// Somebody who is left has been measured in fewer rounds.
    fn lacks(&self, rounds: usize) -> bool {
        self.series.iter().flatten().any(|s| s.live() && s.ratios.len() < rounds)
    }

    fn eliminate(&mut self) -> Result<(), TuneError> {
        let mut dropped = Vec::new();
        for (cell, series) in self.series.iter_mut().enumerate() {
            dropped.extend(race::eliminate(series).into_iter().map(|(c, reason)| (cell, c, reason)));
        }
        for (cell, c, reason) in dropped {
            (self.on_event)(Event::Dropped { candidate: self.candidates[c].clone(), reason: reason.clone() });
            self.note(cell, c, Entry::Dropped { reason })?;
        }
        Ok(())
    }

    /// Who is ahead on the shape that has the most nodes.
    fn leader(&self) -> Option<(Candidate, Interval)> {
        let most = (0..self.cells.len()).max_by_key(|&x| self.cells[x].nodes.len())?;
        let live = self.series[most].iter().enumerate().filter(|(_, s)| s.live());
        let (c, ratio) =
            live.filter_map(|(c, s)| Some((c, s.ratio()?))).min_by(|a, b| a.1.median.total_cmp(&b.1.median))?;
        Some((self.candidates[c].clone(), ratio))
    }

    /// One candidate between two turns of the baseline, on the cells where it still needs this round; `false` if it
    /// was time to stop meanwhile.
    fn turn(&mut self, c: usize, round: usize, anchor: &mut Anchor) -> Result<bool, TuneError> {
        let needs = |x: &usize| self.series[*x][c].live() && self.series[*x][c].ratios.len() < round;
        let on: Vec<usize> = (0..self.cells.len()).filter(needs).collect();
        if on.is_empty() {
            return Ok(true);
        }
        let candidate = self.candidates[c].clone();
        let cells = on.iter().map(|&x| &self.cells[x]);
        let stack = space::stack_with(&self.base, self.op, self.phase(), &candidate, cells);
        let Some(before) = self.measure(&self.base.clone(), None)? else { return Ok(false) };
        let measured = self.measure(&stack, Some((&candidate, &on)));
        let Some(after) = self.measure(&self.base.clone(), None)? else { return Ok(false) };
        let turn = match measured {
            Ok(Some(turn)) => turn,
            Ok(None) => return Ok(false),
            // It has no plan or too little memory; the baseline ran, so the candidate is at fault.
            Err(e) => return on.into_iter().try_for_each(|x| self.refuse(x, c, e.to_string())).map(|()| true),
        };
        if anchor.moved(before.wall_us, after.wall_us) {
            (self.on_event)(Event::Drifted { by: after.wall_us / before.wall_us });
            return Ok(true);
        }
        for x in on {
            let around: Vec<f64> = before.node_us[x].iter().chain(&after.node_us[x]).copied().collect();
            self.base_us[x].extend(&around);
            let ratio = median(&turn.node_us[x]).zip(median(&around)).map(|(t, b)| t / b);
            match ratio.filter(|r| r.is_finite() && *r > 0.0) {
                Some(ratio) => {
                    let samples_us = turn.node_us[x].clone();
                    self.series[x][c].samples_us.extend(&samples_us);
                    self.series[x][c].ratios.push(ratio);
                    self.note(x, c, Entry::Measured { samples_us, ratio })?;
                }
                None => self.refuse(x, c, "the plan serves the node by another variant".to_owned())?,
            }
        }
        Ok(true)
    }

    /// Runs a stack: one warm-up, then samples. `None` if it was time to stop.
    fn measure(&mut self, stack: &Stack, of: Option<(&Candidate, &[usize])>) -> Result<Option<Turn>, TuneError> {
        if self.engine.stack() != stack {
            self.engine.set_stack(stack.clone());
        }
        let mut node_us = vec![Vec::new(); self.cells.len()];
        let mut walls = Vec::new();
        for i in 0..=self.options.samples.max(1) {
            if self.race_limits.reached() {
                return Ok(None);
            }
            let batch = self.workload.batch(i.saturating_sub(1))?;
            let start = self.engine.checkpoint(batch.slot)?;
            let result = run(self.engine, batch);
            self.engine.restore(&start)?;
            let record = result?.0;
            (self.on_event)(Event::Run);
            if i == 0 {
                continue;
            }
            walls.push(record.wall_us);
            for (x, cell) in self.cells.iter().enumerate() {
                let found = cell.find(self.op, &record.info);
                let served =
                    of.is_none_or(|(c, on)| !on.contains(&x) || found.iter().all(|&n| c.serves(&record.info, n)));
                node_us[x].extend(cell.node_us(&record, &found).filter(|_| served));
            }
        }
        Ok(Some(Turn { node_us, wall_us: median(&walls).unwrap_or(f64::NAN) }))
    }
}
