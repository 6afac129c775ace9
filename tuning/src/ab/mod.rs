//! Two stacks of profiles in the running model, measured in turn.
//!
//! A pair runs the same batch from the same state under A and under B. The order changes from pair to pair (A B, B A,
//! A B …), so that whoever runs second gains nothing by it. What drifts, drifts for both.
//!
//! Comparing stops when the interval is narrow, never because it just came to exclude 1: looking again and again until
//! a difference shows would find one where none is.

mod report;

pub use report::{Compared, Divergence, Report};

use crate::TuneError;
use crate::measure::{Limits, Workload, changed_nodes, nodes_us, run};
use crate::stats::{Interval, paired_ratio};
use deltascope_kernels::Op;
use deltascope_model::engine::swap::kl_divergence;
use deltascope_model::profiling::{PlanInfo, RunRecord};
use deltascope_model::{Batch, Engine};
use deltascope_profiles::Stack;
use std::sync::Arc;

/// How long to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// At least so many pairs.
    pub min_pairs: usize,
    /// At most so many.
    pub max_pairs: usize,
    /// Enough when half of the interval of the ratio is no wider than this share of it, for the run and for the
    /// changed nodes.
    pub narrow: f64,
    /// Smaller differences than this share are ties, whatever the interval says.
    pub noise: f64,
    /// Pairs that are run and not counted: plans are built, memory is touched for the first time.
    pub warm_up: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { min_pairs: 12, max_pairs: 60, narrow: 0.01, noise: 0.01, warm_up: 2 }
    }
}

/// A comparison under way.
pub struct Ab {
    options: Options,
    a: Side,
    b: Side,
    /// The profiles that were in force before the first pair.
    before: Option<Stack>,
    changed: Vec<(usize, usize)>,
    kl: Vec<f64>,
    same_argmax: usize,
    /// Pairs run, counted or not.
    run: usize,
    /// Pairs still to be run without counting.
    uncounted: usize,
}

struct Side {
    stack: Stack,
    info: Option<Arc<PlanInfo>>,
    run_us: Vec<f64>,
    nodes_us: Vec<f64>,
}

/// What a step leaves for whoever generates text.
#[derive(Debug)]
pub struct Step {
    /// Logits of the side that ran last, whose state the slot is in.
    pub logits: Vec<f32>,
    /// The pair was counted: it was no warm-up.
    pub counted: bool,
    /// Narrow enough, or enough pairs.
    pub done: bool,
}

impl Ab {
    /// A comparison of two stacks. Nothing runs yet.
    pub fn new(a: Stack, b: Stack, options: Options) -> Ab {
        let side = |stack| Side { stack, info: None, run_us: Vec::new(), nodes_us: Vec::new() };
        let uncounted = options.warm_up.max(1);
        Ab {
            options,
            a: side(a),
            b: side(b),
            before: None,
            changed: Vec::new(),
            kl: Vec::new(),
            same_argmax: 0,
            run: 0,
            uncounted,
        }
    }

    /// One pair. The slot is then one batch further, as after a single [`Engine::eval`]. Between steps the profiles of
    /// the side that ran last may be in force; [`Self::end`] brings back those from before. Recording stays on.
    ///
    /// # Errors
    /// If a side cannot run the batch. The slot is then where it was, under the profiles from before.
    pub fn step(&mut self, engine: &mut Engine, batch: Batch<'_>) -> Result<Step, TuneError> {
        if self.before.is_none() {
            self.before = Some(engine.stack().clone());
        }
        let start = engine.checkpoint(batch.slot)?;
        let result = self.pair(engine, batch);
        match &result {
            Ok(_) => {
                // Where the user's own profiles are one of the two, going back costs nothing: their plans are kept.
                if self.before.as_ref().is_some_and(|s| *s == self.a.stack || *s == self.b.stack) {
                    self.bring_back(engine);
                }
            }
            Err(_) => {
                // The pair's own error says more than one of going back.
                let _ = engine.restore(&start);
                self.end(engine);
            }
        }
        result
    }

    fn pair(&mut self, engine: &mut Engine, batch: Batch<'_>) -> Result<Step, TuneError> {
        let start = engine.checkpoint(batch.slot)?;
        let a_first = self.run.is_multiple_of(2);
        self.run += 1;
        let mut turn = |side: &Side| {
            if *engine.stack() != side.stack {
                engine.set_stack(side.stack.clone());
            }
            engine.restore(&start)?;
            run(engine, batch)
        };
        let (a, b) = if a_first {
            let a = turn(&self.a)?;
            (a, turn(&self.b)?)
        } else {
            let b = turn(&self.b)?;
            (turn(&self.a)?, b)
        };
        let counted = self.count(&a, &b);
        let logits = if a_first { b.1 } else { a.1 };
        Ok(Step { logits, counted, done: self.done() })
    }

