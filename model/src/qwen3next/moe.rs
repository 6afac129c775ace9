//! A layer's experts: norm, router and choice, the chosen experts and the shared one.

use super::Ctx;
use crate::weights::{ExpertInput, LayerWeights};
use deltascope_kernels::{Op, Params, ValueId};

/// x and what the mixer adds to it, `[n_embd, n]` → their sum, and what the experts add to that.
pub(super) fn ffn(
    ctx: &mut Ctx<'_, '_>,
    prefix: &str,
    layer: &LayerWeights,
    x: ValueId,
    mixed: ValueId,
) -> (ValueId, ValueId) {
    let (w, m) = (&layer.moe, ctx.c.moe.clone());
    let (norm, router) = (ctx.weight(&layer.post_attention_norm), ctx.weight(&w.router));
    let params = Params::Router { eps: ctx.c.norm_eps, k: m.n_used };
    let routed = ctx.b.node(&format!("{prefix}.router"), Op::MoeRouter, params, &[x, mixed, norm, router]);
    let (sum, h) = (routed[0], routed[1]);
    let (gate, up) = match &w.experts {
        ExpertInput::Separate { gate, up } => (ctx.weight(gate), ctx.weight(up)),
        ExpertInput::Merged(both) => {
            let both = ctx.weight(both);
            (ctx.b.slice(both, 1, 0, m.n_ff), ctx.b.slice(both, 1, m.n_ff, m.n_ff))
        }
    };
    let rest = [&w.down, &w.shared_gate, &w.shared_up, &w.shared_down, &w.shared_router].map(|t| ctx.weight(t));
    let [down, shared_gate, shared_up, shared_down, shared_router] = rest;
    let inputs = [h, routed[2], routed[3], gate, up, down, shared_gate, shared_up, shared_down, shared_router];
    (sum, ctx.b.one(&format!("{prefix}.ffn"), Op::MoeFfn, Params::None, &inputs))
}
