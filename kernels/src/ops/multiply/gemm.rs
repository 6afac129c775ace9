//! Many columns: rows are unpacked once, sixteen at a time, and multiplied with all of them from registers.

use super::rows8::{packable, tiles_win};
use super::{Columns, Multiply, SOME_COLUMNS, Weight, float};
use crate::Layout;
use crate::cpu::Isa;
use crate::quant::{Panel, TILE_ROWS, Tile, activation_for, gemm_tile};
use crate::variant::{Form, Packing, Reason, Tunable};
use std::cell::RefCell;
use std::ops::Range;

/// `gemm`.
pub(in crate::ops) struct Gemm;

/// `gemm_rows8`.
pub(in crate::ops) struct GemmRows8;

const ROWS: Tunable = Tunable { name: "rows", doc: "rows a task", default: 16, values: &[16, 64] };

/// Most columns of a panel: a few MiB, which stream from the last cache level past each tile.
const PANEL: usize = 512;

thread_local! {
    /// A worker's tile and panel. They grow to the widest weight and the most columns that the worker meets and stay.
    static WORK: RefCell<(Tile, Panel)> = RefCell::new((Tile::new(Isa::detect()), Panel::new(Isa::detect())));
}

impl Multiply for Gemm {
    const NAME: &'static str = "gemm";
    const SUMMARY: &'static str =
        "tiles of 16 rows unpacked once for all tokens; needs no packed copy; wins for prompts";
    const TOLERANCE: f32 = 1.5e-2;
    const GROUP: usize = TILE_ROWS;
    const FIXED: usize = 8;
    const ROWS: Tunable = ROWS;

    fn supports(w: &Layout) -> Result<(), Reason> {
        // A block type's rows must follow one another for a tile; plain ones are widened from any strides.
        let ok = activation_for(w.dtype).is_none() || Some(w.nb[1]) == w.dtype.row_bytes(w.ne[0]) || w.ne[1] == 1;
        Reason::unless(ok, || "rows of the weight do not follow one another".into())
    }

    fn preferred(w: &Layout, columns: usize) -> bool {
        columns >= SOME_COLUMNS || !w.has_contiguous_rows() || (activation_for(w.dtype).is_none() && columns > 1)
    }

    fn scratch(w: &Layout) -> usize {
        if activation_for(w.dtype).is_some() { 0 } else { float::scratch(w) }
    }

    unsafe fn rows(
        w: &Weight,
        rows: Range<usize>,
        x: &Columns<'_>,
        range: Range<usize>,
        scratch: &mut [u8],
        emit: &mut impl FnMut(usize, usize, &[f32]),
    ) {
        if activation_for(w.dtype).is_none() {
            // SAFETY: the contract is the same.
            return unsafe { float::rows(w, rows, x, range, scratch, emit) };
        }
        // SAFETY: the contract is the same; a tile is filled from plain rows.
        unsafe { tiles(w, rows, x, range, |tile, bytes| tile.unpack_rows(w.dtype, bytes, w.k), emit) }
    }
}

impl Multiply for GemmRows8 {
    const NAME: &'static str = "gemm_rows8";
    const SUMMARY: &'static str =
        "as gemm, from the packed rows that rows8 keeps: tiles unpack faster; wins for prompts";
    const TOLERANCE: f32 = 1.5e-2;
    const GROUP: usize = TILE_ROWS;
    const FIXED: usize = 8;
    const ROWS: Tunable = ROWS;

    fn supports(w: &Layout) -> Result<(), Reason> {
        packable(w)
    }

    fn preferred(w: &Layout, columns: usize) -> bool {
        tiles_win(w, columns)
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
        // SAFETY: the contract is the same; a tile is filled from packed rows, as asked for.
        unsafe { tiles(w, rows, x, range, |tile, bytes| tile.unpack_rows8(w.dtype, bytes, w.k), emit) }
    }
}

/// # Safety
/// As [`Multiply::rows`] for a block type.
unsafe fn tiles(
    w: &Weight,
    rows: Range<usize>,
    x: &Columns<'_>,
    range: Range<usize>,
    unpack: impl Fn(&mut Tile, &[u8]),
    emit: &mut impl FnMut(usize, usize, &[f32]),
) {
    // SAFETY: activations of a block type are quantised.
    let columns = unsafe { x.quantised() };
    WORK.with_borrow_mut(|(tile, panel)| {
        for from in range.clone().step_by(PANEL) {
            panel.pack(w.dtype, columns, from..range.end.min(from + PANEL), w.k);
            for first in rows.clone().step_by(TILE_ROWS) {
                let n = TILE_ROWS.min(rows.end - first);
                // SAFETY: the rows exist and follow one another, as `supports` asked.
                unpack(tile, unsafe { w.rows(first, n) });
                gemm_tile(tile, panel, |c, y| emit(c, first, y));
            }
        }
    });
}
