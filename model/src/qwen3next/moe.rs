//! A layer's experts: router, top-k, the chosen experts and the shared one.

use super::Ctx;
use crate::weights::{ExpertInput, MoeWeights};
use deltascope_kernels::{Op, Params, ValueId};

/// h `[n_embd, n]` → `[n_embd, n]`.
pub(super) fn ffn(ctx: &mut Ctx<'_, '_>, prefix: &str, w: &MoeWeights, h: ValueId) -> ValueId {
    let m = ctx.c.moe.clone();
    let logits = ctx.mul_mat(&format!("{prefix}.router"), &w.router, h);
    let top = ctx.b.node(&format!("{prefix}.top_k"), Op::MoeTopk, Params::TopK { k: m.n_used }, &[logits]);
    let (gate, up) = match &w.experts {
        ExpertInput::Separate { gate, up } => (ctx.weight(gate), ctx.weight(up)),
        ExpertInput::Merged(both) => {
            let both = ctx.weight(both);
            (ctx.b.slice(both, 1, 0, m.n_ff), ctx.b.slice(both, 1, m.n_ff, m.n_ff))
        }
    };
    let rest = [&w.down, &w.shared_gate, &w.shared_up, &w.shared_down, &w.shared_router].map(|t| ctx.weight(t));
    let [down, shared_gate, shared_up, shared_down, shared_router] = rest;
    let inputs = [h, top[0], top[1], gate, up, down, shared_gate, shared_up, shared_down, shared_router];
    ctx.b.one(&format!("{prefix}.ffn"), Op::MoeFfn, Params::None, &inputs)
}
