//! Token by token as simple ops: the graph of the first ports, about twenty nodes a layer and token.
//!
//! What made it slow is kept: the whole state passes as one row through `scale` (by one, the keep factor of a sequence
//! that goes on), the sums over keys run along a dimension that is not the fastest, and k is repeated to the size of the
//! state.

use super::{BETA, G, K, Q, STATE, Shape, V, scale};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Reason, Spec};
use crate::{Backend, Op, Params};

/// `lowered_recurrent`.
pub static LOWERED_RECURRENT: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::GatedDeltaNet,
        name: "lowered_recurrent",
        revision: 1,
        backend: Backend::Cpu,
        summary: "scale, exp, mul, sum_rows, sub, repeat and add for each token, as first ported",
        tunables: &[],
        tolerance: 1e-5,
    },
    supports,
    lower,
};

/// More tokens make a graph that nobody wants to plan.
const MAX_TOKENS: usize = 64;

fn supports(inst: &Instance) -> Result<(), Reason> {
    let t = inst.inputs[Q].ne[2];
    Reason::unless(t <= MAX_TOKENS, || format!("{t} tokens would be more than {MAX_TOKENS} copies of the graph"))?;
    Reason::unless(inst.inputs[STATE].is_contiguous(), || "the state must be contiguous to pass as one row".into())
}

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let Shape { t: tokens, .. } = Shape::of(inst);
    let mut token = Token { inst, inputs, out: outputs[0], q: inputs[Q], k: inputs[K] };
    token.q = repeat_heads("repeat_q", inst, token.q, b);
    token.k = repeat_heads("repeat_k", inst, token.k, b);
    token.q = b.one("scale_q", Op::Scale, Params::Scale { factor: scale(inst) }, &[token.q]);
    for t in 0..tokens {
        match tokens {
            1 => token.step(t, b),
            _ => b.scoped(&format!("t{t}"), |b| token.step(t, b)),
        }
    }
}

/// Key heads repeated for their value heads.
pub(super) fn repeat_heads(name: &str, inst: &Instance, x: ValueId, b: &mut GraphBuilder<'_>) -> ValueId {
    let Shape { d, hv, ratio, t, s } = Shape::of(inst);
    if ratio == 1 {
        return x;
    }
    b.one(name, Op::Repeat, Params::Repeat { ne: [d, hv, t, s], interleave: true }, &[x])
}

/// A token's part of the graph. Shapes in comments are `[value, key, head, sequence]`.
struct Token<'a> {
    inst: &'a Instance,
    inputs: &'a [ValueId],
    out: ValueId,
    /// Repeated and scaled.
    q: ValueId,
    /// Repeated.
    k: ValueId,
}

impl Token<'_> {
    fn step(&self, t: usize, b: &mut GraphBuilder<'_>) {
        let Shape { d, hv, s, .. } = Shape::of(self.inst);
        let state = self.inputs[STATE];

        let row = b.reshape(state, [d * d * hv, s, 1, 1]);
        b.node_into("scale_state", Op::Scale, Params::Scale { factor: 1.0 }, &[row], &[row]);
        let g = gate(self.inputs[G], t, b);
        let decay = b.one("exp", Op::Exp, Params::None, &[g]);
        b.node_into("decay", Op::Mul, Params::None, &[state, decay], &[state]);

        let k = vector(self.k, t, b);
        let recalled = b.one("mul_k", Op::Mul, Params::None, &[state, k]);
        let recalled = b.transpose(recalled);
        let recalled = b.one("sum_k", Op::SumRows, Params::None, &[recalled]);
        let v = vector(self.inputs[V], t, b);
        let delta = b.one("sub", Op::Sub, Params::None, &[v, recalled]);
        let beta = gate(self.inputs[BETA], t, b);
        let delta = b.one("mul_beta", Op::Mul, Params::None, &[delta, beta]);

        // [1, value, head, sequence] → [value, 1, head, sequence]
        let delta = b.reshape(delta, [d, 1, hv, s]);
        let keys = Params::Repeat { ne: [d, d, hv, s], interleave: false };
        let outer = b.one("repeat_outer", Op::Repeat, keys, &[k]);
        let outer = b.one("mul_delta", Op::Mul, Params::None, &[outer, delta]);
        b.node_into("add", Op::Add, Params::None, &[state, outer], &[state]);

        let q = vector(self.q, t, b);
        let o = b.one("mul_q", Op::Mul, Params::None, &[state, q]);
        let o = b.transpose(o);
        let out = vector(self.out, t, b);
        b.node_into("sum_q", Op::SumRows, Params::None, &[o], &[out]);
    }
}

/// Token `t` of `[d, H, T, S]` as `[1, d, H, S]`.
fn vector(x: ValueId, t: usize, b: &mut GraphBuilder<'_>) -> ValueId {
    let x = b.slice(x, 2, t, 1);
    b.permute(x, [2, 0, 1, 3])
}

/// Token `t` of `[H, T, S]` as `[1, 1, H, S]`.
fn gate(x: ValueId, t: usize, b: &mut GraphBuilder<'_>) -> ValueId {
    let x = b.slice(x, 1, t, 1);
    b.permute(x, [1, 3, 0, 2])
}
