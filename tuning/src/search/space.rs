//! What can be tried: the op's nodes by shape, and variants × tunables × threads.

use crate::journal::Shape;
use crate::measure::{nodes_us, over};
use deltascope_kernels::{Backend, Body, Op, Tunables, Variant, ops};
use deltascope_model::choice::{query, rule_backend, weight_of};
use deltascope_model::profiling::{PlanInfo, RunRecord};
use deltascope_profiles::{Choice, Phase, Profile, Rule, SizeRange, Stack, TunableValue};
use std::collections::BTreeMap;

/// Nodes of the op that a profile cannot tell apart but by name: they are tuned together.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    /// Where they run.
    pub backend: Backend,
    pub shape: Shape,
    /// Indices in the baseline's plan.
    pub nodes: Vec<usize>,
    pub names: Vec<String>,
    pub baseline: Candidate,
}

/// A way to compute the op.
#[derive(Clone)]
pub struct Candidate {
    /// The variant.
    pub variant: &'static dyn Variant,
    /// Its tunables by name; what is absent is the default. `threads` is among them.
    pub tunables: BTreeMap<String, i64>,
}

impl Candidate {
    pub(super) fn of_node(info: &PlanInfo, node: usize) -> Candidate {
        let n = &info.nodes[node];
        Candidate { variant: n.variant, tunables: n.tunables.iter().map(|&(k, v)| (k.to_owned(), v)).collect() }
    }

    /// Whether a node is served by this.
    pub(super) fn serves(&self, info: &PlanInfo, node: usize) -> bool {
        *self == Candidate::of_node(info, node)
    }

    /// The tunables as kernels take them. Candidates are made from the variant's own ranges, so all are known.
    pub(super) fn kernel_tunables(&self) -> Tunables {
        let spec = self.variant.spec().tunables;
        let mut t = Tunables::defaults(spec);
        for (name, &value) in &self.tunables {
            let set = t.set(spec, name, value);
            debug_assert!(set.is_ok(), "{set:?}");
        }
        t
    }

    pub(super) fn choice(&self, rule: Rule) -> Choice {
        let mut c = Choice::new(rule, self.variant.spec().name);
        c.revision = Some(self.variant.spec().revision);
        c.tunables = self.tunables.iter().map(|(k, &v)| (k.clone(), TunableValue::Int(v))).collect();
        c
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self.variant, other.variant) && self.tunables == other.tunables
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// `blocked block=1024`
impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.variant.spec().name)?;
        self.tunables.iter().try_for_each(|(k, v)| write!(f, " {k}={v}"))
    }
}

impl Cell {
    /// The rule that holds for these nodes' shape, phase and number of tokens, and for nothing else.
    pub fn rule(&self, op: Op, phase: Phase) -> Rule {
        let exact = |n: Option<u64>| n.map(SizeRange::exact);
        let mut rule = Rule::new(op.name());
        rule.phase = Some(phase);
        rule.backend = rule_backend(self.backend);
        rule.elements = exact(self.shape.elements);
        rule.tokens = exact(Some(self.shape.tokens));
        rule.rows = exact(self.shape.rows);
        rule.cols = exact(self.shape.cols);
        rule.set_types(self.shape.dtype.iter());
        rule
    }

    /// Mean time of one of its nodes in a run of any plan that has them; `None` if that plan lacks one.
    pub fn node_us(&self, record: &RunRecord, found: &[usize]) -> Option<f64> {
        (found.len() == self.names.len()).then(|| nodes_us(record, found) / found.len() as f64)
    }

    /// Its nodes in another plan.
    pub fn find(&self, op: Op, info: &PlanInfo) -> Vec<usize> {
        let by_name: std::collections::HashMap<&str, usize> =
            info.nodes.iter().enumerate().filter(|(_, n)| n.op == op).map(|(i, n)| (n.name.as_str(), i)).collect();
        self.names.iter().filter_map(|n| by_name.get(n.as_str()).copied()).collect()
    }
}

