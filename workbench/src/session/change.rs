//! Changing what computes an op: applied between two tokens, checked on live inputs, watched, and taken back.

use super::command::{Candidate, Scope};
use super::generator::SLOT;
use super::interval::{bootstrap, relative_change};
use super::snapshot::{CheckReport, Job, SwapReport};
use super::worker::{PREFILL_SLOT, Worker, prefill_batch};
use deltascope_kernels::{Backend, Tunables, Variant, ops};
use deltascope_model::engine::swap::{Checked, Tap};
use deltascope_model::profiling::{NodeInfo, PlanInfo};
use deltascope_model::{Batch, EngineError};
use deltascope_profiles::{Choice, Measured, Phase, Profile, Stack};
use std::sync::Arc;

/// What a change was before.
pub(super) struct Undo {
    /// For the user.
    pub what: String,
    /// The session's layer before the change.
    session: Profile,
    /// Workers in decode and prefill.
    threads: (usize, usize),
}

/// A swap whose time and output are still being compared with what it replaced.
pub(super) struct Watched {
    /// What was in force.
    pub old_stack: Stack,
    /// Times before, µs.
    old_samples: Vec<f64>,
    /// Tokens whose distributions are still to be compared.
    tokens_left: usize,
}

/// Tokens over which outputs are compared after a swap.
const TOKENS_COMPARED: usize = 8;
/// Samples after which a swap's times are final.
const SETTLED_DECODE: usize = 64;
const SETTLED_PREFILL: usize = 8;
/// Nodes that are checked at most: one for each distinct shape.
const CHECKED: usize = 6;

impl Worker {
    pub(super) fn swap(&mut self, scope: &Scope, candidate: &Candidate) {
        if let Err(e) = self.try_swap(scope, candidate) {
            self.error(e);
        }
    }

    fn try_swap(&mut self, scope: &Scope, candidate: &Candidate) -> Result<(), String> {
        self.finish_turns();
        let info = self.plan_info().map_err(|e| e.to_string())?;
        let backend = scope.backend(&info);
        let (variant, tunables) = resolve(backend, scope, candidate)?;
        let choice = choice(backend, scope, candidate, variant)?;
        let nodes: Vec<&NodeInfo> = info.nodes.iter().filter(|n| scope.holds(n)).collect();
        let Some(first) = nodes.first() else { return Err(format!("the plan has no {} now", scope.row().1)) };
        let refusals: Vec<String> = nodes.iter().filter_map(|n| variant.supports(&n.inst).err().map(|r| r.0)).collect();
        if refusals.len() == nodes.len() {
            return Err(format!("{}: {}", candidate.variant, refusals[0]));
        }
        let from = describe(first);
        let (group, label) = scope.row();
        let old_samples = self.lane().samples(group, &label);
        let old_stack = self.engine.stack().clone();
        let check = self.check(scope, &info, variant, &tunables).map_err(|e| e.to_string());
        if let Ok(report) = &check {
            self.remember_check(backend, &label, &candidate.variant, report);
        }
        let to = choice.to_string();
        self.remember(format!("{label}: {from} → {to}"));
        let session = self.engine.stack_mut().session_mut();
        session.choices.retain(|c| c.rule != choice.rule);
        session.choices.push(choice);
        let report = SwapReport {
            scope: scope.clone(),
            from,
            to,
            old: bootstrap(&old_samples),
            new: None,
            change: None,
            check,
            divergence: None,
            undone: false,
        };
        self.now.last_swap = Some(Arc::new(report));
        self.watched = Some(Watched { old_stack, old_samples, tokens_left: TOKENS_COMPARED });
        self.untried = true;
        self.plans_changed();
        Ok(())
    }

    /// Puts the state before the next change on the undo stack.
    pub(super) fn remember(&mut self, what: String) {
        let session = self.engine.stack_mut().session_mut().clone();
        let threads = (self.engine.options().threads_decode, self.engine.options().threads_prefill);
        self.undo.push(Undo { what, session, threads });
    }

    pub(super) fn take_back(&mut self) {
        self.finish_turns();
        let Some(undo) = self.undo.pop() else { return self.tell("nothing to undo".into()) };
        *self.engine.stack_mut().session_mut() = undo.session;
        let options = self.engine.options();
        if (options.threads_decode, options.threads_prefill) != undo.threads {
            self.engine.set_threads(undo.threads.0, undo.threads.1);
        }
        self.tell(format!("undone: {}", undo.what));
        self.watched = None;
        if let Some(report) = &mut self.now.last_swap {
            Arc::make_mut(report).undone = true;
        }
        self.plans_changed();
    }

