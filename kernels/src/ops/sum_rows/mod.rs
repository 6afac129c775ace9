//! `sum_rows`: the sum along dimension 0.
//!
//! A quarter of the time of a token in this model's first port, on one thread and after a `cont` of a transpose
//! (ik_llama.cpp#1266: 10.5 → 13.6 t/s with threads, 17.6 → 23.1 without the copy).

mod contiguous;
mod cuda;
mod strided;

use super::by_rows::ByRows;
use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Layout, Op, Params, Variant};

/// The definition.
pub struct SumRows;

static THREADED: ByRows<contiguous::Rows> =
    ByRows::threaded("threaded", "rows split over the threads; a transposed input is copied first");
static SERIAL: ByRows<contiguous::Rows> = ByRows::serial();
static REFERENCE: Reference = Reference::new(Op::SumRows, &SumRows);
static VARIANTS: &[&dyn Variant] =
    &[&cuda::STRIDED, &cuda::WARP_ROW, &strided::STRIDED, &THREADED, &SERIAL, &REFERENCE];

/// Rounding of a sum taken in another order.
const TOLERANCE: f32 = 2e-6;

impl OpDef for SumRows {
    fn op(&self) -> Op {
        Op::SumRows
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        let [_, n1, n2, n3] = inputs[0].ne;
        Ok(vec![Layout::f32([1, n1, n2, n3])])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for row in 0..x.layout.rows() {
            let [i1, i2, i3] = x.layout.row_index(row);
            // SAFETY: the indices lie inside x, and y has an element for each of its rows.
            unsafe {
                let sum: f64 = (0..x.ne(0)).map(|i0| f64::from(x.get_f32([i0, i1, i2, i3]))).sum();
                y.set_f32([0, i1, i2, i3], sum as f32);
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        [[1, 1, 1, 1], [7, 3, 2, 2], [128, 128, 3, 1], [33, 70, 2, 2], [2048, 3, 1, 1]]
            .into_iter()
            .map(|ne| Case::new(format!("{ne:?}"), Params::None, vec![Input::normal(ne)]))
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}
