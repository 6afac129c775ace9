//! Row by row, each contiguous: what `threaded` and `serial` do.

use crate::math::{Level, sum};
use crate::ops::by_rows::RowOp;
use crate::variant::{Instance, Reason};
use crate::{Call, Op};
use std::ops::Range;

/// A row's sum.
pub struct Rows;

impl RowOp for Rows {
    const OP: Op = Op::SumRows;
    const TOLERANCE: f32 = super::TOLERANCE;

    fn supports(_inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for row in rows {
            let [i1, i2, i3] = x.layout.row_index(row);
            // SAFETY: x has contiguous rows (`form`), and y an element for each.
            unsafe { y.set_f32([0, i1, i2, i3], sum::<L>(x.row_f32(i1, i2, i3))) }
        }
    }
}
