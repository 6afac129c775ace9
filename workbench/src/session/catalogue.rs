//! What could compute each node of the plan in force, worked out once a plan.

use deltascope_kernels::variant::Body;
use deltascope_kernels::{Backend, DType, Instance, Op, ops};
use deltascope_model::profiling::PlanInfo;
use std::collections::HashMap;

/// The plan's nodes with their choices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// In the plan's order: rows of tables hold indices into it.
    pub nodes: Vec<Node>,
    /// Variants of each distinct use of an op.
    pub uses: Vec<Vec<Choice>>,
    /// Workers.
    pub threads: usize,
    /// Barriers in a run.
    pub barriers: usize,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Stable id.
    pub name: String,
    /// The op.
    pub op: Op,
    /// The weight's type.
    pub dtype: Option<DType>,
    /// The shapes of its inputs and outputs, for people.
    pub shape: String,
    /// Who computes it.
    pub variant: &'static str,
    /// Tunables in force.
    pub tunables: Vec<(&'static str, i64)>,
    /// Why this variant.
    pub note: Option<String>,
    /// Computed by other nodes.
    pub lowered: bool,
    /// The node whose lowering it is part of.
    pub parent: Option<usize>,
    /// Index into [`Catalogue::uses`].
    pub usage: usize,
}

/// A variant that could compute a node, or cannot.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its name.
    pub variant: &'static str,
    /// One line: how it works.
    pub summary: &'static str,
    /// It becomes simpler ops.
    pub lowering: bool,
    /// Why it cannot; `None`: it can.
    pub reason: Option<String>,
    /// Its tunables.
    pub tunables: Vec<TunableRange>,
    /// Bound on its relative error.
    pub tolerance: f32,
}

/// A tunable and its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunableRange {
    /// Its name.
    pub name: &'static str,
    /// One line: what it changes.
    pub doc: &'static str,
    /// Used where nothing else is said.
    pub default: i64,
    /// The range, rising.
    pub values: Vec<i64>,
}

impl Catalogue {
    /// Asks every variant about every distinct use of its op.
    pub fn of(info: &PlanInfo) -> Catalogue {
        let mut uses: Vec<Vec<Choice>> = Vec::new();
        let mut known: HashMap<(Op, Backend), Vec<(&Instance, usize)>> = HashMap::new();
        let mut nodes = Vec::with_capacity(info.nodes.len());
        for n in &info.nodes {
            let of_op = known.entry((n.op, n.backend)).or_default();
            let usage = of_op.iter().find(|(inst, _)| **inst == n.inst).map(|(_, at)| *at).unwrap_or_else(|| {
                uses.push(choices(&n.inst, n.backend, info.threads));
                of_op.push((&n.inst, uses.len() - 1));
                uses.len() - 1
            });
            nodes.push(Node {
                name: n.name.clone(),
                op: n.op,
                dtype: n.dtype,
                shape: shape(&n.inst),
                variant: n.variant.spec().name,
                tunables: n.tunables.clone(),
                note: n.note.clone(),
                lowered: n.lowered,
                parent: n.parent,
                usage,
            });
        }
        Catalogue { nodes, uses, threads: info.threads, barriers: info.barriers }
    }

    /// The variants of a row's nodes, each once; a node that is part of another one's lowering does not count where
    /// both are in the row (`rms_norm` with its weight apart is an `rms_norm` and a `mul`).
    pub fn variants_of(&self, row: &[usize]) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = Vec::new();
        for node in row.iter().filter_map(|&i| self.nodes.get(i)) {
            if !node.parent.is_some_and(|p| row.contains(&p)) && !names.contains(&node.variant) {
                names.push(node.variant);
            }
        }
        names
    }

    /// The choices for several nodes of one op: a variant that serves some of them can be chosen, and says how many it
    /// leaves out.
    pub fn for_nodes(&self, nodes: &[usize]) -> Vec<Choice> {
        let mut uses: Vec<(usize, usize)> = Vec::new();
        for usage in nodes.iter().filter_map(|&i| self.nodes.get(i)).map(|n| n.usage) {
            match uses.iter_mut().find(|(u, _)| *u == usage) {
                Some((_, n)) => *n += 1,
                None => uses.push((usage, 1)),
            }
        }
        let Some(&(first, _)) = uses.first() else { return Vec::new() };
        let refused = |at: usize, usage: usize| self.uses[usage].get(at).and_then(|c| c.reason.clone());
        let total: usize = uses.iter().map(|(_, n)| n).sum();
        let combine = |(at, choice): (usize, &Choice)| {
            let reasons: Vec<(String, usize)> =
                uses.iter().filter_map(|&(u, n)| refused(at, u).map(|why| (why, n))).collect();
            let out: usize = reasons.iter().map(|(_, n)| n).sum();
            Choice { reason: reasons.into_iter().next().filter(|_| out == total).map(|(why, _)| why), ..choice.clone() }
        };
        self.uses[first].iter().enumerate().map(combine).collect()
    }
}

fn choices(inst: &Instance, backend: Backend, threads: usize) -> Vec<Choice> {
    let describe = |v: &&'static dyn deltascope_kernels::Variant| {
        let spec = v.spec();
        let kernel = if let Body::Kernel(kernel) = v.body() { Some(kernel) } else { None };
        let mut tunables: Vec<TunableRange> = spec
            .tunables
            .iter()
            .map(|t| TunableRange { name: t.name, doc: t.doc, default: t.default, values: t.values.to_vec() })
            .collect();
        if let Some(kernel) = kernel {
            tunables.push(TunableRange {
                name: "threads",
                doc: "workers of this op, at most",
                default: threads as i64,
                values: (1..=threads as i64).collect(),
            });
            tunables.push(TunableRange {
                name: "redundant",
                doc: "1: every worker does all of it for itself where it can, and nobody waits",
                default: i64::from(kernel.redundant(inst)),
                values: vec![0, 1],
            });
        }
        Choice {
            variant: spec.name,
            summary: spec.summary,
            lowering: matches!(v.body(), Body::Lowering(_)),
            reason: v.supports(inst).err().map(|r| r.0),
            tunables,
            tolerance: v.tolerance(backend, inst),
        }
    };
    ops::variants(inst.op).iter().filter(|v| v.serves(backend)).map(describe).collect()
}

/// `F32 256×1 → F32 512×1`
fn shape(inst: &Instance) -> String {
    let one = |l: &deltascope_kernels::Layout| {
        let used = l.ne.iter().rposition(|&n| n != 1).map_or(1, |at| at + 1);
        let sizes: Vec<String> = l.ne[..used].iter().map(ToString::to_string).collect();
        format!("{} {}", l.dtype, sizes.join("×"))
    };
    let list = |of: &[deltascope_kernels::Layout]| of.iter().map(one).collect::<Vec<_>>().join(", ");
    format!("{} → {}", list(&inst.inputs), list(&inst.outputs))
}
