//! A row of the result is a row of a, a row of b, or one behind the other.

use crate::math::Level;
use crate::ops::by_rows::RowOp;
use crate::ops::copy::copy_elements;
use crate::{Call, Op};
use std::ops::Range;

/// A row's sources.
pub struct Rows;

impl RowOp for Rows {
    const OP: Op = Op::Concat;
    const TOLERANCE: f32 = 0.0;
    const ANY_STRIDES: bool = true;

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (a, b, y, dim) = (&call.inputs[0], &call.inputs[1], &call.outputs[0], super::dim(call));
        for row in rows {
            let at = y.layout.row_index(row);
            // SAFETY: the row lies inside y and, less a's length beyond a, in the source; elements have four bytes.
            unsafe {
                let dst = y.row_ptr(at[0], at[1], at[2]);
                if dim == 0 {
                    copy_elements(a.row_ptr(at[0], at[1], at[2]), a.nb(0), dst, y.nb(0), a.ne(0));
                    let dst = dst.add(a.ne(0) * y.nb(0));
                    copy_elements(b.row_ptr(at[0], at[1], at[2]), b.nb(0), dst, y.nb(0), b.ne(0));
                } else if at[dim - 1] < a.ne(dim) {
                    copy_elements(a.row_ptr(at[0], at[1], at[2]), a.nb(0), dst, y.nb(0), a.ne(0));
                } else {
                    let mut from = at;
                    from[dim - 1] -= a.ne(dim);
                    copy_elements(b.row_ptr(from[0], from[1], from[2]), b.nb(0), dst, y.nb(0), b.ne(0));
                }
            }
        }
    }
}
