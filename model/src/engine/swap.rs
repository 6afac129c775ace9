//! Checking a change of variants against what it replaces, on the inputs that the running model has.
//!
//! A node is run by the old plan with its inputs copied before it and its outputs after it; then the new variant runs
//! alone on the copies. The tuner's gate and the workbench's swap are this.

use super::{Batch, Engine, EngineError, Ready};
use crate::choice::ProfileChooser;
use crate::model::Model;
use crate::qwen3next::Logits;
use deltascope_kernels::Buffer;
use deltascope_kernels::check::{self, Difference, Outcome, Tensor};
use deltascope_kernels::graph::{StorageKind, ValueId};
use deltascope_kernels::{Backend, Instance, Tunables, Variant, ops};
use deltascope_profiles::{Phase, Stack};
use std::sync::Arc;

/// A node's live inputs and what the variant in force made of them.
pub struct Tap {
    /// The node.
    pub node: String,
    /// Shapes and constants.
    pub inst: Instance,
    /// Inputs before the node ran.
    pub inputs: Vec<Tensor>,
    /// Outputs and states after it.
    pub result: Outcome,
    /// Who computed it.
    pub variant: &'static dyn Variant,
    /// Where.
    pub backend: Backend,
}

/// What a check of a node found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The node.
    pub node: String,
    /// New against old on the same live inputs.
    pub against_old: Difference,
    /// New against the op's reference on the same inputs.
    pub against_reference: Difference,
    /// What the new variant promises against the reference.
    pub tolerance: f32,
}

impl Checked {
    /// Within the tolerance of the reference.
    pub fn passed(&self) -> bool {
        self.against_reference.relative <= f64::from(self.tolerance)
    }
}

impl Engine {
    /// Runs a batch and copies what goes into and comes out of some nodes on the way.
    ///
    /// # Errors
    /// As [`Engine::eval`], and if a node does not exist.
    pub fn eval_tapped(&mut self, batch: Batch<'_>, nodes: &[String]) -> Result<Vec<Tap>, EngineError> {
        let key = self.prepare(batch)?;
        let mut wanted: Vec<usize> = Vec::new();
        {
            let plan = &self.plans().get(key).plan;
            for name in nodes {
                let at = plan.nodes.iter().position(|n| n.name == *name && !n.steps.is_empty());
                wanted.push(at.ok_or_else(|| EngineError::Node(name.clone()))?);
            }
        }
        wanted.sort_by_key(|&i| self.plans().get(key).plan.nodes[i].steps.start);
        let mut taps = Vec::new();
        let mut at = 0;
        for i in wanted {
            let steps = self.plans().get(key).plan.nodes[i].steps.clone();
            if steps.start < at {
                continue;
            }
            self.run(key, Some(at..steps.start))?;
            let inputs = self.copy_inputs(key, i)?;
            self.run(key, Some(steps.clone()))?;
            at = steps.end;
            taps.push(self.copy_result(key, i, inputs)?);
        }
        let end = self.plans().get(key).plan.steps.len();
        self.run(key, Some(at..end))?;
        self.finish(batch);
        Ok(taps)
    }

    fn copy_inputs(&mut self, key: super::PlanKey, node: usize) -> Result<Vec<Tensor>, EngineError> {
        let model = Arc::clone(&self.model);
        let ready = self.plans().get(key);
        ready.plan.nodes[node].inputs.iter().map(|&v| copy(&model, ready, v)).collect()
    }

    fn copy_result(&mut self, key: super::PlanKey, node: usize, inputs: Vec<Tensor>) -> Result<Tap, EngineError> {
        let model = Arc::clone(&self.model);
        let ready = self.plans().get(key);
        let n = &ready.plan.nodes[node];
        let outputs = n.outputs.iter().map(|&v| copy(&model, ready, v)).collect::<Result<_, _>>()?;
        let states =
            ops::def(n.op()).updates().iter().filter_map(|&i| n.inputs.get(i)).map(|&v| copy(&model, ready, v));
        let result = Outcome { outputs, states: states.collect::<Result<_, _>>()?, micros: 0.0 };
        Ok(Tap { node: n.name.clone(), inst: n.inst.clone(), inputs, result, variant: n.variant, backend: n.backend })
    }

