//! The search for one op's best variant and tunables, measured in the running model.
//!
//! A run under a candidate times all shapes of the op at once, since every node is in the record. Rounds interleave the
//! candidates that are left with the baseline before and after them; a candidate's number is its time over the
//! baseline's around it. Who is clearly slower leaves ([`race`]). Every candidate first passes the [`gate`].
//! What won is confirmed by whole runs against the baseline before it is handed out as accepted.
//!
//! Tuning all ops of a model (by share of the token's time, with the number of workers) is a loop over this function
//! and belongs beside it, in `search/model.rs`.

mod race;
mod space;

pub use space::Candidate;

use crate::ab::{self, Ab};
use crate::gate::{self, Gate};
use crate::journal::{Entry, Journal, Key};
use crate::machine::machine;
use crate::measure::{Limits, Workload, over, run};
use crate::stats::{Anchor, Interval, median};
use crate::{TuneError, stats::Verdict};
use deltascope_kernels::Op;
use deltascope_model::Engine;
use deltascope_model::profiling::RunRecord;
use deltascope_profiles::{Choice, Measured, Phase, Profile, Stack};
use race::{Outcome, Series};
use space::Cell;

/// How to search.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// At most so many rounds; no fewer than [`crate::stats::MIN_PAIRS`] give a verdict.
    pub rounds: usize,
    /// Runs of a candidate that count, a round; one more warms up.
    pub samples: usize,
    /// Numbers of workers to try for each kernel, beside leaving it to the run.
    pub threads: Vec<usize>,
    /// Smaller differences than this share are ties.
    pub noise: f64,
    /// A round is thrown away if the baseline moved by more than this share around it.
    pub drift: f64,
    /// Try the scalar reference too.
    pub with_reference: bool,
    /// Also run each variant's test suite.
    pub suite: bool,
    /// The whole-run comparison at the end; `None` accepts without.
    pub confirm: Option<ab::Options>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            rounds: 10,
            samples: 3,
            threads: Vec::new(),
            noise: 0.02,
            drift: 0.15,
            with_reference: false,
            suite: false,
            confirm: Some(ab::Options::default()),
        }
    }
}

/// What happens, for whoever shows it.
#[derive(Clone, Debug)]
pub enum Event {
    /// The race begins.
    Started {
        /// Shapes of the op.
        shapes: usize,
        /// Candidates.
        candidates: usize,
    },
    /// A candidate is not measured on a shape.
    Refused {
        /// Who.
        candidate: Candidate,
        /// Why.
        reason: String,
    },
    /// A candidate left the race on a shape.
    Dropped {
        /// Who.
        candidate: Candidate,
        /// Why.
        reason: String,
    },
    /// A round is over.
    Round {
        /// From 1.
        round: usize,
        /// Of at most.
        of: usize,
        /// Candidates that are left somewhere.
        live: usize,
    },
    /// The baseline moved; the measurement between is thrown away.
    Drifted {
        /// Time after over time before.
        by: f64,
    },
    /// Whole runs are compared.
    Confirming {
        /// Pairs so far.
        pairs: usize,
    },
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Rows for a profile: winners, and defaults that others tied with (`tied_with` names them).
    pub choices: Vec<Choice>,
    /// How many of them change something.
    pub changes: usize,
    /// Whole runs with the rows against whole runs without.
    pub confirmation: Option<ab::Report>,
    /// The rows may be used: nothing changes, or whole runs are not slower by their interval.
    pub accepted: bool,
    /// It was stopped or out of time before the rounds were over.
    pub stopped: bool,
}

impl Found {
    /// A profile of the rows for this machine and the engine's model.
    pub fn profile(&self, engine: &Engine) -> Profile {
        let choices = if self.accepted { self.choices.clone() } else { Vec::new() };
        let mut p =
            Profile { machine: Some(machine()), model: Some(engine.model().id()), choices, ..Profile::default() };
        p.engine.deltascope = Some(env!("CARGO_PKG_VERSION").to_owned());
        p
    }
}

