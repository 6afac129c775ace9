//! Every row widened to F32 and multiplied with F32 activations: what the reference does, in vectors. Takes everything.

use super::{Columns, Multiply, Weight, as_f32};
use crate::cpu::Isa;
use crate::quant::dot_f;
use crate::variant::{Form, Reason, Tunable};
use crate::{DType, Layout};
use std::ops::Range;

/// `dequant`.
pub(in crate::ops) struct Dequant;

impl Multiply for Dequant {
    const NAME: &'static str = "dequant";
    const SUMMARY: &'static str =
        "each weight row widened to F32, activations as they are: exact, slow, takes any strides";
    const TOLERANCE: f32 = 1e-5;
    const GROUP: usize = 1;
    const ROWS: Tunable = Tunable { name: "rows", doc: "rows a task", default: 4, values: &[1, 4, 16, 64] };

    fn supports(_w: &Layout) -> Result<(), Reason> {
        Ok(())
    }

    fn preferred(_w: &Layout, _columns: usize) -> bool {
        false
    }

    fn activation_form(_w: &Layout, x: &Layout) -> Form {
        crate::ops::by_rows::rows_or_cont(x)
    }

    fn scratch(w: &Layout) -> usize {
        4 * w.ne[0]
    }

    unsafe fn rows(
        w: &Weight,
        rows: Range<usize>,
        x: &Columns<'_>,
        range: Range<usize>,
        scratch: &mut [u8],
        emit: &mut impl FnMut(usize, usize, &[f32]),
    ) {
        let isa = Isa::detect();
        let wide = &mut as_f32(scratch)[..w.k];
        for row in rows {
            // SAFETY: the row exists.
            unsafe { w.widen(row..row + 1, wide) };
            // SAFETY: F32 has no invalid bytes, and the view is as long as the slice.
            let bytes = unsafe { std::slice::from_raw_parts(wide.as_ptr().cast::<u8>(), 4 * w.k) };
            for c in range.clone() {
                // SAFETY: the column exists and is F32, as asked for.
                emit(c, row, &[dot_f(isa, DType::F32, bytes, unsafe { x.f32(c) })]);
            }
        }
    }
}
