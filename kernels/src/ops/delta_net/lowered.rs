//! The block as its parts, each with variants of its own.

use super::{A, BA, CONV_STATE, DT, QKV, STATE, W_CONV, W_NORM, Z, params};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Spec, always};
use crate::{Backend, Op, Params};

/// `lowered`.
pub static LOWERED: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::DeltaNet,
        name: "lowered",
        revision: 1,
        backend: Backend::Cpu,
        summary: "convolution, L2 norms, gates, delta rule and gated norm as nodes",
        tunables: &[],
        tolerance: 1e-5,
    },
    supports: always,
    lower,
};

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let (hk, d, eps) = params(inst);
    let wide = inst.inputs[Z].ne[0];
    let conv = [inputs[QKV], inputs[CONV_STATE], inputs[W_CONV]];
    let qkv = b.one("conv", Op::SsmConv, Params::Conv { silu: true }, &conv);
    let mut heads = |from: usize, len: usize| {
        let part = b.slice(qkv, 0, from, len);
        b.split(part, 0, d)
    };
    let (q, k, v) = (heads(0, hk * d), heads(hk * d, hk * d), heads(2 * hk * d, wide));
    let q = b.one("l2_q", Op::L2Norm, Params::Norm { eps }, &[q]);
    let k = b.one("l2_k", Op::L2Norm, Params::Norm { eps }, &[k]);
    let gates = Params::Gates { n_k_heads: hk };
    let gates = b.node("gates", Op::DeltaGates, gates, &[inputs[BA], inputs[DT], inputs[A]]);
    let scale = 1.0 / (d as f32).sqrt();
    let rule = [q, k, v, gates[0], gates[1], inputs[STATE]];
    let o = b.one("delta", Op::GatedDeltaNet, Params::DeltaNet { scale }, &rule);
    let (z, out) = (b.split(inputs[Z], 0, d), b.split(outputs[0], 0, d));
    b.node_into("gated_norm", Op::GatedNorm, Params::Norm { eps }, &[o, inputs[W_NORM], z], &[out]);
}
