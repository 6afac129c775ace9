//! The convolution from the state, then silu as a node.

use super::{STATE, W, X, silu};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Body, Instance, Lowering, Reason, Spec, Variant};
use crate::{Backend, Op, Params};

/// The variant.
pub struct FromState(Spec);

/// `from_state`.
pub static FROM_STATE: FromState = FromState(Spec {
    op: Op::SsmConv,
    name: "from_state",
    revision: 1,
    backend: Backend::Cpu,
    summary: "the convolution without silu, which reads the state in place, then silu",
    tunables: &[],
    tolerance: 2e-6,
});

impl Variant for FromState {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(silu(inst), || "without silu there is nothing to take apart: see `direct`".into())
    }

    fn body(&self) -> Body<'_> {
        Body::Lowering(self)
    }
}

impl Lowering for FromState {
    fn lower(&self, _inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
        let u = b.one("conv", Op::SsmConv, Params::Conv { silu: false }, &[inputs[X], inputs[STATE], inputs[W]]);
        b.node_into("silu", Op::Silu, Params::None, &[u], outputs);
    }
}
