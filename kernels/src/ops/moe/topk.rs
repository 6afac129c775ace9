//! `moe_topk`: the k most probable experts of each token and their weights, which sum to 1. Logits `[experts, T]`; ids
//! and weights `[k, T]`.

use super::cuda;
use crate::graph::{GraphBuilder, ValueId};
use crate::math::Level;
use crate::ops::by_rows::{ByRows, RowOp};
use crate::ops::ranking::{best, index};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::variant::{LoweringVariant, Spec, always};
use crate::{Backend, Call, Instance, Layout, Op, Params, Variant};
use std::ops::Range;

/// The definition.
pub struct MoeTopk;

static FUSED: ByRows<MoeTopk> = ByRows::threaded(
    "fused",
    "the k largest logits and a softmax over them, which is the same; tokens over the threads",
);
static SEPARATE: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::MoeTopk,
        name: "separate",
        revision: 1,
        backend: Backend::Cpu,
        summary: "softmax over all, top_k, get_rows, sum_rows, div",
        tunables: &[],
        tolerance: 1e-5,
    },
    supports: always,
    lower,
};
static REFERENCE: Reference = Reference::new(Op::MoeTopk, &MoeTopk);
static VARIANTS: &[&dyn Variant] = &[&cuda::TOPK, &FUSED, &SEPARATE, &REFERENCE];

impl OpDef for MoeTopk {
    fn op(&self) -> Op {
        Op::MoeTopk
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["logits"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        let [experts, tokens, ..] = inputs[0].ne;
        let &Params::TopK { k } = params else {
            return Err(ShapeError(format!("{params:?} has no k")));
        };
        let ok = (1..=experts).contains(&k) && inputs[0].rows() == tokens && i32::try_from(experts).is_ok();
        ShapeError::unless(ok, || format!("no {k} experts of logits {}", inputs[0]))?;
        Ok(vec![Layout::i32([k, tokens, 1, 1]), Layout::f32([k, tokens, 1, 1])])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (logits, ids, weights) = (&call.inputs[0], &call.outputs[0], &call.outputs[1]);
        for t in 0..logits.ne(1) {
            // SAFETY: the indices lie inside the layouts.
            unsafe {
                let row: Vec<f32> = (0..logits.ne(0)).map(|e| logits.get_f32([e, t, 0, 0])).collect();
                for (u, (e, p)) in most_probable(&row, ids.ne(0)).into_iter().enumerate() {
                    ids.set_i32([u, t, 0, 0], e as i32);
                    weights.set_f32([u, t, 0, 0], p);
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        [(512, 1, 10), (16, 7, 4), (5, 3, 5), (33, 4, 1)]
            .into_iter()
            .map(|(experts, tokens, k)| {
                let logits = Input::normal([experts, tokens, 1, 1]);
                Case::new(format!("{k} of {experts} for {tokens}"), Params::TopK { k }, vec![logits])
            })
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The k most probable experts and their shares of what they have together: the definition, summed in F64.
pub(super) fn most_probable(logits: &[f32], k: usize) -> Vec<(usize, f32)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let p: Vec<f64> = logits.iter().map(|&l| (f64::from(l) - f64::from(largest)).exp()).collect();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    let chosen: f64 = order[..k].iter().map(|&e| p[e]).sum();
    order[..k].iter().map(|&e| (e, (p[e] / chosen) as f32)).collect()
}

impl RowOp for MoeTopk {
    const OP: Op = Op::MoeTopk;
    const TOLERANCE: f32 = 1e-6;
    const ANY_STRIDES: bool = true;
    const REDUNDANT: bool = true;

    fn scratch(inst: &Instance) -> usize {
        inst.outputs[0].ne[0] * size_of::<u64>()
    }

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (logits, ids, weights) = (&call.inputs[0], &call.outputs[0], &call.outputs[1]);
        for t in rows {
            // SAFETY: logits, ids and weights have row t, which is this worker's own; keys hold indices of the row.
            unsafe {
                let best = best(logits, [t, 0, 0], ids.ne(0), call.scratch);
                let logit = |key| logits.get_f32([index(key) as usize, t, 0, 0]);
                let largest = logit(best[0]);
                let sum: f32 = best.iter().map(|&key| (logit(key) - largest).exp()).sum();
                for (u, &key) in best.iter().enumerate() {
                    ids.set_i32([u, t, 0, 0], index(key));
                    weights.set_f32([u, t, 0, 0], (logit(key) - largest).exp() / sum);
                }
            }
        }
    }
}

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let p = b.one("softmax", Op::Softmax, Params::Softmax { scale: 1.0, causal: false }, inputs);
    b.node_into("top_k", Op::TopK, inst.params, &[p], &outputs[..1]);
    // One row an expert, one table a token.
    let table = b.permute(p, [2, 0, 1, 3]);
    let chosen = b.one("get_rows", Op::GetRows, Params::None, &[table, outputs[0]]);
    let chosen = b.permute(chosen, [1, 2, 0, 3]);
    let sum = b.one("sum_rows", Op::SumRows, Params::None, &[chosen]);
    b.node_into("div", Op::Div, Params::None, &[chosen, sum], &outputs[1..]);
}
