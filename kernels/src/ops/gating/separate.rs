//! The activation and the product as two ops.

use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Spec, always};
use crate::{Backend, Op, Params};

/// `separate` of `swiglu`.
pub static SWIGLU: LoweringVariant = lowering(Op::Swiglu, "silu, then mul: a pass over memory more");
/// `separate` of `sigmoid_mul`.
pub static SIGMOID_MUL: LoweringVariant = lowering(Op::SigmoidMul, "sigmoid, then mul: a pass over memory more");

const fn lowering(op: Op, summary: &'static str) -> LoweringVariant {
    let spec =
        Spec { op, name: "separate", revision: 1, backend: Backend::Cpu, summary, tunables: &[], tolerance: 5e-7 };
    LoweringVariant { spec, supports: always, lower }
}

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let factors = if inst.op == Op::Swiglu {
        [b.one("silu", Op::Silu, Params::None, &inputs[..1]), inputs[1]]
    } else {
        [inputs[0], b.one("sigmoid", Op::Sigmoid, Params::None, &inputs[1..])]
    };
    b.node_into("mul", Op::Mul, Params::None, &factors, outputs);
}
