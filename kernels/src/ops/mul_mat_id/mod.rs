//! `mul_mat_id`: each token times the matrices of its experts. Weights `[K, N, experts]` of any type, activations
//! `[K, n_used or 1, T]`, ids `[n_used, T]`; the result is `[N, n_used, T]`.

mod by_expert;
mod cuda;

use super::moe::{expert_bytes, id_of};
use super::mul_mat::{check_weight, dot, weight_row};
use super::multiply::{Dequant, Dot, Gemm, GemmAmx, GemmRows8, Rows8};
use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};
use by_expert::ByExpert;

/// The definition.
pub struct MulMatId;

static REFERENCE: Reference = Reference::new(Op::MulMatId, &MulMatId);
static ROWS8: ByExpert<Rows8> = ByExpert::new();
static GEMM_AMX: ByExpert<GemmAmx> = ByExpert::new();
static GEMM_ROWS8: ByExpert<GemmRows8> = ByExpert::new();
static GEMM: ByExpert<Gemm> = ByExpert::new();
static DOT: ByExpert<Dot> = ByExpert::new();
static DEQUANT: ByExpert<Dequant> = ByExpert::new();
static VARIANTS: &[&dyn Variant] = &[&cuda::DP4A, &GEMM_AMX, &ROWS8, &GEMM_ROWS8, &GEMM, &DOT, &DEQUANT, &REFERENCE];

impl OpDef for MulMatId {
    fn op(&self) -> Op {
        Op::MulMatId
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["w_exps", "x", "ids"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (w, x, ids) = (&inputs[0], &inputs[1], &inputs[2]);
        check_weight(w)?;
        ShapeError::unless_f32(&inputs[1..2])?;
        let [used, tokens, ..] = ids.ne;
        let fits = ids.dtype == DType::I32
            && ids.rows() == tokens
            && w.ne[3] == 1
            && (x.ne == [w.ne[0], 1, tokens, 1] || x.ne == [w.ne[0], used, tokens, 1]);
        ShapeError::unless(fits, || format!("w_exps {w}, x {x} and ids {ids} do not fit"))?;
        Ok(vec![Layout::f32([w.ne[1], used, tokens, 1])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let (w, x, ids, y) = (&inst.inputs[0], &inst.inputs[1], &inst.inputs[2], &inst.outputs[0]);
        let bytes = expert_bytes(w, ids) + (x.bytes() + ids.bytes() + y.bytes()) as f64;
        Cost { bytes, flops: 2.0 * w.ne[0] as f64 * y.elements() as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (w, x, ids, y) = (&call.inputs[0], &call.inputs[1], &call.inputs[2], &call.outputs[0]);
        for t in 0..ids.ne(1) {
            for u in 0..ids.ne(0) {
                // SAFETY: the index lies inside ids.
                let expert = unsafe { id_of(ids, u, t, w.ne(2)) };
                let xu = if x.ne(1) == 1 { 0 } else { u };
                for n in 0..w.ne(1) {
                    // SAFETY: the indices lie inside the tensors.
                    unsafe {
                        let row = weight_row(w, [n, expert, 0]);
                        y.set_f32([n, u, t, 0], dot(&row, |k| x.get_f32([k, xu, t, 0])));
                    }
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |dtype: DType, w: [usize; 3], per_token: usize, ids: [usize; 2]| {
            let x = Input::normal([w[0], per_token, ids[1], 1]);
            let w = Input::weight(dtype, [w[0], w[1], w[2], 1]);
            let ids = Input::i32([ids[0], ids[1], 1, 1], Fill::DistinctIds(w.layout.ne[2] as i32));
            Case::new(format!("{dtype} x {} ids {}", x.layout, ids.layout), Params::None, vec![w, x, ids])
        };
        vec![
            case(DType::IQ4_XS, [256, 40, 12], 1, [4, 1]),
            case(DType::Q6_K, [256, 24, 5], 3, [3, 9]),
            case(DType::Q8_0, [32, 16, 2], 1, [1, 60]),
            case(DType::F32, [19, 7, 4], 2, [2, 5]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}
