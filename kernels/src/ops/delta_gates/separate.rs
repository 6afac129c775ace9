//! The gates as the graph that they were: views of the packed row, copies, and a node for each function.

use super::ratio;
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Spec, always};
use crate::{Backend, Layout, Op, Params};

/// `separate`.
pub static SEPARATE: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::DeltaGates,
        name: "separate",
        revision: 1,
        backend: Backend::Cpu,
        summary: "cont and sigmoid; cont, add, softplus and mul",
        tunables: &[],
        tolerance: 2e-6,
    },
    supports: always,
    lower,
};

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let (ba, ratio) = (b.layout(inputs[0]), ratio(inst));
    let [wide, t, s, _] = ba.ne;
    let groups = wide / (2 * ratio);
    // [ratio, key heads, T, S]: the value heads of each key head lie together, the other gate's between them.
    let grouped =
        Layout { ne: [ratio, groups, t, s], nb: [ba.nb[0], 2 * ratio * ba.nb[0], ba.nb[1], ba.nb[2]], dtype: ba.dtype };
    let [g, beta] = [outputs[0], outputs[1]];
    let strength = b.view(inputs[0], 0, grouped);
    let strength = b.one("cont_b", Op::Cont, Params::None, &[strength]);
    let strength = b.reshape(strength, [wide / 2, t, s, 1]);
    b.node_into("sigmoid", Op::Sigmoid, Params::None, &[strength], &[beta]);
    let step = b.view(inputs[0], ratio * ba.nb[0], grouped);
    let step = b.one("cont_a", Op::Cont, Params::None, &[step]);
    let step = b.reshape(step, [wide / 2, t, s, 1]);
    let step = b.one("add_dt", Op::Add, Params::None, &[step, inputs[1]]);
    let step = b.one("softplus", Op::Softplus, Params::None, &[step]);
    b.node_into("mul_a", Op::Mul, Params::None, &[step, inputs[2]], &[g]);
}
