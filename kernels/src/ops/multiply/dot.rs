//! One row at a time, as it lies in the file.

use super::{Columns, Multiply, SOME_COLUMNS, Weight};
use crate::Layout;
use crate::cpu::Isa;
use crate::quant::{MAX_COLUMNS, activation_for, dot_f, dot_rows};
use crate::variant::{Reason, Tunable};
use std::ops::Range;

/// `dot`.
pub(in crate::ops) struct Dot;

impl Multiply for Dot {
    const NAME: &'static str = "dot";
    const SUMMARY: &'static str =
        "int8 products of one weight row at a time, straight from the file; plain weights in F32";
    const TOLERANCE: f32 = 1.5e-2;
    const GROUP: usize = 1;
    const ROWS: Tunable = Tunable { name: "rows", doc: "rows a task", default: 4, values: &[1, 4, 16, 64] };

    fn supports(w: &Layout) -> Result<(), Reason> {
        Reason::unless(w.has_contiguous_rows(), || "rows of the weight are not contiguous".into())
    }

    fn preferred(_w: &Layout, columns: usize) -> bool {
        columns < SOME_COLUMNS
    }

    unsafe fn rows(
        w: &Weight,
        rows: Range<usize>,
        x: &Columns<'_>,
        range: Range<usize>,
        _scratch: &mut [u8],
        emit: &mut impl FnMut(usize, usize, &[f32]),
    ) {
        let isa = Isa::detect();
        for row in rows {
            // SAFETY: the row exists.
            let bytes = unsafe { w.rows(row, 1) };
            if activation_for(w.dtype).is_none() {
                for c in range.clone() {
                    // SAFETY: the column exists and is F32, as asked for.
                    emit(c, row, &[dot_f(isa, w.dtype, bytes, unsafe { x.f32(c) })]);
                }
                continue;
            }
            let mut c = range.start;
            while c < range.end {
                // SAFETY: the columns exist.
                c += unsafe { some_columns(isa, w, bytes, x, c, range.end - c, &mut |c, y| emit(c, row, &[y])) };
            }
        }
    }
}

/// Up to [`MAX_COLUMNS`] columns from `c` on; returns how many.
///
/// # Safety
/// `left` columns from `c` on exist.
unsafe fn some_columns(
    isa: Isa,
    w: &Weight,
    row: &[u8],
    x: &Columns<'_>,
    c: usize,
    left: usize,
    emit: &mut impl FnMut(usize, f32),
) -> usize {
    macro_rules! take {
        ($n:literal) => {{
            let mut out = [0.0; $n];
            // SAFETY: `left` is at least so many, by the match below.
            let xs: [&[u8]; $n] = std::array::from_fn(|i| unsafe { x.bytes(c + i) });
            dot_rows(isa, w.dtype, row, xs, w.k, &mut out);
            out.into_iter().enumerate().for_each(|(i, y)| emit(c + i, y));
            $n
        }};
    }
    match left.min(MAX_COLUMNS) {
        1 => take!(1),
        2 => take!(2),
        3 => take!(3),
        4..8 => take!(4),
        _ => take!(8),
    }
}
