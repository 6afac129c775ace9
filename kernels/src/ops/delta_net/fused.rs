//! One step over whole heads, then the move of the convolution's state, which others still read during the first: in
//! decode, where a barrier costs as much as the work between.

use super::{CONV_STATE, QKV};
use crate::graph::{GraphBuilder, ValueId};
use crate::ops::delta_heads;
use crate::variant::{Body, Instance, Reason, Spec, Variant};
use crate::{Backend, Op, Params};

/// The variant.
pub struct Fused(Spec);

/// `fused`.
pub static FUSED: Fused = Fused(Spec {
    op: Op::DeltaNet,
    name: "fused",
    revision: 1,
    backend: Backend::Cpu,
    summary: "a head at a time from the projection to the gated norm in one step: one token a sequence",
    tunables: &[],
    tolerance: 1e-5,
});

impl Variant for Fused {
    fn spec(&self) -> &Spec {
        &self.0
    }

    /// `delta_heads` has no kernel elsewhere.
    fn serves(&self, backend: Backend) -> bool {
        backend == Backend::Cpu
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        delta_heads::by_head(inst)
    }

    /// A profile that names the parts' variants means those: this one has to be asked for.
    fn preferred(&self, _inst: &Instance) -> bool {
        false
    }

    fn body(&self) -> Body<'_> {
        Body::Lowering(lower)
    }
}

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    b.node_into("heads", Op::DeltaHeads, inst.params, inputs, outputs);
    b.node_into("conv_shift", Op::ConvShift, Params::None, &[inputs[QKV], inputs[CONV_STATE]], &[]);
}
