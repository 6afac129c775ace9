//! Eight interleaved rows at a time: no horizontal sums, and one load of activations for eight rows.

use super::{Columns, MANY_COLUMNS, MANY_COLUMNS_512, Multiply, Weight, block_type};
use crate::cpu::Isa;
use crate::quant::gemv_rows8;
use crate::variant::{Form, Packing, Reason, Tunable};
use crate::{DType, Layout};
use std::ops::Range;

/// Rows in a packed group.
pub(super) const ROWS: usize = 8;

/// `rows8`.
pub(in crate::ops) struct Rows8;

/// Whether tiles beat groups of eight: in blocks of 32 the scales of a tile weigh more than what it saves, unless the
/// codes are signed. With AVX-512 tiles take sixteen rows at once where groups stay with eight.
pub(super) fn tiles_win(w: &Layout, columns: usize) -> bool {
    let many = if Isa::detect().avx512_vnni().is_some() { MANY_COLUMNS_512 } else { MANY_COLUMNS };
    columns >= many && (w.dtype.block_len() > 32 || matches!(w.dtype, DType::Q8_0 | DType::IQ4_NL))
}

/// Whether a weight can be packed in eights.
pub(super) fn packable(w: &Layout) -> Result<(), Reason> {
    block_type(w)?;
    Reason::unless(w.ne[1] > 0 && w.ne[1].is_multiple_of(ROWS), || format!("{} rows are no multiple of 8", w.ne[1]))?;
    Reason::unless(w.is_contiguous(), || "a view of a part of a weight cannot be packed".into())
}

impl Multiply for Rows8 {
    const NAME: &'static str = "rows8";
    const SUMMARY: &'static str = "eight interleaved rows at a time, packed once at load; wins for one to a few tokens";
    const TOLERANCE: f32 = 1.5e-2;
    const GROUP: usize = ROWS;
    const ROWS: Tunable = Tunable { name: "rows", doc: "rows a task", default: 8, values: &[8, 32, 128] };

    fn supports(w: &Layout) -> Result<(), Reason> {
        packable(w)
    }

    fn preferred(w: &Layout, columns: usize) -> bool {
        !tiles_win(w, columns)
    }

    fn weight_form(_w: &Layout) -> Form {
        Form::Packed(Packing::Rows8)
    }

    unsafe fn rows(
        w: &Weight,
        rows: Range<usize>,
        x: &Columns<'_>,
        range: Range<usize>,
        _scratch: &mut [u8],
        emit: &mut impl FnMut(usize, usize, &[f32]),
    ) {
        debug_assert!(rows.start.is_multiple_of(ROWS) && rows.end.is_multiple_of(ROWS));
        let isa = Isa::detect();
        for first in rows.step_by(ROWS) {
            // SAFETY: the rows exist, and a packed group lies where its rows would.
            let octet = unsafe { w.rows(first, ROWS) };
            let mut c = range.start;
            while c < range.end {
                // SAFETY: the columns exist.
                c += unsafe { some_columns(isa, w, octet, x, c, range.end - c, &mut |c, y| emit(c, first, y)) };
            }
        }
    }
}

/// Up to eight columns from `c` on; returns how many.
///
/// # Safety
/// `left` columns from `c` on exist.
unsafe fn some_columns(
    isa: Isa,
    w: &Weight,
    octet: &[u8],
    x: &Columns<'_>,
    c: usize,
    left: usize,
    emit: &mut impl FnMut(usize, &[f32]),
) -> usize {
    macro_rules! take {
        ($n:literal) => {{
            let mut out = [[0.0; ROWS]; $n];
            // SAFETY: `left` is at least so many, by the match below.
            let xs: [&[u8]; $n] = std::array::from_fn(|i| unsafe { x.bytes(c + i) });
            gemv_rows8(isa, w.dtype, octet, xs, w.k, &mut out);
            out.iter().enumerate().for_each(|(i, y)| emit(c + i, y));
            $n
        }};
    }
    match left {
        1 => take!(1),
        2 => take!(2),
        3 => take!(3),
        4..8 => take!(4),
        _ => take!(8),
    }
}
