//! Correctness before speed: a variant computes what the op's reference computes on the running model's own inputs, or
//! it is not measured.

use crate::TuneError;
use deltascope_kernels::check::{self, Outcome};
use deltascope_kernels::{Tunables, Variant};
use deltascope_model::choice::ProfileChooser;
use deltascope_model::engine::swap::{Checked, Tap};
use deltascope_model::profiling::PlanInfo;
use deltascope_model::{Batch, Engine, EngineError};
use deltascope_profiles::{Phase, Stack};

/// Why a variant does not pass.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// It does not serve the node.
    #[error("{0}")]
    Unsupported(String),
    /// It computes something else.
    #[error("{}: error {:.2e} is above the tolerance of {:.2e}", .0.node, .0.against_reference.relative, .0.tolerance)]
    Wrong(Checked),
    /// It fails its op's test suite.
    #[error("test suite: {0}")]
    Suite(String),
}

/// A node's live inputs with what the reference makes of them. Held for one node at a time: inputs hold its weights.
pub struct Gate {
    tap: Tap,
    reference: Outcome,
    phase: Phase,
    tokens: usize,
}

/// One node for each distinct instance among these, so that no two checks are the same.
pub fn representatives(info: &PlanInfo, nodes: &[usize]) -> Vec<usize> {
    let mut picked: Vec<usize> = Vec::new();
    for &i in nodes.iter().filter(|&&i| !info.nodes[i].steps.is_empty()) {
        if !picked.iter().any(|&p| info.nodes[p].inst == info.nodes[i].inst) {
            picked.push(i);
        }
    }
    picked
}

impl Gate {
    /// Runs the batch under the profiles in force up to its end, copying what goes into a node. The slot is left as it
    /// was.
    ///
    /// # Errors
    /// If the batch cannot run, or the plan lacks the node.
    pub fn at(engine: &mut Engine, batch: Batch<'_>, node: &str, phase: Phase) -> Result<Gate, TuneError> {
        let before = engine.checkpoint(batch.slot)?;
        let taps = engine.eval_tapped(batch, &[node.to_owned()]);
        engine.restore(&before)?;
        let tap = taps?.into_iter().next().ok_or_else(|| EngineError::Node(node.to_owned()))?;
        let reference = check::run_reference(engine.pool(), tap.inst.op, tap.inst.params, &tap.inputs)
            .map_err(EngineError::from)?;
        Ok(Gate { tap, reference, phase, tokens: batch.tokens.len() })
    }

    /// Runs a variant on the inputs, where the node runs; parts of a lowering are chosen by `stack`.
    ///
    /// # Errors
    /// If it does not serve the node or computes something else.
    pub fn check(
        &self,
        engine: &mut Engine,
        variant: &'static dyn Variant,
        tunables: &Tunables,
        stack: &Stack,
    ) -> Result<Checked, Refusal> {
        let (backend, gpu) = (self.tap.backend, engine.device().is_some());
        let below = ProfileChooser { stack, phase: self.phase, tokens: self.tokens, backend, gpu };
        let inst = &self.tap.inst;
        if variant.spec().op != inst.op {
            return Err(Refusal::Unsupported(format!("computes {}, not {}", variant.spec().op, inst.op)));
        }
        let (pool, inputs) = (engine.pool(), &self.tap.inputs);
        let new = check::run_on(backend, pool, variant, tunables, inst.params, inputs, None, &below)
            .map_err(|e| Refusal::Unsupported(e.to_string()))?;
        self.judge(&new, variant.tolerance(backend, inst))
    }

    /// Compares a result with the reference's.
    fn judge(&self, new: &Outcome, tolerance: f32) -> Result<Checked, Refusal> {
        let checked = Checked {
            node: self.tap.node.clone(),
            against_old: check::compare(&self.tap.result, new),
            against_reference: check::compare(&self.reference, new),
            tolerance,
        };
        if checked.passed() { Ok(checked) } else { Err(Refusal::Wrong(checked)) }
    }
}

/// The op's whole test suite over a variant, on one worker and on two. Takes a while.
///
/// # Errors
/// The first failure.
pub fn suite(variant: &'static dyn Variant) -> Result<(), Refusal> {
    let report = check::suite(variant, &[1, 2], 1);
    match report.failures.first() {
        Some(f) => Err(Refusal::Suite(format!("{}: {}", f.what, f.why))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
