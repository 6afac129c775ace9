//! `moe_ffn`: the routed experts' weighted sum and, times `sigmoid(w_shexp_gate . x)`, the shared expert: as
//! graphs, the history's of single ops and that of the fused halves, and on a GPU in two launches.

use super::{check_experts, check_ids, expert_bytes, id_of, two_launches};
use crate::graph::{GraphBuilder, ValueId};
use crate::ops::mul_mat::{dot, weight_row};
use crate::ops::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::variant::{LoweringVariant, Spec, always};
use crate::{Backend, Call, Cost, DType, Instance, Layout, Op, Params, TensorPtr, Variant};

/// The definition.
pub struct MoeFfn;

static FUSED: LoweringVariant = LoweringVariant {
    spec: spec("fused", "moe_up_gate and moe_down, the shared expert with swiglu and sigmoid_mul"),
    supports: always,
    lower: |_, inputs, outputs, b| fused(&Inputs::of(inputs), outputs[0], b),
};
static SEPARATE: LoweringVariant = LoweringVariant {
    spec: spec("separate", "mul_mat_id, silu, mul and an add for each expert of a token"),
    supports: always,
    lower: |_, inputs, outputs, b| separate(&Inputs::of(inputs), outputs[0], b),
};
static REFERENCE: Reference = Reference::new(Op::MoeFfn, &MoeFfn);
static VARIANTS: &[&dyn Variant] = &[&two_launches::TWO_LAUNCHES, &FUSED, &SEPARATE, &REFERENCE];

const fn spec(name: &'static str, summary: &'static str) -> Spec {
    // Two int8 products one after the other.
    Spec { op: Op::MoeFfn, name, revision: 1, backend: Backend::Cpu, summary, tunables: &[], tolerance: 4e-2 }
}

impl OpDef for MoeFfn {
    fn op(&self) -> Op {
        Op::MoeFfn
    }

