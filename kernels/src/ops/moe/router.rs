//! `moe_router`: the residual `sum = x + delta`, its norm `h`, the router's product with it, and the k most probable
//! experts with their weights. x and delta `[K, T]`, router weights `[K, experts]`; sum and h are `[K, T]`, ids and weights
//! `[k, T]`.

use super::{router_cuda, topk};
use crate::graph::{GraphBuilder, ValueId};
use crate::ops::mul_mat::{check_weight, dot, weight_row};
use crate::ops::norms::{AddRmsNorm, reference_scale};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::variant::{LoweringVariant, Spec, always};
use crate::{Backend, Call, Cost, DType, Instance, Layout, Op, Params, Variant};

/// The definition.
pub struct MoeRouter;

static SEPARATE: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::MoeRouter,
        name: "separate",
        revision: 1,
        backend: Backend::Cpu,
        summary: "add_rms_norm, mul_mat, moe_topk",
        tunables: &[],
        tolerance: TOLERANCE,
    },
    supports: always,
    lower,
};
static REFERENCE: Reference = Reference::new(Op::MoeRouter, &MoeRouter);
static VARIANTS: &[&dyn Variant] = &[&router_cuda::FUSED, &SEPARATE, &REFERENCE];

/// Weights are exponentials of sums in single precision.
pub(super) const TOLERANCE: f32 = 2e-5;

/// ε of the norm and number of experts.
pub(super) fn params(params: &Params) -> Result<(f32, usize), ShapeError> {
    match *params {
        Params::Router { eps, k } => Ok((eps, k)),
        other => Err(ShapeError(format!("parameters are {other:?}"))),
    }
}

impl OpDef for MoeRouter {
    fn op(&self) -> Op {
        Op::MoeRouter
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x", "delta", "w_norm", "w_router"]
    }

    fn infer(&self, all: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (_, k) = params(all)?;
        let &[x, delta, norm, router] = inputs else {
            return Err(ShapeError(format!("{} inputs", inputs.len())));
        };
        let normed = AddRmsNorm.infer(&Params::None, &[x, delta, norm])?;
        let [width, tokens, ..] = x.ne;
        ShapeError::unless(x.rows() == tokens, || format!("x {x} has more than two dimensions"))?;
        check_weight(&router)?;
        let experts = router.ne[1];
        ShapeError::unless(router.ne == [width, experts, 1, 1], || format!("router {router} does not multiply {x}"))?;
        let ok = (1..=experts).contains(&k) && i32::try_from(experts).is_ok();
        ShapeError::unless(ok, || format!("no {k} of {experts} experts"))?;
        let chosen = [k, tokens, 1, 1];
        Ok(normed.into_iter().chain([Layout::i32(chosen), Layout::f32(chosen)]).collect())
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let io = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum();
        Cost { bytes: io, flops: 2.0 * inst.inputs[3].elements() as f64 * inst.inputs[0].ne[1] as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let ([x, delta, norm, router], [sum, h, ids, weights]) = (call.inputs, call.outputs) else {
            unreachable!("four inputs and four outputs, as checked");
        };
        let Ok((eps, k)) = params(&call.inst.params) else { unreachable!("as checked") };
        for t in 0..x.ne(1) {
            // SAFETY: the indices lie inside the tensors, as their shapes were checked.
            unsafe {
                for i in 0..x.ne(0) {
                    sum.set_f32([i, t, 0, 0], x.get_f32([i, t, 0, 0]) + delta.get_f32([i, t, 0, 0]));
                }
                let scale = reference_scale(x.ne(0), eps, true, |i| sum.get_f32([i, t, 0, 0]));
                for i in 0..x.ne(0) {
                    h.set_f32([i, t, 0, 0], sum.get_f32([i, t, 0, 0]) * scale * norm.get_f32([i, 0, 0, 0]));
                }
                let logits: Vec<f32> = (0..router.ne(1))
                    .map(|e| dot(&weight_row(router, [e, 0, 0]), |i| h.get_f32([i, t, 0, 0])))
                    .collect();
                for (u, (e, p)) in topk::most_probable(&logits, k).into_iter().enumerate() {
                    ids.set_i32([u, t, 0, 0], e as i32);
                    weights.set_f32([u, t, 0, 0], p);
                }
            }
        }
    }

    /// Only types whose products are in single precision: with int8 activations experts of nearly one logit may change
    /// places, which no tolerance can tell from an error.
    fn cases(&self) -> Vec<Case> {
        let case = |dtype: DType, [width, experts, k, tokens]: [usize; 4]| {
            let inputs = vec![
                Input::normal([width, tokens, 1, 1]),
                Input::normal([width, tokens, 1, 1]),
                Input::uniform([width, 1, 1, 1], 0.5, 1.5),
                Input::weight(dtype, [width, experts, 1, 1]),
            ];
            let name = format!("{dtype} {k} of {experts} at {width} for {tokens}");
            Case::new(name, Params::Router { eps: 1e-6, k }, inputs)
        };
        vec![
            case(DType::F32, [2048, 512, 10, 1]),
            case(DType::F32, [64, 16, 4, 7]),
            case(DType::F32, [36, 5, 5, 1]),
            case(DType::F32, [39, 6, 2, 1]),
            case(DType::F16, [40, 33, 6, 1]),
            case(DType::BF16, [1200, 70, 40, 1]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let Ok((eps, k)) = params(&inst.params) else { unreachable!("as checked") };
    b.node_into("norm", Op::AddRmsNorm, Params::Norm { eps }, &inputs[..3], &outputs[..2]);
    let logits = b.one("logits", Op::MulMat, Params::None, &[inputs[3], outputs[1]]);
    b.node_into("top_k", Op::MoeTopk, Params::TopK { k }, &[logits], &outputs[2..]);
}