    fn count(&mut self, a: &(RunRecord, Vec<f32>), b: &(RunRecord, Vec<f32>)) -> bool {
        let same = |side: &Side, r: &RunRecord| side.info.as_ref().is_some_and(|i| Arc::ptr_eq(i, &r.info));
        let known = same(&self.a, &a.0) && same(&self.b, &b.0);
        if !known {
            // A new plan (the first, or a longer KV cache) touches memory that the last one did not.
            self.changed = changed_nodes(&a.0.info, &b.0.info);
            self.a.info = Some(Arc::clone(&a.0.info));
            self.b.info = Some(Arc::clone(&b.0.info));
        }
        self.uncounted = self.uncounted.saturating_sub(1);
        if !known || self.uncounted > 0 {
            return false;
        }
        let (of_a, of_b): (Vec<usize>, Vec<usize>) = self.changed.iter().copied().unzip();
        self.a.push(&a.0, &of_a);
        self.b.push(&b.0, &of_b);
        self.kl.push(kl_divergence(&a.1, &b.1));
        self.same_argmax += usize::from(argmax(&a.1) == argmax(&b.1));
        true
    }

    /// Brings back the profiles that were in force before the first pair. Needed after the last step, however it came.
    pub fn end(&mut self, engine: &mut Engine) {
        self.bring_back(engine);
        self.before = None;
    }

    fn bring_back(&self, engine: &mut Engine) {
        if let Some(stack) = self.before.as_ref().filter(|s| *s != engine.stack()) {
            engine.set_stack(stack.clone());
        }
    }

    /// Pairs counted so far.
    pub fn pairs(&self) -> usize {
        self.a.run_us.len()
    }

    /// Whether more pairs would tell no more.
    pub fn done(&self) -> bool {
        let pairs = self.pairs();
        let narrow = |ratio: Option<Interval>| ratio.is_none_or(|r| r.relative_half_width() <= self.options.narrow);
        pairs >= self.options.max_pairs
            || (pairs >= self.options.min_pairs
                && narrow(self.run_ratio())
                && (self.changed.is_empty() || narrow(self.nodes_ratio())))
    }

    fn run_ratio(&self) -> Option<Interval> {
        ratio(&self.a.run_us, &self.b.run_us)
    }

    fn nodes_ratio(&self) -> Option<Interval> {
        ratio(&self.a.nodes_us, &self.b.nodes_us)
    }

    /// What is known so far; `None` before the first pair that counts.
    pub fn report(&self) -> Option<Report> {
        let noise = self.options.noise;
        let changed = if self.changed.is_empty() {
            None
        } else {
            Compared::of(&self.a.nodes_us, &self.b.nodes_us, self.nodes_ratio(), noise)
        };
        let mut ops: Vec<Op> =
            self.a.info.iter().flat_map(|info| self.changed.iter().map(|&(i, _)| info.nodes[i].op)).collect();
        ops.sort_unstable();
        ops.dedup();
        Some(Report {
            run: Compared::of(&self.a.run_us, &self.b.run_us, self.run_ratio(), noise)?,
            changed,
            nodes: self.changed.len(),
            ops,
            divergence: Divergence::of(&self.kl, self.same_argmax)?,
        })
    }

    /// Compares on a workload until done, stopped or out of time. The engine's profiles and the slot's state are then
    /// those from before. `None` if it was stopped before a pair counted.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn run(
        mut self,
        engine: &mut Engine,
        workload: &Workload,
        limits: Limits<'_>,
        mut progress: impl FnMut(&Ab),
    ) -> Result<Option<Report>, TuneError> {
        let start = engine.checkpoint(workload.slot)?;
        let mut result = Ok(());
        while result.is_ok() && !self.done() && !limits.reached() {
            result = workload.batch(self.run).and_then(|batch| self.step(engine, batch).map(drop));
            engine.restore(&start)?;
            progress(&self);
        }
        self.end(engine);
        result.map(|()| self.report())
    }
}

impl Side {
    fn push(&mut self, r: &RunRecord, nodes: &[usize]) {
        self.run_us.push(r.wall_us);
        self.nodes_us.push(nodes_us(r, nodes));
    }
}

fn ratio(a: &[f64], b: &[f64]) -> Option<Interval> {
    paired_ratio(a.iter().copied().zip(b.iter().copied()))
}

fn argmax(x: &[f32]) -> Option<usize> {
    (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b]))
}

#[cfg(test)]
mod tests;
