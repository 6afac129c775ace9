//! Runs of the running model, timed: what to run, and reading nodes' times from a record.

use crate::TuneError;
use deltascope_model::profiling::{PlanInfo, RunRecord};
use deltascope_model::qwen3next::Logits;
use deltascope_model::{Batch, Engine};
use deltascope_profiles::{Origin, Phase, Profile, Stack};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What is run again and again on a slot, always from the state that the slot is in: put real text there first.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Decode runs one token at a time, prefill all of them as one ubatch.
    pub phase: Phase,
    /// The sequence.
    pub slot: usize,
    /// Decode takes them in turn, so that experts and caches are not those of a single token.
    pub tokens: Vec<u32>,
}

impl Workload {
    /// The batch of turn `i`.
    ///
    /// # Errors
    /// If there are no tokens.
    pub fn batch(&self, i: usize) -> Result<Batch<'_>, TuneError> {
        if self.tokens.is_empty() {
            return Err(TuneError::NoTokens);
        }
        let tokens = match self.phase {
            Phase::Prefill => &self.tokens[..],
            Phase::Decode => std::slice::from_ref(&self.tokens[i % self.tokens.len()]),
        };
        Ok(Batch { tokens, slot: self.slot, n_seqs: 1, logits: Logits::Last })
    }
}

/// When to stop.
#[derive(Clone, Copy, Default)]
pub struct Limits<'a> {
    /// Set from another thread; looked at between runs.
    pub cancel: Option<&'a AtomicBool>,
    /// No run begins after it.
    pub deadline: Option<Instant>,
}

impl Limits<'_> {
    /// Whether to stop now.
    pub fn reached(&self) -> bool {
        self.cancelled() || self.deadline.is_some_and(|d| Instant::now() >= d)
    }

    /// Whether somebody asked to stop.
    pub fn cancelled(&self) -> bool {
        self.cancel.is_some_and(|c| c.load(Ordering::Relaxed))
    }
}

/// Runs a batch under the profiles in force: its record and logits. Recording stays on.
///
/// # Errors
/// As [`Engine::eval`].
pub(crate) fn run(engine: &mut Engine, batch: Batch<'_>) -> Result<(RunRecord, Vec<f32>), TuneError> {
    engine.record(true);
    let logits = engine.eval(batch)?.to_vec();
    Ok((engine.take_record().ok_or(TuneError::NoRecord)?, logits))
}

/// Work and wait of some nodes in a run, microseconds.
pub(crate) fn nodes_us(record: &RunRecord, nodes: &[usize]) -> f64 {
    nodes.iter().map(|&i| record.node(i)).map(|c| f64::from(c.work + c.wait)).sum()
}

/// Nodes that two plans serve differently, as pairs of indices: those of the model's graph, or the parts of a lowering
/// that both have. What lies inside of a node in the list is not listed again.
pub(crate) fn changed_nodes(a: &PlanInfo, b: &PlanInfo) -> Vec<(usize, usize)> {
    let mut by_name = std::collections::HashMap::new();
    for (j, n) in b.nodes.iter().enumerate().filter(|(_, n)| !n.conversion) {
        by_name.entry((n.name.as_str(), n.op)).or_insert(j);
    }
    let mut inside = vec![false; a.nodes.len()];
    let mut pairs = Vec::new();
    for (i, n) in a.nodes.iter().enumerate() {
        // Parents come before their parts.
        inside[i] = n.parent.is_some_and(|p| inside[p]);
        if inside[i] || n.conversion {
            continue;
        }
        let Some(&j) = by_name.get(&(n.name.as_str(), n.op)) else { continue };
        let other = &b.nodes[j];
        if !std::ptr::addr_eq(n.variant, other.variant) || n.tunables != other.tunables {
            inside[i] = true;
            pairs.push((i, j));
        }
    }
    pairs
}

/// The profiles with one laid over all of them.
pub fn over(stack: &Stack, profile: Profile) -> Stack {
    let mut stack = stack.clone();
    stack.push(Origin::Session, profile);
    stack
}
