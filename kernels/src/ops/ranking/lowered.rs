//! `top_k` as the graph that it was: all sorted, and the first k copied.

use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Body, Instance, Lowering, Reason, Spec, Variant};
use crate::{Backend, Op, Params};

/// The variant.
pub struct FromArgsort(Spec);

/// `argsort` of `top_k`.
pub static ARGSORT: FromArgsort = FromArgsort(Spec {
    op: Op::TopK,
    name: "argsort",
    revision: 1,
    backend: Backend::Cpu,
    summary: "argsort, then cont of the first k",
    tunables: &[],
    tolerance: 0.0,
});

impl Variant for FromArgsort {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, _inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Lowering(self)
    }
}

impl Lowering for FromArgsort {
    fn lower(&self, inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
        let sorted = b.one("argsort", Op::Argsort, Params::None, inputs);
        let first = b.slice(sorted, 0, 0, inst.outputs[0].ne[0]);
        b.node_into("cont", Op::Cont, Params::None, &[first], outputs);
    }
}