/// Searches the best variants of an op for the shapes that it has under the profiles in force, which are the baseline.
/// The engine's profiles and the slot's state are afterwards those from before. With a journal, what is in it is not
/// measured again.
///
/// # Errors
/// If the plan has no such op, or the baseline cannot run.
pub fn search(
    engine: &mut Engine,
    op: Op,
    workload: &Workload,
    options: &Options,
    journal: Option<&mut Journal>,
    limits: Limits<'_>,
    on_event: &mut dyn FnMut(Event),
) -> Result<Found, TuneError> {
    let stack = engine.stack().clone();
    let start = engine.checkpoint(workload.slot);
    let base = stack.clone();
    let result = Search::new(engine, op, workload, options, journal, limits, on_event, base).and_then(|mut s| {
        s.check()?;
        let stopped = s.race()?;
        s.finish(stopped)
    });
    engine.restore(&start);
    if *engine.stack() != stack {
        engine.set_stack(stack);
    }
    result
}

struct Search<'a> {
    engine: &'a mut Engine,
    op: Op,
    workload: &'a Workload,
    options: &'a Options,
    journal: Option<&'a mut Journal>,
    limits: Limits<'a>,
    on_event: &'a mut dyn FnMut(Event),
    base: Stack,
    cells: Vec<Cell>,
    candidates: Vec<Candidate>,
    /// By cell, then by candidate.
    series: Vec<Vec<Series>>,
    wall_us: f64,
    /// What every key has in common.
    key: Key,
}

/// Times of a turn: by cell, the samples of a node.
type Turn = Vec<Vec<f64>>;

