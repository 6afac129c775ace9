//! A row in four passes, each in vectors, while it is in cache.

use super::{scale, visible};
use crate::math::{Level, exp, max, sum};
use crate::ops::by_rows::{RowOp, rows_or_cont};
use crate::variant::{Form, Instance};
use crate::{Call, Op};
use std::ops::Range;

/// A row's softmax.
pub struct Rows;

impl RowOp for Rows {
    const OP: Op = Op::Softmax;
    const TOLERANCE: f32 = 2e-6;

    fn form(inst: &Instance, index: usize) -> Form {
        if index == 0 { rows_or_cont(&inst.inputs[0]) } else { Form::AsIs }
    }

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, y, scale) = (&call.inputs[0], &call.outputs[0], scale(call));
        for row in rows {
            let [i1, i2, i3] = x.layout.row_index(row);
            // If y is x, the copy is of a row onto itself, and no slice of x is made.
            // SAFETY: the row lies inside both layouts, which have one shape and contiguous rows.
            let (weights, hidden) = unsafe {
                let n = visible(call, [i1, i2, i3]);
                std::ptr::copy(x.row_ptr(i1, i2, i3), y.row_ptr(i1, i2, i3), n * 4);
                y.row_f32_mut(i1, i2, i3).split_at_mut(n)
            };
            for w in &mut *weights {
                *w *= scale;
            }
            let top = max::<L>(weights);
            for w in &mut *weights {
                *w = exp::<L>(*w - top);
            }
            let inverse = 1.0 / sum::<L>(weights);
            for w in weights {
                *w *= inverse;
            }
            hidden.fill(0.0);
        }
    }
}
