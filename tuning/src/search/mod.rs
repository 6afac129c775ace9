//! The search for one op's best variant and tunables, measured in the running model.
//!
//! A run under a candidate times all shapes of the op at once, since every node is in the record. Rounds interleave the
//! candidates that are left with the baseline before and after them; a candidate's number is its time over the
//! baseline's around it. Who is clearly slower leaves (`race`). Every candidate first passes the [`gate`](crate::gate).
//! What won is confirmed by whole runs against the baseline before it is handed out as accepted.
//!
//! Tuning several ops of a model is a loop over [`search`] in the order of [`ops_by_time`], each with the winners of
//! those before it in force.

mod admit;
mod model;
mod outcome;
mod race;
mod report;
mod rounds;
mod space;

pub use model::ops_by_time;
pub use report::{Event, Fate, Found, Standing};
pub use space::Candidate;

use crate::TuneError;
use crate::ab;
use crate::journal::{Entry, Journal, Key};
use crate::machine::machine;
use crate::measure::{Limits, Workload, run};
use deltascope_kernels::{Backend, Op};
use deltascope_model::Engine;
use deltascope_profiles::{Phase, Stack};
use race::{Out, Series};
use space::Cell;
use std::collections::BTreeSet;
use std::time::Instant;

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
    let start = engine.checkpoint(workload.slot)?;
    let base = stack.clone();
    let result = Search::new(engine, op, workload, options, journal, limits, on_event, base).and_then(|mut s| {
        s.admit()?;
        let stopped = s.race()?;
        s.finish(stopped)
    });
    let restored = engine.restore(&start);
    if *engine.stack() != stack {
        engine.set_stack(stack);
    }
    restored?;
    result
}

struct Search<'a> {
    engine: &'a mut Engine,
    op: Op,
    workload: &'a Workload,
    options: &'a Options,
    journal: Option<&'a mut Journal>,
    limits: Limits<'a>,
    /// Of the race: it leaves time to confirm what won.
    race_limits: Limits<'a>,
    on_event: &'a mut dyn FnMut(Event),
    base: Stack,
    cells: Vec<Cell>,
    candidates: Vec<Candidate>,
    /// By cell, then by candidate.
    series: Vec<Vec<Series>>,
    /// The baseline's samples of a node's time, by cell.
    base_us: Vec<Vec<f64>>,
    wall_us: f64,
    /// What every key has in common.
    key: Key,
}

/// Share of the time until the deadline that the race may take.
const RACE_SHARE: f64 = 0.75;

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
        let start = engine.checkpoint(workload.slot)?;
        let record = run(engine, batch)?.0;
        engine.restore(&start)?;
        let cells = space::cells(&record.info, op, batch.tokens.len());
        if cells.is_empty() {
            return Err(TuneError::NoNodes { op, phase: workload.phase });
        }
        let backends: BTreeSet<Backend> = cells.iter().map(|c| c.backend).collect();
        let of_backend = |b: Backend| space::candidates(b, op, &options.threads, options.with_reference);
        let mut candidates: Vec<Candidate> = Vec::new();
        for c in backends.into_iter().flat_map(of_backend) {
            // Lowerings serve both.
            if !candidates.contains(&c) {
                candidates.push(c);
            }
        }
        let m = machine();
        let key = Key {
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            machine: match engine.device() {
                Some(gpu) => gpu.to_string(),
                None => format!("{} {} {}", m.cpu.unwrap_or_default(), m.isa.join(","), m.cores.unwrap_or(0)),
            },
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
                    s.out = Some(Out::Baseline);
                } else if !c.variant.serves(cell.backend) {
                    s.out = Some(Out::Refused(format!("not for {}", cell.backend)));
                } else if let Some(Err(e)) = insts.map(|i| c.variant.supports(i)).find(Result::is_err) {
                    s.out = Some(Out::Refused(e.0));
                }
            }
        }
        on_event(Event::Started { shapes: cells.len(), candidates: candidates.len() });
        let wall_us = record.wall_us;
        let now = Instant::now();
        let deadline = limits.deadline.map(|d| now + d.saturating_duration_since(now).mul_f64(RACE_SHARE));
        Ok(Search {
            engine,
            op,
            workload,
            options,
            journal,
            limits,
            race_limits: Limits { deadline, ..limits },
            on_event,
            base,
            base_us: vec![Vec::new(); cells.len()],
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
        self.series[cell][candidate].out = Some(Out::Refused(reason.clone()));
        (self.on_event)(Event::Refused { candidate: self.candidates[candidate].clone(), reason: reason.clone() });
        self.note(cell, candidate, Entry::Refused { reason })
    }
}

#[cfg(test)]
mod tests;
