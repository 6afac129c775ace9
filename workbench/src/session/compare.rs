//! Two choices measured in turn in the running model: what drifts, drifts for both.

use super::change::{choice, describe, resolve};
use super::command::{Candidate, Scope};
use super::generator::GenerateError;
use super::interval::{bootstrap, median, relative_change};
use super::snapshot::Comparison;
use super::worker::Worker;
use deltascope_model::profiling::RunRecord;
use deltascope_profiles::{Phase, Stack};
use std::sync::Arc;

/// A comparison under way.
pub(super) struct Turns {
    a: Side,
    b: Side,
    report: Comparison,
    /// Pairs that build plans and touch memory for the first time.
    warm_up: usize,
}

struct Side {
    stack: Stack,
    op_us: Vec<f64>,
    run_us: Vec<f64>,
}

const PAIRS_DECODE: usize = 60;
const PAIRS_PREFILL: usize = 10;

impl Worker {
    pub(super) fn begin_turns(&mut self, scope: Scope, candidate: Option<Candidate>) {
        self.finish_turns();
        self.end_survey();
        match self.prepare_turns(scope, candidate) {
            Ok(turns) => {
                self.now.comparison = Some(Arc::new(turns.report.clone()));
                self.turns = Some(turns);
            }
            Err(e) => self.error(e),
        }
    }

    fn prepare_turns(&mut self, scope: Scope, candidate: Option<Candidate>) -> Result<Turns, String> {
        let info = self.plan_info().map_err(|e| e.to_string())?;
        let node = info.nodes.iter().find(|n| scope.holds(n));
        let in_force = describe(node.ok_or_else(|| format!("the plan has no {} now", scope.row().1))?);
        let (stack, scope, a, b) = match candidate {
            Some(candidate) => {
                let backend = scope.backend(&info);
                let (variant, _) = resolve(backend, &scope, &candidate)?;
                let choice = choice(backend, &scope, &candidate, variant)?;
                let text = choice.to_string();
                let mut stack = self.engine.stack().clone();
                let session = stack.session_mut();
                session.choices.retain(|c| c.rule != choice.rule);
                session.choices.push(choice);
                (stack, scope, in_force, text)
            }
            None => {
                let last = self.now.last_swap.as_ref().filter(|s| !s.undone && s.scope.phase == scope.phase);
                let (Some(last), Some(watched)) = (last, &self.watched) else {
                    return Err("nothing to compare with: choose a variant, or swap one first".into());
                };
                (watched.old_stack.clone(), last.scope.clone(), last.to.clone(), last.from.clone())
            }
        };
        let wanted = if scope.phase == Phase::Decode { PAIRS_DECODE } else { PAIRS_PREFILL };
        let side = |stack| Side { stack, op_us: Vec::new(), run_us: Vec::new() };
        let report = Comparison { scope, a, b, pairs: 0, wanted, time_a: None, time_b: None, op: None, run: None };
        Ok(Turns { a: side(self.engine.stack().clone()), b: side(stack), report, warm_up: 2 })
    }

    /// One pair, in an order that alternates.
    pub(super) fn turn(&mut self) -> Result<(), GenerateError> {
        let Some(mut turns) = self.turns.take() else { return Ok(()) };
        let a_first = turns.report.pairs.is_multiple_of(2);
        self.engine.record(true);
        let result = self.pair(&mut turns, a_first);
        self.engine.set_stack(turns.a.stack.clone());
        if result.is_err() {
            // What was in force goes on; the candidate is at fault.
            self.error(match result {
                Err(e) => format!("{} cannot run: {e}", turns.report.b),
                Ok(()) => String::new(),
            });
            self.now.comparison = None;
            return Ok(());
        }
        if turns.warm_up > 0 {
            turns.warm_up -= 1;
            for side in [&mut turns.a, &mut turns.b] {
                side.op_us.clear();
                side.run_us.clear();
            }
        }
        let report = &mut turns.report;
        report.pairs = turns.a.op_us.len();
        if report.pairs.is_multiple_of(5) || report.done() {
            report.time_a = bootstrap(&turns.a.op_us);
            report.time_b = bootstrap(&turns.b.op_us);
            report.op = paired(&turns.a.op_us, &turns.b.op_us);
            report.run = paired(&turns.a.run_us, &turns.b.run_us);
        }
        self.now.comparison = Some(Arc::new(report.clone()));
        if !turns.report.done() {
            self.turns = Some(turns);
        }
        Ok(())
    }

    fn pair(&mut self, turns: &mut Turns, a_first: bool) -> Result<(), GenerateError> {
        let (first, second) = if a_first { (&mut turns.a, &mut turns.b) } else { (&mut turns.b, &mut turns.a) };
        for side in [first, second] {
            self.engine.set_stack(side.stack.clone());
            if self.now.phase == Phase::Decode && self.generator.at_end(&self.engine) {
                self.engine.record(false);
                self.generator.start(&mut self.engine, None)?;
                self.engine.record(true);
            }
            self.run_phase()?;
            if let Some(record) = self.engine.take_record() {
                side.op_us.push(time_of(&record, &turns.report.scope));
                side.run_us.push(record.wall_us);
            }
        }
        Ok(())
    }

    /// Ends a comparison; what it found stays on screen.
    pub(super) fn finish_turns(&mut self) {
        if let Some(turns) = self.turns.take() {
            let report = Comparison { wanted: turns.report.pairs, ..turns.report };
            self.now.comparison = (report.pairs > 0).then(|| Arc::new(report));
        }
    }
}

/// Time of a scope's nodes in a run, µs; parts of a node that is in the scope itself count once.
fn time_of(record: &RunRecord, scope: &Scope) -> f64 {
    let mut end = 0;
    let mut sum = 0.0;
    for (i, node) in record.info.nodes.iter().enumerate().filter(|(_, n)| scope.holds(n)) {
        if node.steps.start >= end {
            let cost = record.node(i);
            sum += f64::from(cost.work + cost.wait);
            end = node.steps.end;
        }
    }
    sum
}

/// Relative change from A to B: of each pair, so that drift falls out; then the median and its interval.
fn paired(a: &[f64], b: &[f64]) -> Option<super::interval::Interval> {
    let ratios: Vec<f64> = a.iter().zip(b).filter(|(a, _)| **a > 0.0).map(|(a, b)| b / a - 1.0).collect();
    median(&ratios)?;
    if ratios.len() < 5 { relative_change(a, b) } else { bootstrap(&ratios) }
}