    fn inputs(&self) -> &'static [&'static str] {
        &[
            "x",
            "ids",
            "weights",
            "gate_exps",
            "up_exps",
            "down_exps",
            "gate_shexp",
            "up_shexp",
            "down_shexp",
            "w_shexp_gate",
        ]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let &[x, ids, weights, gate, up, down, gate_sh, up_sh, down_sh, w] = inputs else {
            return Err(ShapeError(format!("{} inputs", inputs.len())));
        };
        ShapeError::unless_f32(&[x, weights, w])?;
        let [k, tokens, ..] = x.ne;
        ShapeError::unless(x.rows() == tokens, || format!("x {x} has more than two dimensions"))?;
        check_ids(&ids, tokens)?;
        ShapeError::unless(weights.ne == ids.ne, || format!("weights {weights} do not fit ids {ids}"))?;
        let [_, f, experts, _] = up.ne;
        check_experts(&gate, k, f, experts)?;
        check_experts(&up, k, f, experts)?;
        check_experts(&down, f, k, experts)?;
        check_experts(&gate_sh, k, up_sh.ne[1], 1)?;
        check_experts(&up_sh, k, up_sh.ne[1], 1)?;
        check_experts(&down_sh, up_sh.ne[1], k, 1)?;
        ShapeError::unless(w.ne == [k, 1, 1, 1], || format!("w_shexp_gate {w} is not [{k}]"))?;
        Ok(vec![Layout::f32([k, tokens, 1, 1])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let (x, ids, up, up_sh) = (&inst.inputs[0], &inst.inputs[1], &inst.inputs[4], &inst.inputs[7]);
        let routed: f64 = inst.inputs[3..6].iter().map(|w| expert_bytes(w, ids)).sum();
        let shared: f64 = inst.inputs[6..].iter().map(|w| w.bytes() as f64).sum();
        let bytes = routed + shared + (2 * x.bytes() + 2 * ids.bytes()) as f64;
        let per_token = (3 * (ids.ne[0] * up.ne[1] + up_sh.ne[1]) + 1) as f64 * x.ne[0] as f64;
        Cost { bytes, flops: 2.0 * per_token * x.ne[1] as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let [x, ids, weights, gate, up, down, gate_sh, up_sh, down_sh, w] = call.inputs else {
            unreachable!("ten inputs, as checked");
        };
        for t in 0..x.ne(1) {
            // SAFETY: the indices lie inside the tensors, as their shapes were checked.
            unsafe {
                let column = |k| x.get_f32([k, t, 0, 0]);
                let mut sum = vec![0.0f64; x.ne(0)];
                for u in 0..ids.ne(0) {
                    let expert = id_of(ids, u, t, up.ne(2));
                    let weight = weights.get_f32([u, t, 0, 0]);
                    add_expert([gate, up, down], expert, column, weight, &mut sum);
                }
                let gate = dot(&weight_row(w, [0; 3]), column);
                add_expert([gate_sh, up_sh, down_sh], 0, column, 1.0 / (1.0 + (-gate).exp()), &mut sum);
                for (k, v) in sum.into_iter().enumerate() {
                    call.outputs[0].set_f32([k, t, 0, 0], v as f32);
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |exps: DType, shexp: DType, [k, f, experts]: [usize; 3], [used, tokens]: [usize; 2]| {
            let inputs = vec![
                Input::normal([k, tokens, 1, 1]),
                Input::i32([used, tokens, 1, 1], Fill::DistinctIds(experts as i32)),
                Input::uniform([used, tokens, 1, 1], 0.05, 0.3),
                Input::weight(exps, [k, f, experts, 1]),
                Input::weight(exps, [k, f, experts, 1]),
                Input::weight(exps, [f, k, experts, 1]),
                Input::weight(shexp, [k, f, 1, 1]),
                Input::weight(shexp, [k, f, 1, 1]),
                Input::weight(shexp, [f, k, 1, 1]),
                Input::weight(DType::F32, [k, 1, 1, 1]),
            ];
            Case::new(format!("{exps} {shexp} {used} of {experts} for {tokens}"), Params::None, inputs)
        };
        vec![
            case(DType::F32, DType::F32, [40, 24, 6], [3, 5]),
            case(DType::Q8_0, DType::F16, [64, 32, 4], [1, 7]),
            case(DType::Q4_K, DType::Q6_K, [256, 256, 4], [2, 1]),
            case(DType::IQ4_XS, DType::IQ4_XS, [512, 256, 12], [10, 1]),
            case(DType::Q5_1, DType::Q8_0, [96, 160, 5], [3, 2]),
            case(DType::IQ4_NL, DType::Q4_1, [1088, 64, 6], [3, 2]),
            case(DType::Q6_K, DType::IQ4_XS, [1280, 256, 4], [2, 1]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }

    /// Nothing of the shared expert needs the routed ones, whose weights are what a GPU has no room for.
    fn stays(&self, part: &str) -> bool {
        part.starts_with("shared.") || part == "add"
    }
}

/// Adds `weight * W_down (silu(W_gate x) * (W_up x))`.
///
/// # Safety
/// The tensors are live and have the expert.
unsafe fn add_expert(
    [gate, up, down]: [&TensorPtr; 3],
    expert: usize,
    x: impl Fn(usize) -> f32 + Copy,
    weight: f32,
    sum: &mut [f64],
) {
    // SAFETY: the rows exist.
    let times = |w, row| dot(&unsafe { weight_row(w, [row, expert, 0]) }, x);
    let h: Vec<f32> = (0..up.ne(1))
        .map(|f| {
            let gate = times(gate, f);
            gate / (1.0 + (-gate).exp()) * times(up, f)
        })
        .collect();
    for (n, sum) in sum.iter_mut().enumerate() {
        // SAFETY: the row exists.
        let product = dot(&unsafe { weight_row(down, [n, expert, 0]) }, |f| h[f]);
        *sum += f64::from(weight) * f64::from(product);
    }
}

/// The inputs by name; experts and shared one: gate, up, down.
struct Inputs {
    x: ValueId,
    ids: ValueId,
    weights: ValueId,
    experts: [ValueId; 3],
    shared: [ValueId; 3],
    w_gate: ValueId,
}

impl Inputs {
    fn of(inputs: &[ValueId]) -> Inputs {
        let &[x, ids, weights, gate, up, down, gate_sh, up_sh, down_sh, w_gate] = inputs else {
            unreachable!("ten inputs, as checked");
        };
        Inputs { x, ids, weights, experts: [gate, up, down], shared: [gate_sh, up_sh, down_sh], w_gate }
    }
}

fn fused(i: &Inputs, y: ValueId, b: &mut GraphBuilder<'_>) {
    let [gate, up, down] = i.experts;
    let [gate_sh, up_sh, down_sh] = i.shared;
    // What needs no barrier between stands together: first everything that reads x.
    let h = b.one("up_gate", Op::MoeUpGate, Params::None, &[i.x, i.ids, gate, up]);
    let (g, u, s) = b.scoped("shared", |b| {
        let g = b.one("gate", Op::MulMat, Params::None, &[gate_sh, i.x]);
        let u = b.one("up", Op::MulMat, Params::None, &[up_sh, i.x]);
        (g, u, b.one("gate_logit", Op::MulMat, Params::None, &[i.w_gate, i.x]))
    });
    let h_sh = b.scoped("shared", |b| b.one("swiglu", Op::Swiglu, Params::None, &[g, u]));
    let routed = b.one("down", Op::MoeDown, Params::None, &[h, i.ids, i.weights, down]);
    let shared = b.scoped("shared", |b| {
        let d = b.one("down", Op::MulMat, Params::None, &[down_sh, h_sh]);
        b.one("sigmoid_mul", Op::SigmoidMul, Params::None, &[d, s])
    });
    b.node_into("add", Op::Add, Params::None, &[routed, shared], &[y]);
}

fn separate(i: &Inputs, y: ValueId, b: &mut GraphBuilder<'_>) {
    let [gate, up, down] = i.experts;
    // [K, 1, T]: the token's row for each of its experts.
    let x = b.permute(i.x, [0, 2, 1, 3]);
    let u = b.one("up", Op::MulMatId, Params::None, &[up, x, i.ids]);
    let g = b.one("gate", Op::MulMatId, Params::None, &[gate, x, i.ids]);
    let g = b.one("silu", Op::Silu, Params::None, &[g]);
    let h = b.one("mul", Op::Mul, Params::None, &[g, u]);
    let d = b.one("down", Op::MulMatId, Params::None, &[down, h, i.ids]);
    // [1, n_used, T].
    let weights = b.permute(i.weights, [2, 0, 1, 3]);
    let weighted = b.one("weighted", Op::Mul, Params::None, &[d, weights]);
    let slot = |b: &mut GraphBuilder<'_>, u: usize| {
        let one = b.slice(weighted, 1, u, 1);
        b.permute(one, [0, 2, 1, 3])
    };
    let mut routed = slot(b, 0);
    for u in 1..b.ne(i.ids)[0] {
        let next = slot(b, u);
        routed = b.one(&format!("add_{u}"), Op::Add, Params::None, &[routed, next]);
    }
    let shared = b.scoped("shared", |b| {
        let [gate, up, down] = i.shared;
        let u = b.one("up", Op::MulMat, Params::None, &[up, i.x]);
        let g = b.one("gate", Op::MulMat, Params::None, &[gate, i.x]);
        let g = b.one("silu", Op::Silu, Params::None, &[g]);
        let h = b.one("mul", Op::Mul, Params::None, &[g, u]);
        let d = b.one("down", Op::MulMat, Params::None, &[down, h]);
        let s = b.one("gate_logit", Op::MulMat, Params::None, &[i.w_gate, i.x]);
        let s = b.one("sigmoid", Op::Sigmoid, Params::None, &[s]);
        b.one("gated", Op::Mul, Params::None, &[d, s])
    });
    b.node_into("add", Op::Add, Params::None, &[routed, shared], &[y]);
}