    pub(super) fn set_threads(&mut self, n: usize) {
        if self.engine.device().is_some() {
            return self.tell("the model runs on the GPU: there are no threads to set".into());
        }
        let n = n.clamp(1, 256);
        let phase = self.now.phase;
        let (mut decode, mut prefill) = (self.engine.options().threads_decode, self.engine.options().threads_prefill);
        let was = if phase == Phase::Decode { decode } else { prefill };
        if was == n {
            return;
        }
        self.finish_turns();
        self.remember(format!("{phase} threads {was} → {n}"));
        let threads = &mut self.engine.stack_mut().session_mut().engine.threads;
        match phase {
            Phase::Decode => (threads.decode, decode) = (Some(n as u32), n),
            Phase::Prefill => (threads.prefill, prefill) = (Some(n as u32), n),
        }
        self.engine.set_threads(decode, prefill);
        self.watched = None;
        self.plans_changed();
    }

    pub(super) fn plans_changed(&mut self) {
        self.decode.changed();
        self.prefill.changed();
        self.profile_changed();
    }

    /// Runs a variant on the live inputs of one node for each distinct shape that it serves.
    fn check(
        &mut self,
        scope: &Scope,
        info: &PlanInfo,
        variant: &'static dyn Variant,
        tunables: &Tunables,
    ) -> Result<CheckReport, EngineError> {
        let taps = self.tap(scope, info)?;
        self.check_taps(&taps, variant, tunables)
    }

    fn check_taps(
        &mut self,
        taps: &[Tap],
        variant: &'static dyn Variant,
        tunables: &Tunables,
    ) -> Result<CheckReport, EngineError> {
        let stack = self.engine.stack().clone();
        let mut all: Vec<Checked> = Vec::new();
        for tap in taps.iter().filter(|t| variant.supports(&t.inst).is_ok()) {
            all.push(self.engine.check_variant(tap, variant, tunables, &stack, self.now.phase)?);
        }
        let worst = |f: &dyn Fn(&Checked) -> f64| all.iter().map(f).fold(0.0, f64::max);
        Ok(CheckReport {
            nodes: all.len(),
            against_old: worst(&|c| c.against_old.relative),
            against_reference: worst(&|c| c.against_reference.relative),
            tolerance: worst(&|c| f64::from(c.tolerance)),
            same_bits: !all.iter().any(|c| c.against_old.bits_differ),
        })
    }

    /// Live inputs of one node for each distinct shape of the scope.
    fn tap(&mut self, scope: &Scope, info: &PlanInfo) -> Result<Vec<Tap>, EngineError> {
        let mut distinct: Vec<&NodeInfo> = Vec::new();
        for node in info.nodes.iter().filter(|n| scope.holds(n) && !n.steps.is_empty()) {
            if distinct.len() < CHECKED && !distinct.iter().any(|d| d.inst == node.inst) {
                distinct.push(node);
            }
        }
        let names: Vec<String> = distinct.iter().map(|n| n.name.clone()).collect();
        self.tap_nodes(&names)
    }

    /// Live inputs of nodes. The sequences are left as they were.
    pub(super) fn tap_nodes(&mut self, names: &[String]) -> Result<Vec<Tap>, EngineError> {
        match self.now.phase {
            Phase::Decode => {
                let token = [self.generator.pending().unwrap_or(0)];
                let before = self.engine.checkpoint(SLOT)?;
                let logits = self.generator.logits(&self.engine);
                let batch = Batch { tokens: &token, slot: SLOT, n_seqs: 1, logits };
                let taps = self.engine.eval_tapped(batch, names);
                self.engine.restore(&before)?;
                taps
            }
            Phase::Prefill => {
                self.engine.reset(PREFILL_SLOT)?;
                let taps = self.engine.eval_tapped(prefill_batch(&self.prefill_tokens), names);
                self.engine.reset(PREFILL_SLOT)?;
                taps
            }
        }
    }

    /// Checks every variant of the scope that can run.
    pub(super) fn check_all(&mut self, scope: &Scope) {
        let taps = self.plan_info().and_then(|info| self.tap(scope, &info));
        let taps = match taps {
            Ok(taps) => taps,
            Err(e) => return self.error(e.to_string()),
        };
        let (_, label) = scope.row();
        let backend = taps.first().map_or(self.engine.backend(), |t| t.backend);
        let variants: Vec<_> = ops::variants(scope.op)
            .iter()
            .copied()
            .filter(|v| v.serves(backend) && taps.iter().any(|t| v.supports(&t.inst).is_ok()))
            .collect();
        let mut failed = Vec::new();
        for (done, &variant) in variants.iter().enumerate() {
            let name = variant.spec().name;
            self.job(Some(Job { what: format!("checking {label}: {name}"), done, total: variants.len() }));
            match self.check_taps(&taps, variant, &Tunables::defaults(variant.spec().tunables)) {
                Ok(report) => {
                    if !report.passed() {
                        failed.push(name);
                    }
                    self.remember_check(backend, &label, name, &report);
                }
                Err(e) => self.error(format!("{label} {name}: {e}")),
            }
        }
        self.job(None);
        if failed.is_empty() {
            self.tell(format!("{label}: {} variants within their tolerance", variants.len()));
        } else {
            self.error(format!("{label}: beyond tolerance: {}", failed.join(", ")));
        }
    }

