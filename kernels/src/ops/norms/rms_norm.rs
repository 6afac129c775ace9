//! `rms_norm`: `x / sqrt(mean x² + ε)`, times a weight if there is one.

use super::{check_weight, cuda, eps, reference_scale, row, scale_row, separate};
use crate::math::{Level, sum_squares};
use crate::ops::by_rows::{ByRows, RowOp};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, DType, Layout, Op, Params, Variant};
use std::ops::Range;

/// The definition.
pub struct RmsNorm;

static FUSED: ByRows<RmsNorm> = ByRows::threaded("fused", "norm and weight in one pass, rows split over the threads");
static REFERENCE: Reference = Reference::new(Op::RmsNorm, &RmsNorm);
static VARIANTS: &[&dyn Variant] = &[&cuda::RMS_NORM, &FUSED, &separate::RMS_NORM, &REFERENCE];

impl OpDef for RmsNorm {
    fn op(&self) -> Op {
        Op::RmsNorm
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x", "w?"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        if let Some(w) = inputs.get(1) {
            check_weight(w, &inputs[0])?;
        }
        Ok(vec![Layout::f32(inputs[0].ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, w, y) = (&call.inputs[0], call.inputs.get(1), &call.outputs[0]);
        for r in 0..x.layout.rows() {
            let [i1, i2, i3] = x.layout.row_index(r);
            // SAFETY: the index lies inside both layouts, which have one shape; w has an element for each of a row.
            unsafe {
                let scale = reference_scale(x.ne(0), eps(call), true, |i0| x.get_f32([i0, i1, i2, i3]));
                for i0 in 0..x.ne(0) {
                    let v = x.get_f32([i0, i1, i2, i3]) * scale;
                    y.set_f32([i0, i1, i2, i3], w.map_or(v, |w| v * w.get_f32([i0, 0, 0, 0])));
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let p = Params::Norm { eps: 1e-6 };
        let w = |n| Input::weight(DType::F32, [n, 1, 1, 1]);
        vec![
            Case::new("no weight", p, vec![Input::normal([33, 3, 2, 2])]),
            Case::new("one", p, vec![Input::normal([1, 1, 1, 1]), w(1)]),
            Case::new("odd", p, vec![Input::normal([39, 3, 2, 2]), w(39)]),
            Case::new("heads", p, vec![Input::normal([256, 16, 3, 1]), w(256)]),
            Case::new("trunk", p, vec![Input::normal([2048, 2, 1, 1]), w(2048)]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

impl RowOp for RmsNorm {
    const OP: Op = Op::RmsNorm;
    const TOLERANCE: f32 = 1e-6;
    const REDUNDANT: bool = true;

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, y, eps) = (&call.inputs[0], &call.outputs[0], eps(call));
        let w = call.inputs.get(1).map(|w| w.ptr.cast::<f32>().cast_const());
        for r in rows {
            let at = x.layout.row_index(r);
            // SAFETY: the row lies inside both layouts, which have one shape and contiguous rows; so has w.
            unsafe {
                let mean = sum_squares::<L>(x.row_f32(at[0], at[1], at[2])) / x.ne(0) as f32;
                scale_row::<L>(x.ne(0), row(x, at), 1.0 / (mean + eps).sqrt(), w, row(y, at));
            }
        }
    }
}