impl<'a> Search<'a> {
    #[allow(clippy::too_many_arguments)]
    fn new(
        engine: &'a mut Engine,
        op: Op,
        workload: &'a Workload,
        options: &'a Options,
        journal: Option<&'a mut Journal>,
        limits: Limits<'a>,
        on_event: &'a mut dyn FnMut(Event),
        base: Stack,
    ) -> Result<Search<'a>, TuneError> {
        let batch = workload.batch(0)?;
        let start = engine.checkpoint(workload.slot);
        let record = run(engine, batch)?.0;
        engine.restore(&start);
        let cells = space::cells(&record.info, op, batch.tokens.len());
        if cells.is_empty() {
            return Err(TuneError::NoNodes { op, phase: workload.phase });
        }
        let candidates = space::candidates(op, &options.threads, options.with_reference);
        let m = machine();
        let key = Key {
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            machine: format!("{} {} {}", m.cpu.unwrap_or_default(), m.isa.join(","), m.cores.unwrap_or(0)),
            model: engine.model().id().fingerprint.unwrap_or_default(),
            threads: record.info.threads,
            context: (engine.position(workload.slot) + batch.tokens.len()).next_multiple_of(256),
            phase: workload.phase.to_string(),
            op: op.name().to_owned(),
            shape: cells[0].shape.clone(),
            baseline: String::new(),
            variant: String::new(),
            revision: 0,
            tunables: std::collections::BTreeMap::new(),
        };
        let mut series = vec![vec![Series::default(); candidates.len()]; cells.len()];
        for (cell, series) in cells.iter().zip(&mut series) {
            for (c, s) in candidates.iter().zip(series) {
                let insts = cell.nodes.iter().map(|&n| &record.info.nodes[n].inst);
                if *c == cell.baseline {
                    s.out = Some("is the baseline".to_owned());
                } else if let Some(Err(e)) = insts.map(|i| c.variant.supports(i)).find(Result::is_err) {
                    s.out = Some(e.0);
                }
            }
        }
        on_event(Event::Started { shapes: cells.len(), candidates: candidates.len() });
        let wall_us = record.wall_us;
        Ok(Search {
            engine,
            op,
            workload,
            options,
            journal,
            limits,
            on_event,
            base,
            cells,
            candidates,
            series,
            wall_us,
            key,
        })
    }

    fn phase(&self) -> Phase {
        self.workload.phase
    }

    fn key(&self, cell: usize, candidate: usize) -> Key {
        let (cell, c) = (&self.cells[cell], &self.candidates[candidate]);
        let spec = c.variant.spec();
        Key {
            shape: cell.shape.clone(),
            baseline: cell.baseline.to_string(),
            variant: spec.name.to_owned(),
            revision: spec.revision,
            tunables: c.tunables.clone(),
            ..self.key.clone()
        }
    }

    fn note(&mut self, cell: usize, candidate: usize, entry: Entry) -> Result<(), TuneError> {
        let key = self.key(cell, candidate);
        self.journal.as_mut().map_or(Ok(()), |j| j.append(&key, entry))
    }

    fn refuse(&mut self, cell: usize, candidate: usize, reason: String) -> Result<(), TuneError> {
        self.series[cell][candidate].out = Some(reason.clone());
        (self.on_event)(Event::Refused { candidate: self.candidates[candidate].clone(), reason: reason.clone() });
        self.note(cell, candidate, Entry::Refused { reason })
    }

    /// Takes up what the journal knows; what it does not know passes the gate or is refused.
    fn check(&mut self) -> Result<(), TuneError> {
        for cell in 0..self.cells.len() {
            let mut unknown = Vec::new();
            for c in 0..self.candidates.len() {
                if !self.series[cell][c].live() {
                    continue;
                }
                let key = self.key(cell, c);
                let series = &mut self.series[cell][c];
                let mut known = false;
                for entry in self.journal.iter().flat_map(|j| j.history(&key)) {
                    known = true;
                    match entry {
                        Entry::Measured { samples_us, ratio } => {
                            series.samples_us.extend(samples_us);
                            series.ratios.push(*ratio);
                        }
                        Entry::Refused { reason } | Entry::Dropped { reason } => series.out = Some(reason.clone()),
                        Entry::Decided { .. } => {}
                    }
                }
                if !known {
                    unknown.push(c);
                }
            }
            self.gate(cell, &unknown)?;
        }
        Ok(())
    }

    fn gate(&mut self, cell: usize, candidates: &[usize]) -> Result<(), TuneError> {
        if candidates.is_empty() || self.limits.reached() {
            // What was not checked is not measured.
            candidates.iter().for_each(|&c| self.series[cell][c].out = Some("not checked".to_owned()));
            return Ok(());
        }
        let batch = self.workload.batch(0)?;
        let info = self.info(batch)?;
        for node in gate::representatives(&info.info, &self.cells[cell].nodes) {
            let gate = Gate::at(self.engine, batch, &info.info.nodes[node].name, self.phase())?;
            for &c in candidates {
                if !self.series[cell][c].live() {
                    continue;
                }
                if self.limits.reached() {
                    self.series[cell][c].out = Some("not checked".to_owned());
                    continue;
                }
                let candidate = self.candidates[c].clone();
                let stack = space::stack_with(&self.base, self.op, self.phase(), &candidate, [&self.cells[cell]]);
                let mut result =
                    gate.check(self.engine, candidate.variant, &candidate.kernel_tunables(), &stack).map(drop);
                if result.is_ok() && self.options.suite {
                    result = gate::suite(candidate.variant);
                }
                if let Err(e) = result {
                    self.refuse(cell, c, e.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// A run under the baseline, for its plan.
    fn info(&mut self, batch: deltascope_model::Batch<'_>) -> Result<RunRecord, TuneError> {
        let start = self.engine.checkpoint(batch.slot);
        let record = run(self.engine, batch);
        self.engine.restore(&start);
        Ok(record?.0)
    }

    /// Rounds until they are over, nobody is left, or it is time to stop (then `true`).
    fn race(&mut self) -> Result<bool, TuneError> {
        let mut anchor = Anchor::new(self.options.drift);
        for round in 1..=self.options.rounds {
            for i in 0..self.candidates.len() {
                // Forth and back, so that nobody is always measured after the same one.
                let c = if round % 2 == 0 { self.candidates.len() - 1 - i } else { i };
                if self.limits.reached() {
                    return Ok(true);
                }
                self.turn(c, round, &mut anchor)?;
            }
            let mut dropped = Vec::new();
            for (cell, series) in self.series.iter_mut().enumerate() {
                dropped.extend(race::eliminate(series).into_iter().map(|c| (cell, c)));
            }
            for (cell, c) in dropped {
                let reason = self.series[cell][c].out.clone().unwrap_or_default();
                (self.on_event)(Event::Dropped { candidate: self.candidates[c].clone(), reason: reason.clone() });
                self.note(cell, c, Entry::Dropped { reason })?;
            }
            let live = (0..self.candidates.len()).filter(|&c| self.series.iter().any(|s| s[c].live())).count();
            (self.on_event)(Event::Round { round, of: self.options.rounds, live });
            if live == 0 {
                break;
            }
        }
        Ok(false)
    }

    /// One candidate between two turns of the baseline, on the cells where it still needs this round.
    fn turn(&mut self, c: usize, round: usize, anchor: &mut Anchor) -> Result<(), TuneError> {
        let needs = |s: &Series| s.live() && s.ratios.len() < round;
        let on: Vec<usize> = (0..self.cells.len()).filter(|&x| needs(&self.series[x][c])).collect();
        if on.is_empty() {
            return Ok(());
        }
        let candidate = self.candidates[c].clone();
        let stack =
            space::stack_with(&self.base, self.op, self.phase(), &candidate, on.iter().map(|&x| &self.cells[x]));
        let (before, wall_before) = self.measure(&self.base.clone(), None)?;
        let measured = self.measure(&stack, Some((&candidate, &on)));
        let (after, wall_after) = self.measure(&self.base.clone(), None)?;
        let turn = match measured {
            Ok((turn, _)) => turn,
            // It has no plan or too little memory; the baseline ran, so the candidate is at fault.
            Err(e) => return on.into_iter().try_for_each(|x| self.refuse(x, c, e.to_string())),
        };
        if anchor.moved(wall_before, wall_after) {
            (self.on_event)(Event::Drifted { by: wall_after / wall_before });
            return Ok(());
        }
        for x in on {
            let around = before[x].iter().chain(&after[x]).copied().collect::<Vec<_>>();
            let ratio = median(&turn[x]).zip(median(&around)).map(|(t, b)| t / b);
            match ratio.filter(|r| r.is_finite() && *r > 0.0) {
                Some(ratio) => {
                    let samples_us = turn[x].clone();
                    self.series[x][c].samples_us.extend(&samples_us);
                    self.series[x][c].ratios.push(ratio);
                    self.note(x, c, Entry::Measured { samples_us, ratio })?;
                }
                None => self.refuse(x, c, "the plan serves the node by another variant".to_owned())?,
            }
        }
        Ok(())
    }

    /// Runs a stack: one warm-up, then samples. Times of a cell are empty where the candidate does not serve it. Also
    /// the median run.
    fn measure(&mut self, stack: &Stack, of: Option<(&Candidate, &[usize])>) -> Result<(Turn, f64), TuneError> {
        if self.engine.stack() != stack {
            self.engine.set_stack(stack.clone());
        }
        let mut turn: Turn = vec![Vec::new(); self.cells.len()];
        let mut walls = Vec::new();
        for i in 0..=self.options.samples.max(1) {
            let batch = self.workload.batch(i.saturating_sub(1))?;
            let start = self.engine.checkpoint(batch.slot);
            let result = run(self.engine, batch);
            self.engine.restore(&start);
            let record = result?.0;
            if i == 0 {
                continue;
            }
            walls.push(record.wall_us);
            for (x, cell) in self.cells.iter().enumerate() {
                let found = cell.find(self.op, &record.info);
                let served =
                    of.is_none_or(|(c, on)| !on.contains(&x) || found.iter().all(|&n| c.serves(&record.info, n)));
                turn[x].extend(cell.node_us(&record, &found).filter(|_| served));
            }
        }
        Ok((turn, median(&walls).unwrap_or(f64::NAN)))
    }

    fn finish(mut self, stopped: bool) -> Result<Found, TuneError> {
        let mut found = Found { choices: Vec::new(), changes: 0, confirmation: None, accepted: true, stopped };
        let mut winners = Vec::new();
        for x in 0..self.cells.len() {
            let outcome = race::decide(&self.series[x], self.options.noise);
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
        debug_assert!(Verdict::of(&ratio, self.options.noise).is_faster());
        let saved = us.median / ratio.median - us.median;
        let run_us = (self.wall_us - saved * cell.nodes.len() as f64).max(us.median);
        let mut choice = c.choice(cell.rule(self.op, self.phase()));
        choice.measured = Some(Measured {
            median_us: us.median,
            ci95_us: [us.lo, us.hi],
            samples: us.n as u32,
            share: Some((us.median * cell.nodes.len() as f64 / run_us).min(1.0)),
            baseline: Some(cell.baseline.variant.spec().name.to_owned()),
            speedup: Some(1.0 / ratio.median),
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

#[cfg(test)]
mod tests;