    fn remember_check(&mut self, backend: Backend, label: &str, variant: &str, report: &CheckReport) {
        let key = (self.now.phase, backend, label.to_owned(), variant.to_owned());
        Arc::make_mut(&mut self.now.known).checks.insert(key, report.clone());
    }

    /// After a swap, for some tokens: the distributions of old and new.
    pub(super) fn compare_outputs(&mut self) {
        let Some(watched) = self.watched.as_mut().filter(|w| w.tokens_left > 0) else { return };
        let Some(token) = self.generator.pending() else { return };
        if self.now.phase != Phase::Decode || self.untried || self.generator.at_end(&self.engine) {
            return;
        }
        watched.tokens_left -= 1;
        let old = watched.old_stack.clone();
        self.engine.record(false);
        match self.engine.divergence(SLOT, token, &old) {
            Ok(d) => {
                let Some(report) = &mut self.now.last_swap else { return };
                let sum = Arc::make_mut(report).divergence.get_or_insert_default();
                sum.mean = (sum.mean * sum.tokens as f64 + d.kl) / (sum.tokens + 1) as f64;
                sum.tokens += 1;
                sum.max = sum.max.max(d.kl);
                sum.same_argmax += usize::from(d.same_argmax);
            }
            Err(e) => self.error(format!("outputs cannot be compared: {e}")),
        }
    }

    /// Brings the last swap's times up to date while they are not final.
    pub(super) fn watch(&mut self) {
        let enough = if self.now.phase == Phase::Decode { SETTLED_DECODE } else { SETTLED_PREFILL };
        let (Some(watched), Some(report)) = (&self.watched, self.now.last_swap.clone()) else { return };
        if report.scope.phase != self.now.phase || report.new.is_some_and(|n| n.n >= enough) {
            return;
        }
        let (group, label) = report.scope.row();
        let samples = self.lane().samples(group, &label);
        let new = bootstrap(&samples);
        let change = relative_change(&watched.old_samples, &samples);
        self.now.last_swap = Some(Arc::new(SwapReport { new, change, ..SwapReport::clone(&report) }));
        let info = self.lane().stats.info();
        let backend = info.map_or(self.engine.backend(), |info| report.scope.backend(info));
        if let (Some(n), Ok(rule)) = (new.filter(|n| n.n >= enough), report.scope.rule(backend)) {
            let wall = self.lane().stats.walls().sum::<f64>() / self.lane().stats.len().max(1) as f64;
            let measured = Measured {
                median_us: round(n.median),
                ci95_us: [round(n.lo), round(n.hi)],
                samples: n.n as u32,
                share: (wall > 0.0).then(|| (n.median / wall * 1e4).round() / 1e4),
                baseline: report.from.split(' ').next().map(str::to_owned),
                speedup: change.map(|c| round(1.0 / (1.0 + c.median))),
            };
            self.measured.retain(|(r, _)| *r != rule);
            self.measured.push((rule, measured));
            self.profile_changed();
        }
    }
}

/// Finds a candidate's variant and sets its tunables.
pub(super) fn resolve(
    backend: Backend,
    scope: &Scope,
    c: &Candidate,
) -> Result<(&'static dyn Variant, Tunables), String> {
    let variant = ops::variant(scope.op, backend, &c.variant)
        .ok_or_else(|| format!("{} has no variant `{}`", scope.op, c.variant))?;
    let mut tunables = Tunables::defaults(variant.spec().tunables);
    for (name, value) in &c.tunables {
        tunables.set(variant.spec().tunables, name, *value).map_err(|e| e.to_string())?;
    }
    Ok((variant, tunables))
}

/// A candidate as a profile's choice.
pub(super) fn choice(backend: Backend, scope: &Scope, c: &Candidate, variant: &dyn Variant) -> Result<Choice, String> {
    let mut choice = Choice::new(scope.rule(backend).map_err(|e| e.to_string())?, c.variant.clone());
    choice.revision = Some(variant.spec().revision);
    choice.tunables = c.tunables.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
    Ok(choice)
}

/// `blocked block=1024`
pub(super) fn describe(node: &NodeInfo) -> String {
    let mut text = node.variant.spec().name.to_owned();
    for (name, value) in &node.tunables {
        text.push_str(&format!(" {name}={value}"));
    }
    text
}

fn round(x: f64) -> f64 {
    (x * 100.0).round() / 100.0
}
