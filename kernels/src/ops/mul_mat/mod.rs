//! `mul_mat`: `W x`, the weight `[K, N, b2, b3]` of any type, activations `[K, T, B2, B3]`; planes of the weight are
//! shared by `B2 / b2` and `B3 / b3` neighbouring planes of activations, as key heads are by query heads.

mod bf16x3;
mod cuda;
mod dense;
mod gemv;
mod reference;
mod staged;
mod tensor;

use super::multiply::{Dequant, Dot, Gemm, GemmAmx, GemmRows8, Rows8};
use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};
use dense::Dense;
pub(super) use reference::{dot, weight_row};

/// The definition.
pub struct MulMat;

static REFERENCE: Reference = Reference::new(Op::MulMat, &MulMat);
static ROWS8: Dense<Rows8> = Dense::new();
static GEMM_AMX: Dense<GemmAmx> = Dense::new();
static GEMM_ROWS8: Dense<GemmRows8> = Dense::new();
static GEMM: Dense<Gemm> = Dense::new();
static DOT: Dense<Dot> = Dense::new();
static DEQUANT: Dense<Dequant> = Dense::new();
static VARIANTS: &[&dyn Variant] = &[
    &bf16x3::BF16X3,
    &tensor::TENSOR,
    &gemv::STRIPED,
    &staged::ONE_COLUMN,
    &cuda::DP4A,
    &GEMM_AMX,
    &ROWS8,
    &GEMM_ROWS8,
    &GEMM,
    &DOT,
    &DEQUANT,
    &REFERENCE,
];

impl OpDef for MulMat {
    fn op(&self) -> Op {
        Op::MulMat
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["w", "x"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (w, x) = (&inputs[0], &inputs[1]);
        check_weight(w)?;
        ShapeError::unless_f32(&inputs[1..])?;
        let planes = (2..4).all(|d| w.ne[d] > 0 && x.ne[d].is_multiple_of(w.ne[d]));
        ShapeError::unless(w.ne[0] == x.ne[0] && planes, || format!("w {w} does not multiply x {x}"))?;
        Ok(vec![Layout::f32([w.ne[1], x.ne[1], x.ne[2], x.ne[3]])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let io = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum();
        Cost { bytes: io, flops: 2.0 * inst.inputs[0].ne[0] as f64 * inst.outputs[0].elements() as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::mul_mat(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |dtype: DType, w: [usize; 4], x: [usize; 4]| {
            Case::new(format!("{dtype} {w:?} x {x:?}"), Params::None, vec![Input::weight(dtype, w), Input::normal(x)])
        };
        let blocks = crate::quant::BLOCK_TYPES.map(|t| case(t, [256, 24, 1, 1], [256, 5, 1, 1]));
        let more = [
            case(DType::Q4_K, [512, 40, 1, 1], [512, 1, 1, 1]),
            case(DType::IQ4_XS, [256, 32, 1, 1], [256, 150, 1, 1]),
            case(DType::Q6_K, [256, 40, 1, 1], [256, 70, 8, 1]),
            case(DType::Q8_0, [64, 9, 2, 1], [64, 13, 4, 2]),
            case(DType::BF16, [70, 5, 1, 1], [70, 3, 1, 1]),
            case(DType::F32, [300, 1, 1, 1], [300, 14, 1, 1]),
            case(DType::F32, [67, 37, 2, 1], [67, 4, 4, 3]),
            case(DType::F32, [172, 140, 1, 1], [172, 70, 2, 1]),
            case(DType::F16, [64, 19, 2, 1], [64, 3, 8, 1]),
            case(DType::F16, [33, 64, 2, 2], [33, 14, 4, 2]),
        ];
        blocks.into_iter().chain(more).collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// A weight's type and rows.
pub(super) fn check_weight(w: &Layout) -> Result<(), ShapeError> {
    let floats =
        crate::quant::activation_for(w.dtype).is_some() || matches!(w.dtype, DType::F32 | DType::F16 | DType::BF16);
    ShapeError::unless(floats, || format!("{w} is no weight"))?;
    ShapeError::unless(!w.dtype.is_quantised() || w.has_contiguous_rows(), || format!("blocks of {w:?} are apart"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Outcome, Tensor, compare, fill, run_reference, run_variant};
    use crate::ops::Fill;
    use crate::plan::Defaults;
    use crate::pool::Pool;
    use crate::{Backend, Buffer, Tunables, ops};

    fn tensor(layout: Layout, deviation: f32, seed: u64) -> Tensor {
        Tensor { layout, data: fill(&layout, Fill::Normal(deviation), seed) }
    }

    fn inputs(dtype: DType, [k, n, tokens]: [usize; 3]) -> [Tensor; 2] {
        [tensor(Layout::contiguous(dtype, [k, n, 1, 1]), 0.1, 1), tensor(Layout::f32([k, tokens, 1, 1]), 1.0, 2)]
    }

    fn run(name: &str, inputs: &[Tensor]) -> Outcome {
        let v = ops::variant(Op::MulMat, Backend::Cpu, name).unwrap();
        let tunables = Tunables::defaults(v.spec().tunables);
        run_variant(&mut Pool::new(2), v, &tunables, Params::None, inputs, None, &Defaults).unwrap()
    }

    /// The logits of the published test models are met within 4e-5 only if F32 weights are never rounded.
    #[test]
    fn f32_weights_are_multiplied_to_a_millionth_and_alike_for_any_number_of_tokens() {
        for tokens in [1, 3, 40] {
            let inputs = inputs(DType::F32, [2048 + 39, 37, tokens]);
            let want = run_reference(&mut Pool::new(1), Op::MulMat, Params::None, &inputs).unwrap();
            let dot = run("dot", &inputs);
            for name in ["dot", "gemm", "dequant"] {
                let got = run(name, &inputs);
                assert!(compare(&want, &got).relative < 1e-6, "{name}: {:?}", compare(&want, &got));
                if crate::cpu::Isa::detect().avx2().is_some() {
                    assert!(!compare(&dot, &got).bits_differ, "{name} at {tokens} tokens");
                }
            }
        }
    }

    #[test]
    fn int8_products_are_the_same_bits_whatever_is_taken_at_a_time() {
        for dtype in crate::quant::BLOCK_TYPES {
            for tokens in [1, 2, 7, 13, 70] {
                let inputs = inputs(dtype, [512, 24, tokens]);
                let dot = run("dot", &inputs);
                let amx = crate::cpu::Isa::detect().amx().map(|_| "gemm_amx");
                for name in ["rows8", "gemm", "gemm_rows8"].into_iter().chain(amx) {
                    assert!(!compare(&dot, &run(name, &inputs)).bits_differ, "{dtype} {name} at {tokens} tokens");
                }
            }
        }
    }

    #[test]
    fn planes_of_a_cache_are_shared_by_neighbouring_heads() {
        // Two key heads of one cell, two query heads for each.
        let w = Tensor { layout: Layout::f32([1, 1, 2, 1]), data: Buffer::from_f32(&[10.0, 100.0]) };
        let x = Tensor { layout: Layout::f32([1, 1, 4, 1]), data: Buffer::from_f32(&[1.0, 2.0, 3.0, 4.0]) };
        for name in ["dot", "gemm", "dequant", "reference"] {
            let got = run(name, &[w.clone(), x.clone()]);
            assert_eq!(got.outputs[0].data.as_f32(), [10.0, 20.0, 300.0, 400.0], "{name}");
        }
    }
}
