//! The activation and the product as two ops.

use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Body, Instance, Lowering, Reason, Spec, Variant};
use crate::{Backend, Op, Params};

/// The variants.
pub struct Separate(Spec);

/// `separate` of `swiglu`.
pub static SWIGLU: Separate = Separate(spec(Op::Swiglu, "silu, then mul: a pass over memory more"));
/// `separate` of `sigmoid_mul`.
pub static SIGMOID_MUL: Separate = Separate(spec(Op::SigmoidMul, "sigmoid, then mul: a pass over memory more"));

const fn spec(op: Op, summary: &'static str) -> Spec {
    Spec { op, name: "separate", revision: 1, backend: Backend::Cpu, summary, tunables: &[], tolerance: 5e-7 }
}

impl Variant for Separate {
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

impl Lowering for Separate {
    fn lower(&self, inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
        let factors = if inst.op == Op::Swiglu {
            [b.one("silu", Op::Silu, Params::None, &inputs[..1]), inputs[1]]
        } else {
            [inputs[0], b.one("sigmoid", Op::Sigmoid, Params::None, &inputs[1..])]
        };
        b.node_into("mul", Op::Mul, Params::None, &factors, outputs);
    }
}
