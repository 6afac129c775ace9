//! `solve_tri`: X with `A X = B` for a unit lower triangular A, by forward substitution.
//!
//! A is `[n, n, b, c]`, row `i1`, column `i0`; only what lies below the diagonal is read, which counts as 1. B and X are
//! `[m, n, b, c]`: row `i1` of B is the right side of equation `i1`, for m systems at once.

mod by_columns;
mod cuda;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::ops::Fill;
use crate::{Call, Layout, Op, Params, Variant};
use by_columns::ByColumns;

/// The definition.
pub struct SolveTri;

static THREADED: ByColumns = ByColumns::threaded();
static SERIAL: ByColumns = ByColumns::serial();
static REFERENCE: Reference = Reference::new(Op::SolveTri, &SolveTri);
static VARIANTS: &[&dyn Variant] = &[&cuda::THREAD_COLUMN, &THREADED, &SERIAL, &REFERENCE];

impl OpDef for SolveTri {
    fn op(&self) -> Op {
        Op::SolveTri
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 1)]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (a, b) = (&inputs[0], &inputs[1]);
        ShapeError::unless_f32(inputs)?;
        ShapeError::unless(a.ne[0] == a.ne[1], || format!("a {a} is not square"))?;
        ShapeError::unless(a.ne[1..] == b.ne[1..], || format!("b {b} has not the rows and batch of a {a}"))?;
        Ok(vec![Layout::f32(b.ne)])
    }

    fn cost(&self, inst: &crate::Instance) -> crate::Cost {
        let [n, _, b, c] = inst.inputs[0].ne;
        let bytes = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum();
        crate::Cost { bytes, flops: (n * n.saturating_sub(1) * inst.inputs[1].ne[0] * b * c) as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (a, b, x) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        for row in 0..x.layout.rows() {
            // Rows rise within a matrix: those above are solved.
            let [i1, i2, i3] = x.layout.row_index(row);
            for i0 in 0..x.ne(0) {
                // SAFETY: all indices lie inside the layouts, whose rows and batch are the same.
                unsafe {
                    let above = (0..i1)
                        .map(|j| f64::from(a.get_f32([j, i1, i2, i3])) * f64::from(x.get_f32([i0, j, i2, i3])))
                        .sum::<f64>();
                    let at = [i0, i1, i2, i3];
                    x.set_f32(at, (f64::from(b.get_f32(at)) - above) as f32);
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        // Entries around 0.1, so that the solution does not grow without bound.
        let case = |m: usize, n: usize, b: usize, c: usize| {
            let mut a = Input::normal([n, n, b, c]);
            a.fill = Fill::Normal(0.1);
            Case::new(format!("{m} of {n} × {b} × {c}"), Params::None, vec![a, Input::normal([m, n, b, c])])
        };
        vec![case(1, 1, 1, 1), case(3, 7, 2, 3), case(53, 16, 3, 1), case(128, 64, 2, 1), case(64, 64, 1, 2)]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}