/// The op's nodes by shape, in the order of the plan.
pub(super) fn cells(info: &PlanInfo, op: Op, tokens: usize) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    for (i, n) in info.nodes.iter().enumerate().filter(|(_, n)| n.op == op && !n.steps.is_empty()) {
        let q = query(n.backend, info.phase, tokens, &n.name, &n.inst);
        let dtype = weight_of(&n.inst).map(|l| l.dtype.name().to_owned());
        let shape = Shape { elements: q.elements, tokens: tokens as u64, rows: q.rows, cols: q.cols, dtype };
        let baseline = Candidate::of_node(info, i);
        match cells.iter_mut().find(|c| (&c.shape, c.backend) == (&shape, n.backend) && c.baseline == baseline) {
            Some(c) => {
                c.nodes.push(i);
                c.names.push(n.name.clone());
            }
            None => {
                cells.push(Cell { backend: n.backend, shape, nodes: vec![i], names: vec![n.name.clone()], baseline })
            }
        }
    }
    // One shape under two choices (a node pinned by name): a rule by shape would change both, so neither is tuned.
    let twice = |c: &Cell| cells.iter().filter(|o| (&o.shape, o.backend) == (&c.shape, c.backend)).count() > 1;
    let keep: Vec<bool> = cells.iter().map(|c| !twice(c)).collect();
    let mut keep = keep.into_iter();
    cells.retain(|_| keep.next() == Some(true));
    cells
}

/// Variants × tunables × threads, the default variant and default tunables first. A variant with more settings than
/// this many has its tunables varied one at a time.
const MOST_SETTINGS: usize = 16;

pub(super) fn candidates(backend: Backend, op: Op, threads: &[usize], with_reference: bool) -> Vec<Candidate> {
    let mut all = Vec::new();
    for &variant in ops::variants(op) {
        let spec = variant.spec();
        if !variant.serves(backend) || (spec.name == "reference" && !with_reference) {
            continue;
        }
        let defaults: BTreeMap<String, i64> = spec.tunables.iter().map(|t| (t.name.to_owned(), t.default)).collect();
        let full = spec.tunables.iter().map(|t| t.values.len().max(1)).product::<usize>() <= MOST_SETTINGS;
        let mut settings = vec![defaults.clone()];
        for t in spec.tunables {
            let from = if full { settings.clone() } else { vec![defaults.clone()] };
            for base in from {
                settings.extend(t.values.iter().filter(|&&v| v != t.default).map(|&v| {
                    let mut s = base.clone();
                    s.insert(t.name.to_owned(), v);
                    s
                }));
            }
        }
        // A lowering has no threads of its own: those of its parts are theirs.
        let threads = if matches!(variant.body(), Body::Kernel(_)) { threads } else { &[] };
        for s in settings {
            all.push(Candidate { variant, tunables: s.clone() });
            all.extend(threads.iter().map(|&t| {
                let mut s = s.clone();
                s.insert("threads".to_owned(), t as i64);
                Candidate { variant, tunables: s }
            }));
        }
    }
    all
}

/// The profiles with a candidate laid over them for some cells.
pub(super) fn stack_with<'a>(
    base: &Stack,
    op: Op,
    phase: Phase,
    candidate: &Candidate,
    cells: impl IntoIterator<Item = &'a Cell>,
) -> Stack {
    let choices = cells.into_iter().map(|c| candidate.choice(c.rule(op, phase))).collect();
    over(base, Profile { choices, ..Profile::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_come_first_and_no_candidate_twice() {
        for op in ops::all() {
            let all = candidates(Backend::Cpu, op, &[1], true);
            let preferred = ops::variants(op).iter().find(|v| v.spec().backend == Backend::Cpu).unwrap();
            assert_eq!(all[0].variant.spec().name, preferred.spec().name);
            for (i, c) in all.iter().enumerate() {
                assert!(!all[..i].contains(c), "{op} {c}");
                assert_eq!(c.kernel_tunables().threads, c.tunables.get("threads").map(|&t| t as usize));
            }
        }
    }
}
