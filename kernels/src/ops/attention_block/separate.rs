//! The block as its parts, each with variants of its own.

use super::{GATE, K, K_CACHE, POS, Q, V, V_CACHE, W_K_NORM, W_Q_NORM, constants};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Spec, always};
use crate::{Backend, Op, Params};

/// `separate`.
pub static SEPARATE: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::AttentionBlock,
        name: "separate",
        revision: 1,
        backend: Backend::Cpu,
        summary: "norms, rotations, stores, attention and gate as nodes",
        tunables: &[],
        // That of its least exact part, attention on tensor cores.
        tolerance: 2e-5,
    },
    supports: always,
    lower,
};

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let c = constants(inst);
    let norm = Params::Norm { eps: c.eps };
    let rope = Params::Rope { n_rot: c.n_rot, base: c.base };
    let (pos, k_cache, v_cache) = (inputs[POS], inputs[K_CACHE], inputs[V_CACHE]);
    let q = b.one("q_norm", Op::RmsNorm, norm, &[inputs[Q], inputs[W_Q_NORM]]);
    let k = b.one("k_norm", Op::RmsNorm, norm, &[inputs[K], inputs[W_K_NORM]]);
    let q = b.one("q_rope", Op::Rope, rope, &[q, pos]);
    let k = b.one("k_rope", Op::Rope, rope, &[k, pos]);
    b.node_into("k_store", Op::SetRows, Params::None, &[k, pos, k_cache], &[]);
    b.node_into("v_store", Op::SetRows, Params::None, &[inputs[V], pos, v_cache], &[]);
    let keys = b.slice(k_cache, 1, 0, c.n_kv);
    let values = b.slice(v_cache, 1, 0, c.n_kv);
    let softmax = Params::Softmax { scale: c.scale, causal: true };
    let o = b.one("attention", Op::Attention, softmax, &[q, keys, values, pos]);
    b.node_into("gate", Op::SigmoidMul, Params::None, &[o, inputs[GATE]], outputs);
}
