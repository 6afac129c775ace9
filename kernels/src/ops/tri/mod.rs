//! `tri`: a square matrix with zeros above the diagonal, or on it too. Rows are dimension 1, columns dimension 0.

mod cuda;

use super::by_rows::{ByRows, RowOp};
use super::copy::copy_elements;
use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::math::Level;
use crate::{Call, Layout, Op, Params, Triangle, Variant};
use std::ops::Range;

/// The definition.
pub struct Tri;

static THREADED: ByRows<Tri> = ByRows::threaded("threaded", "rows split over the threads");
static SERIAL: ByRows<Tri> = ByRows::serial();
static REFERENCE: Reference = Reference::new(Op::Tri, &Tri);
static VARIANTS: &[&dyn Variant] = &[&cuda::ELEMENTS, &THREADED, &SERIAL, &REFERENCE];

impl OpDef for Tri {
    fn op(&self) -> Op {
        Op::Tri
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        ShapeError::unless(matches!(params, Params::Tri { .. }), || format!("tri with {params:?}"))?;
        let ne = inputs[0].ne;
        ShapeError::unless(ne[0] == ne[1], || format!("{} is not square", inputs[0]))?;
        Ok(vec![Layout::f32(ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for row in 0..x.layout.rows() {
            let [i1, i2, i3] = x.layout.row_index(row);
            let kept = kept(call, i1);
            for i0 in 0..x.ne(0) {
                let at = [i0, i1, i2, i3];
                // SAFETY: the index lies inside both layouts, which have one shape.
                unsafe { y.set_f32(at, if i0 < kept { x.get_f32(at) } else { 0.0 }) }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case =
            |ne: [usize; 4], keep| Case::new(format!("{keep:?} {ne:?}"), Params::Tri { keep }, vec![Input::normal(ne)]);
        vec![
            case([1, 1, 1, 1], Triangle::Lower),
            case([1, 1, 1, 1], Triangle::StrictlyLower),
            case([7, 7, 2, 3], Triangle::Lower),
            case([7, 7, 2, 3], Triangle::StrictlyLower),
            case([64, 64, 4, 1], Triangle::StrictlyLower),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// How many columns of a row are kept.
#[inline(always)]
fn kept(call: &Call<'_>, row: usize) -> usize {
    match call.inst.params {
        Params::Tri { keep: Triangle::Lower } => row + 1,
        Params::Tri { keep: Triangle::StrictlyLower } => row,
        other => unreachable!("`tri` with {other:?}"),
    }
}

impl RowOp for Tri {
    const OP: Op = Op::Tri;
    const TOLERANCE: f32 = 0.0;
    const ANY_STRIDES: bool = true;

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for row in rows {
            let [i1, i2, i3] = x.layout.row_index(row);
            let kept = kept(call, i1);
            // SAFETY: the row lies inside both layouts, which have one shape; `kept` is at most its length.
            unsafe {
                copy_elements(x.row_ptr(i1, i2, i3), x.nb(0), y.row_ptr(i1, i2, i3), y.nb(0), kept);
                for i0 in kept..y.ne(0) {
                    y.set_f32([i0, i1, i2, i3], 0.0);
                }
            }
        }
    }
}
