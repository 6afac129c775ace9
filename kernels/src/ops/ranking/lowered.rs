//! `top_k` as the graph that it was: all sorted, and the first k copied.

use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Spec, always};
use crate::{Backend, Op, Params};

/// `argsort` of `top_k`.
pub static ARGSORT: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::TopK,
        name: "argsort",
        revision: 1,
        backend: Backend::Cpu,
        summary: "argsort, then cont of the first k",
        tunables: &[],
        tolerance: 0.0,
    },
    supports: always,
    lower,
};

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let sorted = b.one("argsort", Op::Argsort, Params::None, inputs);
    let first = b.slice(sorted, 0, 0, inst.outputs[0].ne[0]);
    b.node_into("cont", Op::Cont, Params::None, &[first], outputs);
}
