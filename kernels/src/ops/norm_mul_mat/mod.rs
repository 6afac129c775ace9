//! `norm_mul_mat`: what a layer's projections make of the trunk, `W rms_norm(x + delta)` for one to four W.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | x | `[K, T, ..]` | F32 |
//! | norm | `[K]` | the norm's weight, F32 |
//! | w1 … w4 | `[K, N]` | each of a type and a number of rows of its own; constants |
//! | delta | as x | comes last, if [`Params::NormMulMat`] says so |
//! | sum | as x | `x + delta`, only where there is a delta |
//! | y1 … y4 | `[N, T, ..]` | `w rms_norm(sum)` |

mod fused;
mod reference;
mod separate;

use super::mul_mat::check_weight;
use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};

/// The definition.
pub struct NormMulMat;

static REFERENCE: Reference = Reference::new(Op::NormMulMat, &NormMulMat);
static VARIANTS: &[&dyn Variant] = &[&fused::FUSED, &separate::SEPARATE, &REFERENCE];

/// Numbers of input tensors.
const X: usize = 0;
const NORM: usize = 1;
const FIRST: usize = 2;
/// Error bound of the variants: int8 activations, of rows whose largest elements a norm's weights make larger.
const TOLERANCE: f32 = 2.5e-2;
/// Matrices at most.
const MOST: usize = 4;

impl OpDef for NormMulMat {
    fn op(&self) -> Op {
        Op::NormMulMat
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x", "norm", "w1", "w2?", "w3?", "w4?", "delta?"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let &Params::NormMulMat { residual, .. } = params else {
            return Err(ShapeError(format!("parameters are {params:?}")));
        };
        let x = &inputs[X];
        let n = inputs.len().saturating_sub(FIRST + usize::from(residual));
        ShapeError::unless((1..=MOST).contains(&n), || format!("{n} matrices"))?;
        ShapeError::unless_f32(&inputs[..FIRST])?;
        ShapeError::unless(inputs[NORM].ne == [x.ne[0], 1, 1, 1], || format!("{} norms no rows of {x}", inputs[NORM]))?;
        let mut outputs = Vec::with_capacity(n + 1);
        if residual {
            let delta = &inputs[FIRST + n];
            ShapeError::unless_f32(std::slice::from_ref(delta))?;
            ShapeError::unless(delta.ne == x.ne, || format!("{delta} is not added to {x}"))?;
            outputs.push(Layout::f32(x.ne));
        }
        for w in &inputs[FIRST..FIRST + n] {
            check_weight(w)?;
            let fits = w.ne[0] == x.ne[0] && w.ne[2..] == [1, 1];
            ShapeError::unless(fits, || format!("w {w} does not multiply x {x}"))?;
            outputs.push(Layout::f32([w.ne[1], x.ne[1], x.ne[2], x.ne[3]]));
        }
        Ok(outputs)
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let io = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum();
        let products: usize = products(inst).iter().map(Layout::elements).sum();
        Cost { bytes: io, flops: 2.0 * inst.inputs[X].ne[0] as f64 * products as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::norm_mul_mat(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |name: &str, residual: bool, x: [usize; 4], weights: &[(DType, usize)]| {
            let mut inputs = vec![Input::normal(x), Input::normal([x[0], 1, 1, 1])];
            inputs.extend(weights.iter().map(|&(dtype, rows)| Input::weight(dtype, [x[0], rows, 1, 1])));
            inputs.extend(residual.then(|| Input::normal(x)));
            Case::new(name, Params::NormMulMat { eps: 1e-6, residual }, inputs)
        };
        use DType::{BF16, F16, F32, IQ4_XS, Q4_K, Q5_1, Q6_K, Q8_0};
        vec![
            case("token, mixed types", true, [256, 1, 1, 1], &[(IQ4_XS, 40), (Q4_K, 24), (Q6_K, 9), (Q8_0, 33)]),
            case("token, plain types", false, [256, 1, 1, 1], &[(F32, 6), (BF16, 5), (IQ4_XS, 64), (F16, 7)]),
            case("token, model's width", true, [2048, 1, 1, 1], &[(IQ4_XS, 70), (F32, 8)]),
            case("tokens, one matrix", true, [512, 5, 1, 1], &[(Q6_K, 37)]),
            case("sequences, short rows", false, [96, 2, 3, 1], &[(Q5_1, 19), (F32, 3)]),
            case("odd rows", true, [39, 3, 1, 1], &[(F32, 5), (BF16, 2)]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// ε, and whether there is a delta.
fn params(inst: &Instance) -> (f32, bool) {
    match inst.params {
        Params::NormMulMat { eps, residual } => (eps, residual),
        other => unreachable!("`norm_mul_mat` with {other:?}"),
    }
}

/// The matrices.
fn weights(inst: &Instance) -> &[Layout] {
    &inst.inputs[FIRST..inst.inputs.len() - usize::from(params(inst).1)]
}

/// The products, without the sum.
fn products(inst: &Instance) -> &[Layout] {
    &inst.outputs[usize::from(params(inst).1)..]
}