    /// Runs a variant alone on a tap's inputs, where the node ran, and compares it with the variant in force and with the reference. Parts of
    /// a lowering are chosen by the profiles of `stack`.
    ///
    /// # Errors
    /// If the variant does not serve the node.
    pub fn check_variant(
        &mut self,
        tap: &Tap,
        variant: &'static dyn Variant,
        tunables: &Tunables,
        stack: &Stack,
        phase: Phase,
    ) -> Result<Checked, EngineError> {
        let (backend, gpu) = (tap.backend, self.device().is_some());
        let below = ProfileChooser { stack, phase, tokens: 1, backend, gpu };
        let pool = self.pool();
        let new = check::run_on(backend, pool, variant, tunables, tap.inst.params, &tap.inputs, None, &below)?;
        let reference = check::run_reference(pool, tap.inst.op, tap.inst.params, &tap.inputs)?;
        Ok(Checked {
            node: tap.node.clone(),
            against_old: check::compare(&tap.result, &new),
            against_reference: check::compare(&reference, &new),
            tolerance: variant.tolerance(backend, &tap.inst),
        })
    }

    /// Logits of one token under the profiles in force and under others, from the same state, which is left as it was:
    /// Kullback-Leibler divergence of the second from the first, in nats, and both logits' argmax.
    ///
    /// # Errors
    /// As [`Engine::eval`].
    pub fn divergence(&mut self, slot: usize, token: u32, other: &Stack) -> Result<Divergence, EngineError> {
        let before = self.checkpoint(slot)?;
        let a = self.decode(slot, token)?.to_vec();
        self.restore(&before)?;
        let mine = self.set_stack(other.clone());
        let b = self.eval(Batch { tokens: &[token], slot, n_seqs: 1, logits: Logits::Last }).map(<[f32]>::to_vec);
        let restored = self.restore(&before);
        self.set_stack(mine);
        restored?;
        let b = b?;
        Ok(Divergence { kl: kl_divergence(&a, &b), same_argmax: argmax(&a) == argmax(&b) })
    }
}

/// How far two distributions over the vocabulary are apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// Kullback-Leibler divergence, nats.
    pub kl: f64,
    /// The likeliest token is the same.
    pub same_argmax: bool,
}

/// Σ p (ln p − ln q) over the softmax of two rows of logits, in nats.
pub fn kl_divergence(p: &[f32], q: &[f32]) -> f64 {
    let log_sum = |x: &[f32]| {
        let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        f64::from(top) + x.iter().map(|&v| f64::from(v - top).exp()).sum::<f64>().ln()
    };
    let (zp, zq) = (log_sum(p), log_sum(q));
    let kl: f64 = p
        .iter()
        .zip(q)
        .map(|(&a, &b)| {
            let (lp, lq) = (f64::from(a) - zp, f64::from(b) - zq);
            lp.exp() * (lp - lq)
        })
        .sum();
    kl.max(0.0)
}

fn argmax(x: &[f32]) -> Option<usize> {
    (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b]))
}

/// A value's bytes as a tensor of its own, with the view's strides. Weights come from the file: where a plan runs they may
/// lie in another form alone.
fn copy(model: &Model, ready: &Ready, v: ValueId) -> Result<Tensor, EngineError> {
    let graph = &ready.plan.graph;
    let (value, layout) = (graph.value(v), graph.layout(v));
    let in_file = match graph.storage(v).kind {
        StorageKind::Weight(id) => model.weight(id).and_then(|t| t.data().get(value.offset..)),
        _ => None,
    };
    let data = match in_file.and_then(|bytes| bytes.get(..layout.span())) {
        Some(bytes) => Buffer::from_bytes(bytes),
        None => Buffer::from_bytes(&ready.read(v)?),
    };
    Ok(Tensor { layout, data })
}

#[cfg(test)]
mod tests {
    use super::kl_divergence;

    #[test]
    fn kl_is_zero_for_equal_and_for_shifted_logits() {
        let p = [0.3, -1.0, 2.0];
        assert!(kl_divergence(&p, &p) < 1e-12);
        assert!(kl_divergence(&p, &p.map(|x| x + 5.0)) < 1e-7);
        let uniform = [0.0f32; 2];
        let sharp = [f32::ln(3.0), 0.0];
        let want = 0.5 * (0.5f64 / 0.75).ln() + 0.5 * (0.5f64 / 0.25).ln();
        assert!((kl_divergence(&uniform, &sharp) - want).abs() < 1e-6);
    }
}
