//! As the first port had it: state and input, transposed to time fastest, joined in a tensor of their own.

use super::{STATE, W, X, silu};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Reason, Spec};
use crate::{Backend, Op, Params};

/// `concat_first`.
pub static CONCAT_FIRST: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::SsmConv,
        name: "concat_first",
        revision: 1,
        backend: Backend::Cpu,
        summary: "transpose, concat of state and input, conv_taps, silu, and a copy of the last columns",
        tunables: &[],
        tolerance: 2e-6,
    },
    supports,
    lower,
};

fn supports(inst: &Instance) -> Result<(), Reason> {
    Reason::unless(inst.inputs[W].ne[0] > 1, || "one tap needs no state".into())
}

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let (x, state) = (b.transpose(inputs[X]), b.transpose(inputs[STATE]));
    let xs = b.one("concat", Op::Concat, Params::Concat { dim: 0 }, &[state, x]);
    if silu(inst) {
        let u = b.one("conv", Op::ConvTaps, Params::None, &[xs, inputs[W]]);
        b.node_into("silu", Op::Silu, Params::None, &[u], outputs);
    } else {
        b.node_into("conv", Op::ConvTaps, Params::None, &[xs, inputs[W]], outputs);
    }
    let (tokens, past) = (inst.inputs[X].ne[1], inst.inputs[STATE].ne[1]);
    let last = b.slice(xs, 0, tokens, past);
    let last = b.transpose(last);
    b.node_into("state", Op::Cont, Params::None, &[last], &[inputs[STATE]]);
}
