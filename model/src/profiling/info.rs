//! What a plan is made of, for reports: names, ops, variants and what they must move.

use crate::choice::weight_of;
use deltascope_kernels::plan::Plan;
use deltascope_kernels::{Backend, Cost, DType, Instance, Op, Params, Variant};
use deltascope_profiles::Phase;
use std::ops::Range;

/// A node of a plan.
pub struct NodeInfo {
    /// Stable id: `blk.7.delta_net.scale_q`.
    pub name: String,
    /// The op.
    pub op: Op,
    /// The op with its weight's type, where it has one: `mul_mat Q4_K`.
    pub label: String,
    /// The weight's type.
    pub dtype: Option<DType>,
    /// Shapes and constants.
    pub inst: Instance,
    /// Where it runs; transfers are the device's.
    pub backend: Backend,
    /// Who computes it.
    pub variant: &'static dyn Variant,
    /// Its tunables by name, those of every kernel (`threads`, `redundant`) included where they are set.
    pub tunables: Vec<(&'static str, i64)>,
    /// Why this variant.
    pub note: Option<String>,
    /// Its lowering's owner, as an index into the nodes.
    pub parent: Option<usize>,
    /// Its steps, those of its parts included.
    pub steps: Range<usize>,
    /// It is computed by other nodes (it was lowered).
    pub lowered: bool,
    /// The planner put it in.
    pub conversion: bool,
    /// What it must move and do at least.
    pub cost: Cost,
    /// `Some(7)` for `blk.7.…`.
    pub layer: Option<usize>,
    /// Workers of its widest step.
    pub threads: usize,
    /// It is a single step that every worker does for itself.
    pub redundant: bool,
}

/// A plan's nodes and the owner of each step.
pub struct PlanInfo {
    /// Parents before their parts.
    pub nodes: Vec<NodeInfo>,
    /// For each step the node that it serves.
    pub step_nodes: Vec<usize>,
    /// Of the plan.
    pub phase: Phase,
    /// Where nodes run that are not placed elsewhere.
    pub backend: Backend,
    /// Workers.
    pub threads: usize,
    /// Barriers in a run.
    pub barriers: usize,
}

impl PlanInfo {
    pub(crate) fn of(plan: &Plan, phase: Phase, backend: Backend) -> PlanInfo {
        let nodes = plan
            .nodes
            .iter()
            .enumerate()
            .map(|(i, n)| {
                let dtype = weight_of(&n.inst).map(|l| l.dtype);
                let own = plan.steps[n.steps.clone()].iter().any(|s| s.node.0 == i);
                let spec = n.variant.spec();
                let mut tunables: Vec<(&'static str, i64)> =
                    spec.tunables.iter().map(|t| t.name).zip(n.tunables.values().iter().copied()).collect();
                let threads = plan.steps[n.steps.clone()].iter().map(|s| s.threads).max().unwrap_or(0);
                if let Some(t) = n.tunables.threads {
                    tunables.push(("threads", t as i64));
                }
                if let Some(r) = n.tunables.redundant {
                    tunables.push(("redundant", i64::from(r)));
                }
                NodeInfo {
                    name: n.name.clone(),
                    op: n.inst.op,
                    label: label(&n.inst, dtype),
                    dtype,
                    inst: n.inst.clone(),
                    backend: n.backend,
                    variant: n.variant,
                    tunables,
                    note: n.note.clone(),
                    parent: n.parent.map(|p| p.0),
                    steps: n.steps.clone(),
                    lowered: !own,
                    conversion: n.conversion,
                    cost: n.cost,
                    layer: layer_of(&n.name),
                    threads,
                    redundant: own && plan.steps[n.steps.clone()].iter().all(|s| s.redundant || s.node.0 != i),
                }
            })
            .collect();
        PlanInfo {
            nodes,
            step_nodes: plan.steps.iter().map(|s| s.node.0).collect(),
            phase,
            backend,
            threads: plan.threads,
            barriers: plan.barriers(),
        }
    }
}

impl PlanInfo {
    /// Whether its nodes run on two backends.
    pub fn is_mixed(&self) -> bool {
        self.nodes.iter().any(|n| n.backend != self.backend)
    }
}

/// The op with its weight's type or, of a transfer, where it goes.
fn label(inst: &Instance, dtype: Option<DType>) -> String {
    match (inst.params, dtype) {
        (Params::Transfer { to }, _) => format!("{} to {to}", inst.op),
        (_, Some(dtype)) => format!("{} {dtype}", inst.op),
        (_, None) => inst.op.name().to_owned(),
    }
}

fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::layer_of;

    #[test]
    fn layers_are_read_from_names() {
        assert_eq!(layer_of("blk.17.delta_net.conv"), Some(17));
        assert_eq!(layer_of("output_norm"), None);
        assert_eq!(layer_of("blk.x"), None);
    }
}
