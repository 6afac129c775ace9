//! A chunk of tokens at once as simple ops: the prefill graph of the first ports.
//!
//! With G the running sum of g within a chunk, D = lower(exp(Gᵢ - Gⱼ)) and A = strictly_lower(β K Kᵀ ∘ D):
//!
//! ```text
//! U = (I + A)⁻¹ βV;  W = (I + A)⁻¹ (β e^G K);  X = U - W S
//! O = (e^G Q) S + (Q Kᵀ ∘ D) X
//! S ← e^G_last S + (e^(G_last - G) K)ᵀ X
//! ```
//!
//! The ports padded the last chunk with zeros; here it is as long as it is.

use super::lowered_recurrent::repeat_heads;
use super::{BETA, G, K, Q, STATE, Shape, V, scale};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Spec, Tunable, always};
use crate::{Backend, Op, Params, Triangle};

/// `lowered_chunked`.
pub static LOWERED_CHUNKED: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::GatedDeltaNet,
        name: "lowered_chunked",
        revision: 1,
        backend: Backend::Cpu,
        summary: "cumsum, tri, solve_tri, mul_mat and friends for each chunk of tokens, as first ported",
        tunables: &[Tunable { name: "chunk", doc: "tokens a chunk", default: 64, values: &[16, 32, 64, 128] }],
        tolerance: 1e-5,
    },
    supports: always,
    lower,
};

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let (tokens, chunk) = (Shape::of(inst).t, b.tunables().get(0));
    let q = repeat_heads("repeat_q", inst, inputs[Q], b);
    let q = b.one("scale_q", Op::Scale, Params::Scale { factor: scale(inst) }, &[q]);
    let k = repeat_heads("repeat_k", inst, inputs[K], b);
    for (n, t) in (0..tokens).step_by(chunk).enumerate() {
        let len = chunk.min(tokens - t);
        let c = Chunk {
            q: tokens_first(q, t, len, b),
            k: tokens_first(k, t, len, b),
            v: tokens_first(inputs[V], t, len, b),
            g: gate(inputs[G], t, len, [1, 3, 0, 2], b),
            beta: gate(inputs[BETA], t, len, [3, 1, 0, 2], b),
            state: inputs[STATE],
            o: tokens_first(outputs[0], t, len, b),
        };
        if len == tokens {
            c.lower(b);
        } else {
            b.scoped(&format!("c{n}"), |b| c.lower(b));
        }
    }
}

/// Tokens `t .. t + len` of `[d, H, T, S]` as `[d, C, H, S]`.
fn tokens_first(x: ValueId, t: usize, len: usize, b: &mut GraphBuilder<'_>) -> ValueId {
    let x = b.slice(x, 2, t, len);
    b.permute(x, [0, 2, 1, 3])
}

/// Tokens `t .. t + len` of `[H, T, S]`, its dimensions in the order given.
fn gate(x: ValueId, t: usize, len: usize, axes: [usize; 4], b: &mut GraphBuilder<'_>) -> ValueId {
    let x = b.slice(x, 1, t, len);
    b.permute(x, axes)
}

/// A chunk's views, without head and sequence.
struct Chunk {
    /// `[d, C]`, repeated for the value heads and scaled.
    q: ValueId,
    /// `[d, C]`, repeated.
    k: ValueId,
    /// `[d, C]`.
    v: ValueId,
    /// `[C, 1]`.
    g: ValueId,
    /// `[1, C]`.
    beta: ValueId,
    /// `[d, d]`.
    state: ValueId,
    /// `[d, C]`.
    o: ValueId,
}

impl Chunk {
    fn lower(&self, b: &mut GraphBuilder<'_>) {
        let none = Params::None;
        let [len, _, heads, sequences] = b.ne(self.g);
        let row = [1, len, heads, sequences];

        // Decays: token j's write as token i sees it is row i, column j.
        let sums = b.one("cumsum", Op::Cumsum, none, &[self.g]);
        let decays = b.reshape(sums, row);
        let square = Params::Repeat { ne: [len, len, heads, sequences], interleave: false };
        let decays = b.one("repeat_g", Op::Repeat, square, &[decays]);
        let decays = b.one("sub_g", Op::Sub, none, &[decays, sums]);
        // Above the diagonal exp could overflow before the second triangle clears it.
        let lower = Params::Tri { keep: Triangle::Lower };
        let decays = b.one("tri_g", Op::Tri, lower, &[decays]);
        let decays = b.one("exp_g", Op::Exp, none, &[decays]);
        let decays = b.one("tri_d", Op::Tri, lower, &[decays]);
        let since_start = b.one("exp_sum", Op::Exp, none, &[sums]);
        let since_start = b.reshape(since_start, row);

        // What the tokens write.
        let kb = b.one("mul_beta_k", Op::Mul, none, &[self.k, self.beta]);
        let vb = b.one("mul_beta_v", Op::Mul, none, &[self.v, self.beta]);
        let a = b.one("kk", Op::MulMat, none, &[self.k, kb]);
        let a = b.one("mul_d_kk", Op::Mul, none, &[a, decays]);
        let a = b.one("tri_a", Op::Tri, Params::Tri { keep: Triangle::StrictlyLower }, &[a]);
        let u = b.one("solve_u", Op::SolveTri, none, &[a, vb]);
        let w = b.one("mul_decay_k", Op::Mul, none, &[kb, since_start]);
        let w = b.one("solve_w", Op::SolveTri, none, &[a, w]);
        let keys_first = b.transpose(self.state);
        let recalled = b.one("ws", Op::MulMat, none, &[keys_first, w]);
        let x = b.one("sub_x", Op::Sub, none, &[u, recalled]);
        let x = b.transpose(x);

        // What they read.
        let q = b.one("mul_decay_q", Op::Mul, none, &[self.q, since_start]);
        let before = b.one("qs", Op::MulMat, none, &[keys_first, q]);
        let p = b.one("qk", Op::MulMat, none, &[self.k, self.q]);
        let p = b.one("mul_d_qk", Op::Mul, none, &[p, decays]);
        let within = b.one("px", Op::MulMat, none, &[x, p]);
        b.node_into("add_o", Op::Add, none, &[before, within], &[self.o]);

        // What they leave.
        let last = b.slice(sums, 0, len - 1, 1);
        let rest = b.one("sub_last", Op::Sub, none, &[sums, last]);
        let rest = b.one("neg", Op::Neg, none, &[rest]);
        let rest = b.one("exp_rest", Op::Exp, none, &[rest]);
        let rest = b.reshape(rest, row);
        let k = b.one("mul_rest", Op::Mul, none, &[self.k, rest]);
        let k = b.transpose(k);
        let written = b.one("kx", Op::MulMat, none, &[x, k]);
        let last = b.one("exp_last", Op::Exp, none, &[last]);
        b.node_into("decay", Op::Mul, none, &[self.state, last], &[self.state]);
        b.node_into("add", Op::Add, none, &[self.state, written], &[self.state]);
    }
}
