//! A gated delta-net layer: projections to q, k, v, the gate z and the pair b, a; the delta rule; projection back.

use super::{Ctx, Trunk};
use crate::gguf::TensorInfo;
use crate::weights::{DeltaInput, DeltaWeights};
use deltascope_kernels::{Layout, Op, Params, ValueId};

/// Trunk `[n_embd, n]` and the weight of its norm → the trunk's sum and the layer's branch, both `[n_embd, n]`.
pub(super) fn mixer(
    ctx: &mut Ctx<'_, '_>,
    prefix: &str,
    layer: usize,
    w: &DeltaWeights,
    (norm, trunk): (&TensorInfo, Trunk),
) -> (ValueId, ValueId) {
    let d = ctx.c.delta.clone();
    let (t, s) = (ctx.shape.n_tokens, ctx.shape.n_seqs);
    let weights = match &w.input {
        DeltaInput::Split { qkv, gate } => vec![qkv, gate, &w.ba],
        DeltaInput::Legacy(mixed) => vec![mixed, &w.ba],
    };
    let (x, products) = ctx.norm_mul_mat(&format!("{prefix}.attn_in"), norm, trunk, &weights);
    let (qkv, z) = match &w.input {
        DeltaInput::Split { .. } => {
            let (qkv, z) = (products[0], products[1]);
            (ctx.b.reshape(qkv, [d.conv_width(), t, s, 1]), ctx.b.reshape(z, [d.value_width(), t, s, 1]))
        }
        DeltaInput::Legacy(_) => regroup(ctx, prefix, products[0]),
    };
    let ba = ctx.b.reshape(products[products.len() - 1], [2 * d.n_head_v, t, s, 1]);
    let (conv_state, state) = ctx.states(layer);
    let weights = [&w.conv1d, &w.dt_bias, &w.a, &w.norm].map(|t| ctx.weight(t));
    let params = Params::DeltaBlock { n_k_heads: d.n_head_k, head_dim: d.head_dim, eps: ctx.c.norm_eps };
    let inputs = [qkv, z, ba, conv_state, state, weights[0], weights[1], weights[2], weights[3]];
    let o = ctx.b.one(&format!("{prefix}.delta_net"), Op::DeltaNet, params, &inputs);
    let o = ctx.b.reshape(o, [d.value_width(), t * s, 1, 1]);
    (x, ctx.mul_mat(&format!("{prefix}.ssm_out"), &w.output, o))
}

/// The older files' rows, `[q, k, v.., z..]` for each key head, into q|k|v and z.
fn regroup(ctx: &mut Ctx<'_, '_>, prefix: &str, mixed: ValueId) -> (ValueId, ValueId) {
    let d = ctx.c.delta.clone();
    let (t, s, hd, hk) = (ctx.shape.n_tokens, ctx.shape.n_seqs, d.head_dim, d.n_head_k);
    let values = d.n_head_v / hk * hd;
    let group = 2 * hd + 2 * values;
    let mixed = ctx.b.reshape(mixed, [group, hk, t, s]);
    let qkv = ctx.b.temp(Layout::f32([d.conv_width(), t, s, 1]));
    let z = ctx.b.temp(Layout::f32([d.value_width(), t, s, 1]));
    // (name, first row in the group, rows of the group, target, first channel there)
    let parts = [
        ("q", 0, hd, qkv, 0),
        ("k", hd, hd, qkv, d.key_width()),
        ("v", 2 * hd, values, qkv, 2 * d.key_width()),
        ("z", 2 * hd + values, values, z, 0),
    ];
    for (name, from, rows, target, channel) in parts {
        let source = ctx.b.slice(mixed, 0, from, rows);
        let width = ctx.b.ne(target)[0];
        let layout = Layout {
            dtype: deltascope_kernels::DType::F32,
            ne: [rows, hk, t, s],
            nb: [4, 4 * rows, 4 * width, 4 * width * t],
        };
        let target = ctx.b.view(target, 4 * channel, layout);
        ctx.b.node_into(&format!("{prefix}.regroup_{name}"), Op::Cont, Params::None, &[source], &[target]);
    }
    (qkv, z)
}
