//! `l2_norm`: `x / sqrt(Σ x² + ε)`, of queries and keys before the delta rule.

use super::{cuda, eps, reference_scale, row, scale_row};
use crate::math::{Level, sum_squares};
use crate::ops::by_rows::{ByRows, RowOp};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Layout, Op, Params, Variant};
use std::ops::Range;

/// The definition.
pub struct L2Norm;

static THREADED: ByRows<L2Norm> = ByRows::threaded("threaded", "rows split over the threads, in vectors");
static SERIAL: ByRows<L2Norm> = ByRows::serial();
static REFERENCE: Reference = Reference::new(Op::L2Norm, &L2Norm);
static VARIANTS: &[&dyn Variant] = &[&cuda::L2_NORM, &THREADED, &SERIAL, &REFERENCE];

impl OpDef for L2Norm {
    fn op(&self) -> Op {
        Op::L2Norm
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        Ok(vec![Layout::f32(inputs[0].ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for r in 0..x.layout.rows() {
            let [i1, i2, i3] = x.layout.row_index(r);
            // SAFETY: the index lies inside both layouts, which have one shape.
            unsafe {
                let scale = reference_scale(x.ne(0), eps(call), false, |i0| x.get_f32([i0, i1, i2, i3]));
                for i0 in 0..x.ne(0) {
                    y.set_f32([i0, i1, i2, i3], x.get_f32([i0, i1, i2, i3]) * scale);
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let p = Params::Norm { eps: 1e-6 };
        [[1, 1, 1, 1], [7, 3, 2, 2], [128, 16, 5, 1], [200, 2, 3, 2]]
            .into_iter()
            .map(|ne| Case::new(format!("{ne:?}"), p, vec![Input::normal(ne)]))
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

impl RowOp for L2Norm {
    const OP: Op = Op::L2Norm;
    const TOLERANCE: f32 = 1e-6;
    const REDUNDANT: bool = true;

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, y, eps) = (&call.inputs[0], &call.outputs[0], eps(call));
        for r in rows {
            let at = x.layout.row_index(r);
            // SAFETY: the row lies inside both layouts, which have one shape and contiguous rows.
            unsafe {
                let squares = sum_squares::<L>(x.row_f32(at[0], at[1], at[2]));
                scale_row::<L>(x.ne(0), row(x, at), 1.0 / (squares + eps).sqrt(), None, row(y, at));
            }
        }
    }
}
