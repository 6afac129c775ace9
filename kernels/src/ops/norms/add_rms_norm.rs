//! `add_rms_norm`: the residual `sum = a + b` and `rms_norm(sum) * w`, two outputs.

use super::{check_weight, cuda, eps, reference_scale, row, scale_row, separate};
use crate::math::{Lanes, Level, sum_squares};
use crate::ops::by_rows::{ByRows, RowOp};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, DType, Layout, Op, Params, Variant};
use std::ops::Range;

/// The definition.
pub struct AddRmsNorm;

static FUSED: ByRows<AddRmsNorm> =
    ByRows::threaded("fused", "sum and norm while the row is in cache, rows split over the threads");
static REFERENCE: Reference = Reference::new(Op::AddRmsNorm, &AddRmsNorm);
static VARIANTS: &[&dyn Variant] = &[&cuda::ADD_RMS_NORM, &FUSED, &separate::ADD_RMS_NORM, &REFERENCE];

impl OpDef for AddRmsNorm {
    fn op(&self) -> Op {
        Op::AddRmsNorm
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b", "w"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (a, b) = (&inputs[0], &inputs[1]);
        ShapeError::unless_f32(inputs)?;
        ShapeError::unless(a.ne == b.ne, || format!("{a} and {b} must have one shape"))?;
        check_weight(&inputs[2], a)?;
        Ok(vec![Layout::f32(a.ne); 2])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let ([a, b, w], [sum, y]) = (call.inputs, call.outputs) else {
            unreachable!("three inputs and two outputs, as checked");
        };
        for r in 0..a.layout.rows() {
            let [i1, i2, i3] = a.layout.row_index(r);
            // SAFETY: the index lies inside all four layouts, which have one shape; w has an element for each of a row.
            unsafe {
                for i0 in 0..a.ne(0) {
                    let at = [i0, i1, i2, i3];
                    sum.set_f32(at, a.get_f32(at) + b.get_f32(at));
                }
                let scale = reference_scale(a.ne(0), eps(call), true, |i0| sum.get_f32([i0, i1, i2, i3]));
                for i0 in 0..a.ne(0) {
                    let at = [i0, i1, i2, i3];
                    y.set_f32(at, sum.get_f32(at) * scale * w.get_f32([i0, 0, 0, 0]));
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let p = Params::Norm { eps: 1e-6 };
        [[1, 1, 1, 1], [39, 3, 2, 2], [2048, 1, 1, 1], [256, 7, 2, 1]]
            .into_iter()
            .map(|ne| {
                let w = Input::weight(DType::F32, [ne[0], 1, 1, 1]);
                Case::new(format!("{ne:?}"), p, vec![Input::normal(ne), Input::normal(ne), w])
            })
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

impl RowOp for AddRmsNorm {
    const OP: Op = Op::AddRmsNorm;
    const TOLERANCE: f32 = 1e-6;
    const REDUNDANT: bool = true;

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (a, b, w) = (&call.inputs[0], &call.inputs[1], call.inputs[2].ptr.cast::<f32>());
        let (sum, y, eps, n) = (&call.outputs[0], &call.outputs[1], eps(call), call.inputs[0].ne(0));
        for r in rows {
            let at = a.layout.row_index(r);
            // The sum may be a: no slice of it lives while it is written.
            // SAFETY: the row lies inside all four layouts, of one shape and contiguous rows; so has w.
            unsafe {
                add_row::<L>(n, row(a, at), row(b, at), row(sum, at));
                let mean = sum_squares::<L>(sum.row_f32(at[0], at[1], at[2])) / n as f32;
                scale_row::<L>(n, row(sum, at), 1.0 / (mean + eps).sqrt(), Some(w), row(y, at));
            }
        }
    }
}

/// `y = a + b`. y may be a.
///
/// # Safety
/// `n` live F32 at each address, those at `y` this worker's own; the level's features.
#[inline(always)]
unsafe fn add_row<L: Level>(n: usize, a: *const f32, b: *const f32, y: *mut f32) {
    let whole = n - n % L::V::N;
    // SAFETY: all indices are below `n`; each element is read before it is written. Features: by the caller.
    unsafe {
        for i in (0..whole).step_by(L::V::N) {
            L::V::load(a.add(i)).add(L::V::load(b.add(i))).store(y.add(i));
        }
        for i in whole..n {
            y.add(i).write(a.add(i).read() + b.add(i).read());
        }
    }
}
