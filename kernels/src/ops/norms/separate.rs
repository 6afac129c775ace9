//! The norms as the graphs that they were before they were fused.

use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Reason, Spec};
use crate::{Backend, Op, Params};

/// `separate` of `rms_norm`.
pub static RMS_NORM: LoweringVariant = lowering(Op::RmsNorm, "norm, then mul by the weight");
/// `separate` of `add_rms_norm`.
pub static ADD_RMS_NORM: LoweringVariant = lowering(Op::AddRmsNorm, "add, then rms_norm");
/// `separate` of `gated_norm`.
pub static GATED_NORM: LoweringVariant = lowering(Op::GatedNorm, "rms_norm, silu, then mul");

const fn lowering(op: Op, summary: &'static str) -> LoweringVariant {
    let spec =
        Spec { op, name: "separate", revision: 1, backend: Backend::Cpu, summary, tunables: &[], tolerance: 1e-6 };
    LoweringVariant { spec, supports, lower }
}

fn supports(inst: &Instance) -> Result<(), Reason> {
    let bare = inst.op == Op::RmsNorm && inst.inputs.len() == 1;
    Reason::unless(!bare, || "without a weight there is nothing to separate".into())
}

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    match inst.op {
        Op::RmsNorm => {
            let normed = b.one("norm", Op::RmsNorm, inst.params, &inputs[..1]);
            b.node_into("mul", Op::Mul, Params::None, &[normed, inputs[1]], outputs);
        }
        Op::AddRmsNorm => {
            b.node_into("add", Op::Add, Params::None, &inputs[..2], &outputs[..1]);
            b.node_into("norm", Op::RmsNorm, inst.params, &[outputs[0], inputs[2]], &outputs[1..]);
        }
        _ => {
            let normed = b.one("norm", Op::RmsNorm, inst.params, &inputs[..2]);
            let gate = b.one("silu", Op::Silu, Params::None, &inputs[2..]);
            b.node_into("mul", Op::Mul, Params::None, &[normed, gate], outputs);
        }
    }
}
