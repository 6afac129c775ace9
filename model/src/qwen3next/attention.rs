//! A gated attention layer: q with its gate, k, v; norms and rope; the cache; attention; the gate; projection back.

use super::{Ctx, Trunk};
use crate::gguf::TensorInfo;
use crate::weights::{AttentionInput, AttentionWeights};
use deltascope_kernels::{Op, Params, ValueId};

/// Trunk `[n_embd, n]` and the weight of its norm → the trunk's sum and the layer's branch, both `[n_embd, n]`.
pub(super) fn mixer(
    ctx: &mut Ctx<'_, '_>,
    prefix: &str,
    layer: usize,
    w: &AttentionWeights,
    (norm, trunk): (&TensorInfo, Trunk),
) -> (ValueId, ValueId) {
    let a = ctx.c.attention.clone();
    let (t, s) = (ctx.shape.n_tokens, ctx.shape.n_seqs);
    let (q_rows, k_rows, v_rows) =
        (2 * a.n_head * a.head_dim_k, a.n_head_kv * a.head_dim_k, a.n_head_kv * a.head_dim_v);
    let weights = match &w.qkv {
        AttentionInput::Separate { q, k, v } => vec![q, k, v],
        AttentionInput::Fused(all) => vec![all],
    };
    let (x, products) = ctx.norm_mul_mat(&format!("{prefix}.attn_in"), norm, trunk, &weights);
    let (qg, k, v) = match products[..] {
        [q, k, v] => (q, k, v),
        _ => {
            let mut part = |from, n| ctx.b.slice(products[0], 0, from, n);
            (part(0, q_rows), part(q_rows, k_rows), part(q_rows + k_rows, v_rows))
        }
    };
    // [rows, t * s] → [head, heads, t, s]
    let heads = |ctx: &mut Ctx<'_, '_>, v: ValueId, head: usize| {
        let by_seq = ctx.b.split(v, 1, t);
        debug_assert_eq!(ctx.b.ne(by_seq)[2], s);
        ctx.b.split(by_seq, 0, head)
    };
    let qg = heads(ctx, qg, 2 * a.head_dim_k);
    let k = heads(ctx, k, a.head_dim_k);
    let v = heads(ctx, v, a.head_dim_v);
    let q = ctx.b.slice(qg, 0, 0, a.head_dim_k);
    let gate = ctx.b.slice(qg, 0, a.head_dim_k, a.head_dim_k);
    let (k_cache, v_cache) = ctx.states(layer);
    let [q_norm, k_norm] = [&w.q_norm, &w.k_norm].map(|t| ctx.weight(t));
    let params = Params::AttentionBlock {
        n_rot: a.n_rot,
        base: a.rope_base,
        eps: ctx.c.norm_eps,
        scale: 1.0 / (a.head_dim_k as f32).sqrt(),
        n_kv: ctx.shape.n_kv,
    };
    let inputs = [q, gate, k, v, ctx.positions, k_cache, v_cache, q_norm, k_norm];
    let attended = ctx.b.one(&format!("{prefix}.attn"), Op::AttentionBlock, params, &inputs);
    let o = ctx.b.reshape(attended, [a.n_head * a.head_dim_v, t * s, 1, 1]);
    (x, ctx.mul_mat(&format!("{prefix}.attn_output"), &w.output, o))
}
