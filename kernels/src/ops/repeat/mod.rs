//! `repeat`: x tiled to a larger shape, or with `interleave` each index of dimension 1 repeated in place (0 0 1 1), as key
//! heads are for the value heads that share them.

mod cuda;
mod rows;

use super::by_rows::ByRows;
use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Layout, Op, Params, Variant};

/// The definition.
pub struct Repeat;

static ROWS: ByRows<rows::Rows> = ByRows::threaded("rows", "rows copied whole, split over the threads");
static GENERIC: Reference =
    Reference::named(Op::Repeat, "generic", "one thread finds each element's source anew", &Repeat);
static REFERENCE: Reference = Reference::new(Op::Repeat, &Repeat);
static VARIANTS: &[&dyn Variant] = &[&cuda::ELEMENTS, &ROWS, &GENERIC, &REFERENCE];

impl OpDef for Repeat {
    fn op(&self) -> Op {
        Op::Repeat
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let Params::Repeat { ne, .. } = *params else {
            return Err(ShapeError(format!("repeat with {params:?}")));
        };
        ShapeError::unless_f32(inputs)?;
        let x = &inputs[0];
        let fits = (0..4).all(|d| x.ne[d] > 0 && ne[d].is_multiple_of(x.ne[d]));
        ShapeError::unless(fits, || format!("{x} cannot be repeated to {ne:?}"))?;
        Ok(vec![Layout::f32(ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for row in 0..y.layout.rows() {
            let at = y.layout.row_index(row);
            let [s1, s2, s3] = source(call, at);
            for i0 in 0..y.ne(0) {
                // SAFETY: the index lies inside y, and its source inside x.
                unsafe { y.set_f32([i0, at[0], at[1], at[2]], x.get_f32([i0 % x.ne(0), s1, s2, s3])) }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |x: [usize; 4], ne: [usize; 4], interleave| {
            let how = if interleave { "in place" } else { "tiled" };
            let params = Params::Repeat { ne, interleave };
            Case::new(format!("{x:?} to {ne:?} {how}"), params, vec![Input::normal(x)])
        };
        vec![
            case([1, 1, 1, 1], [1, 1, 1, 1], false),
            case([128, 16, 3, 1], [128, 32, 3, 1], true),
            case([128, 16, 3, 1], [128, 32, 3, 1], false),
            case([1, 3, 2, 2], [70, 3, 2, 2], false),
            case([5, 3, 1, 2], [15, 6, 4, 2], false),
            case([5, 3, 2, 1], [10, 9, 2, 3], true),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// Which row of x goes into a row of the result.
#[inline(always)]
fn source(call: &Call<'_>, [i1, i2, i3]: [usize; 3]) -> [usize; 3] {
    let (x, y) = (&call.inputs[0], &call.outputs[0]);
    let interleave = match call.inst.params {
        Params::Repeat { interleave, .. } => interleave,
        other => unreachable!("`repeat` with {other:?}"),
    };
    let i1 = if interleave { i1 / (y.ne(1) / x.ne(1)) } else { i1 % x.ne(1) };
    [i1, i2 % x.ne(2), i3 % x.ne(3)]
}
