//! `gated_norm`: `rms_norm(x) * w * silu(z)`, on the heads that the delta rule gives.

use super::{check_weight, cuda, eps, reference_scale, row, scale_row, separate};
use crate::math::{Level, silu, sum_squares};
use crate::ops::by_rows::{ByRows, RowOp};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, DType, Layout, Op, Params, Variant};
use std::ops::Range;

/// The definition.
pub struct GatedNorm;

static FUSED: ByRows<GatedNorm> =
    ByRows::threaded("fused", "norm, weight and gate while the row is in cache, rows split over the threads");
static REFERENCE: Reference = Reference::new(Op::GatedNorm, &GatedNorm);
static VARIANTS: &[&dyn Variant] = &[&cuda::GATED_NORM, &FUSED, &separate::GATED_NORM, &REFERENCE];

impl OpDef for GatedNorm {
    fn op(&self) -> Op {
        Op::GatedNorm
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w", "z"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (x, z) = (&inputs[0], &inputs[2]);
        ShapeError::unless_f32(inputs)?;
        ShapeError::unless(x.ne == z.ne, || format!("x {x} and z {z} must have one shape"))?;
        check_weight(&inputs[1], x)?;
        Ok(vec![Layout::f32(x.ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, w, z, y) = (&call.inputs[0], &call.inputs[1], &call.inputs[2], &call.outputs[0]);
        for r in 0..x.layout.rows() {
            let [i1, i2, i3] = x.layout.row_index(r);
            // SAFETY: the index lies inside all three layouts, which have one shape; w has an element for each of a row.
            unsafe {
                let scale = reference_scale(x.ne(0), eps(call), true, |i0| x.get_f32([i0, i1, i2, i3]));
                for i0 in 0..x.ne(0) {
                    let at = [i0, i1, i2, i3];
                    let gate = z.get_f32(at) / (1.0 + (-z.get_f32(at)).exp());
                    y.set_f32(at, x.get_f32(at) * scale * w.get_f32([i0, 0, 0, 0]) * gate);
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let p = Params::Norm { eps: 1e-6 };
        [[1, 1, 1, 1], [39, 3, 2, 2], [128, 32, 1, 1], [128, 4, 5, 2]]
            .into_iter()
            .map(|ne| {
                let w = Input::weight(DType::F32, [ne[0], 1, 1, 1]);
                Case::new(format!("{ne:?}"), p, vec![Input::normal(ne), w, Input::normal(ne)])
            })
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

impl RowOp for GatedNorm {
    const OP: Op = Op::GatedNorm;
    const TOLERANCE: f32 = 1e-6;
    const REDUNDANT: bool = true;

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, w, z) = (&call.inputs[0], call.inputs[1].ptr.cast::<f32>(), &call.inputs[2]);
        let (y, eps, n) = (&call.outputs[0], eps(call), call.inputs[0].ne(0));
        for r in rows {
            let at = x.layout.row_index(r);
            // y may be x: no slice of x lives while y is written.
            // SAFETY: the row lies inside all three layouts, of one shape and contiguous rows; so has w.
            unsafe {
                let mean = sum_squares::<L>(x.row_f32(at[0], at[1], at[2])) / n as f32;
                scale_row::<L>(n, row(x, at), 1.0 / (mean + eps).sqrt(), Some(w), row(y, at));
                let gate = z.row_f32(at[0], at[1], at[2]);
                for (y, z) in y.row_f32_mut(at[0], at[1], at[2]).iter_mut().zip(gate) {
                    *y *= silu::<L>(*z);
                }
            }
        }
    }
}
