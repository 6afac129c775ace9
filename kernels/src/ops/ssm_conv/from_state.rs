//! The convolution from the state, then silu as a node.

use super::{STATE, W, X, silu};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Reason, Spec};
use crate::{Backend, Op, Params};

/// `from_state`.
pub static FROM_STATE: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::SsmConv,
        name: "from_state",
        revision: 1,
        backend: Backend::Cpu,
        summary: "the convolution without silu, which reads the state in place, then silu",
        tunables: &[],
        tolerance: 2e-6,
    },
    supports,
    lower,
};

fn supports(inst: &Instance) -> Result<(), Reason> {
    Reason::unless(silu(inst), || "without silu there is nothing to take apart: see `direct`".into())
}

fn lower(_inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let u = b.one("conv", Op::SsmConv, Params::Conv { silu: false }, &[inputs[X], inputs[STATE], inputs[W]]);
    b.node_into("silu", Op::Silu, Params::None, &[u], outputs);
}
