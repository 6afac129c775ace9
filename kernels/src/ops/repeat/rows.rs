//! A row of the result is a row of x, or that several times over.

use super::source;
use crate::math::Level;
use crate::ops::by_rows::RowOp;
use crate::ops::copy::copy_elements;
use crate::{Call, Op};
use std::ops::Range;

/// A row's source.
pub struct Rows;

impl RowOp for Rows {
    const OP: Op = Op::Repeat;
    const TOLERANCE: f32 = 0.0;
    const ANY_STRIDES: bool = true;

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for row in rows {
            let at = y.layout.row_index(row);
            let from = source(call, at);
            // SAFETY: the row lies inside y, and its source inside x; x's length divides y's.
            unsafe {
                let (src, dst) = (x.row_ptr(from[0], from[1], from[2]), y.row_ptr(at[0], at[1], at[2]));
                if x.ne(0) == 1 && y.nb(0) == 4 {
                    y.row_f32_mut(at[0], at[1], at[2]).fill(src.cast::<f32>().read());
                    continue;
                }
                for start in (0..y.ne(0)).step_by(x.ne(0)) {
                    copy_elements(src, x.nb(0), dst.add(start * y.nb(0)), y.nb(0), x.ne(0));
                }
            }
        }
    }
}
