//! What the race came to: winners, confirmed by whole runs, as rows of a profile.

use super::Search;
use super::race::{self, Out, Outcome};
use super::report::{Event, Fate, Found, Standing};
use crate::TuneError;
use crate::ab::Ab;
use crate::journal::Entry;
use crate::measure::over;
use crate::stats::{Interval, Verdict};
use deltascope_profiles::{Choice, Measured, Profile};

impl Search<'_> {
    pub(super) fn finish(mut self, stopped: bool) -> Result<Found, TuneError> {
        let outcomes: Vec<Outcome> = self.series.iter().map(|s| race::decide(s, self.options.noise)).collect();
        let mut found = Found {
            standings: self.standings(&outcomes),
            choices: Vec::new(),
            changes: 0,
            confirmation: None,
            accepted: true,
            stopped,
        };
        let mut winners = Vec::new();
        for (x, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Outcome::Won { winner, tied } => {
                    winners.push((x, winner));
                    found.choices.extend(self.row(x, winner, &tied));
                }
                Outcome::Kept { tied } if !tied.is_empty() => {
                    let cell = &self.cells[x];
                    let mut choice = cell.baseline.choice(cell.rule(self.op, self.phase()));
                    choice.tied_with = self.names(&tied, cell.baseline.variant.spec().name);
                    if !choice.tied_with.is_empty() {
                        found.choices.push(choice);
                    }
                    let verdict = "tied: default kept".to_owned();
                    for c in tied {
                        self.note(x, c, Entry::Decided { verdict: verdict.clone(), confirmed: None })?;
                    }
                }
                Outcome::Kept { .. } => {}
            }
        }
        found.changes = winners.len();
        if !winners.is_empty() {
            self.confirm(&mut found)?;
            let confirmed = found.confirmation.is_some().then_some(found.accepted);
            for (x, c) in winners {
                self.note(x, c, Entry::Decided { verdict: "won".to_owned(), confirmed })?;
            }
        }
        Ok(found)
    }

    fn standings(&self, outcomes: &[Outcome]) -> Vec<Standing> {
        let mut all = Vec::new();
        for (x, (cell, outcome)) in self.cells.iter().zip(outcomes).enumerate() {
            for (c, s) in self.series[x].iter().enumerate() {
                let ratio = s.ratio();
                let chosen = |c: usize| match outcome {
                    Outcome::Won { winner, .. } if *winner == c => Some(Fate::Won),
                    Outcome::Won { tied, .. } | Outcome::Kept { tied } => tied.contains(&c).then_some(Fate::Tied),
                };
                let fate = match &s.out {
                    Some(Out::Baseline) => Fate::Baseline,
                    Some(Out::Refused(why)) => Fate::Refused(why.clone()),
                    Some(Out::Dropped(why)) => Fate::Dropped(why.clone()),
                    Some(Out::Unchecked) => Fate::NotMeasured,
                    None => match (chosen(c), &ratio) {
                        (_, None) => Fate::NotMeasured,
                        _ if !s.decided() => Fate::Undecided,
                        (Some(fate), _) => fate,
                        (None, Some(r)) => Fate::Behind(Verdict::of(r, self.options.noise)),
                    },
                };
                let samples = if fate == Fate::Baseline { &self.base_us[x] } else { &s.samples_us };
                all.push(Standing {
                    shape: cell.shape.clone(),
                    nodes: cell.nodes.len(),
                    candidate: self.candidates[c].clone(),
                    us: Interval::of(samples),
                    ratio,
                    fate,
                });
            }
        }
        all
    }

    /// Whole runs with the rows against whole runs without. What could not be confirmed is not accepted.
    fn confirm(&mut self, found: &mut Found) -> Result<(), TuneError> {
        let Some(options) = &self.options.confirm else { return Ok(()) };
        let rows = Profile { choices: found.choices.clone(), ..Profile::default() };
        let ab = Ab::new(self.base.clone(), over(&self.base, rows), options.clone());
        let on_event = &mut *self.on_event;
        found.confirmation = ab.run(self.engine, self.workload, self.limits, |ab| {
            on_event(Event::Confirming { pairs: ab.pairs() });
        })?;
        found.accepted = found.confirmation.as_ref().is_some_and(|r| {
            !r.run.verdict.is_slower()
                && (r.run.verdict.is_faster() || r.changed.is_some_and(|c| c.verdict.is_faster()))
        });
        Ok(())
    }

    fn row(&self, x: usize, winner: usize, tied: &[usize]) -> Option<Choice> {
        let (cell, c, s) = (&self.cells[x], &self.candidates[winner], &self.series[x][winner]);
        let us = Interval::of(&s.samples_us)?;
        let ratio = s.ratio()?;
        let saved = us.median / ratio.median - us.median;
        let run_us = (self.wall_us - saved * cell.nodes.len() as f64).max(us.median);
        let mut choice = c.choice(cell.rule(self.op, self.phase()));
        choice.measured = Some(Measured {
            median_us: rounded(us.median, 1e2),
            ci95_us: [rounded(us.lo, 1e2), rounded(us.hi, 1e2)],
            samples: us.n as u32,
            share: Some(rounded((us.median * cell.nodes.len() as f64 / run_us).min(1.0), 1e4)),
            baseline: Some(cell.baseline.variant.spec().name.to_owned()),
            speedup: Some(rounded(1.0 / ratio.median, 1e2)),
        });
        choice.tied_with = self.names(tied, c.variant.spec().name);
        Some(choice)
    }

    /// Variants among candidates, each once, without the one that is chosen.
    fn names(&self, of: &[usize], chosen: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in of.iter().map(|&c| self.candidates[c].variant.spec().name).filter(|&n| n != chosen) {
            if !names.iter().any(|n| n == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

/// To one part in `parts`: a profile is read by people, and no clock is good to more digits.
fn rounded(x: f64, parts: f64) -> f64 {
    (x * parts).round() / parts
}
