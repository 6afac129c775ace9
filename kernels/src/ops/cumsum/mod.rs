//! `cumsum`: running sum along dimension 0, of the log decays within a chunk.

mod cuda;

use super::by_rows::{ByRows, RowOp};
use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::math::Level;
use crate::{Call, Layout, Op, Params, TensorPtr, Variant};
use std::ops::Range;

/// The definition.
pub struct Cumsum;

static THREADED: ByRows<Cumsum> = ByRows::threaded("threaded", "rows split over the threads");
static SERIAL: ByRows<Cumsum> = ByRows::serial();
static REFERENCE: Reference = Reference::new(Op::Cumsum, &Cumsum);
static VARIANTS: &[&dyn Variant] = &[&cuda::WARP_ROW, &THREADED, &SERIAL, &REFERENCE];

impl OpDef for Cumsum {
    fn op(&self) -> Op {
        Op::Cumsum
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
        for row in 0..call.inputs[0].layout.rows() {
            // SAFETY: the contract is the same.
            unsafe { sum_along(&call.inputs[0], &call.outputs[0], row, 0.0f64, |s, x| s + f64::from(x), |s| s as f32) }
        }
    }

    fn cases(&self) -> Vec<Case> {
        [[1, 1, 1, 1], [7, 3, 2, 2], [64, 32, 5, 1], [300, 2, 1, 2]]
            .into_iter()
            .map(|ne| Case::new(format!("{ne:?}"), Params::None, vec![Input::uniform(ne, -3.0, 0.0)]))
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

impl RowOp for Cumsum {
    const OP: Op = Op::Cumsum;
    const TOLERANCE: f32 = 2e-6;
    const ANY_STRIDES: bool = true;

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        for row in rows {
            // SAFETY: the contract is the same.
            unsafe { sum_along(&call.inputs[0], &call.outputs[0], row, 0.0f32, |s, x| s + x, |s| s) }
        }
    }
}

/// Sums row `row` in a type `S`.
///
/// # Safety
/// As [`crate::Kernel::run`]; no other worker has the row.
#[inline(always)]
unsafe fn sum_along<S: Copy>(
    x: &TensorPtr,
    y: &TensorPtr,
    row: usize,
    mut sum: S,
    add: impl Fn(S, f32) -> S,
    round: impl Fn(S) -> f32,
) {
    let [i1, i2, i3] = x.layout.row_index(row);
    for i0 in 0..x.ne(0) {
        // SAFETY: the index lies inside both layouts, which have one shape.
        unsafe {
            sum = add(sum, x.get_f32([i0, i1, i2, i3]));
            y.set_f32([i0, i1, i2, i3], round(sum));
        }
    }
}
