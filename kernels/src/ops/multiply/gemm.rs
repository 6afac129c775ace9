//! Many columns: rows are unpacked once, sixteen at a time, and multiplied with all of them from registers.

use super::prepared::PANEL;
use super::rows8::{packable, tiles_win};
use super::{Columns, Multiply, SOME_COLUMNS, Weight, float};
use crate::Layout;
use crate::cpu::Isa;
use crate::quant::{PanelBuffer, Rows, TILE_ROWS, Tile, activation_for, gemm_tile};
use crate::variant::{Form, Packing, Reason, Tunable};
use std::cell::RefCell;
use std::ops::Range;
use std::thread::LocalKey;

/// `gemm`.
pub(in crate::ops) struct Gemm;

/// Tiles of packed rows, multiplied by AMX or not.
pub(in crate::ops) struct Packed<const AMX: bool>;

/// `gemm_rows8`.
pub(in crate::ops) type GemmRows8 = Packed<false>;

/// `gemm_amx`.
pub(in crate::ops) type GemmAmx = Packed<true>;

const ROWS: Tunable = Tunable { name: "rows", doc: "rows a task", default: 16, values: &[16, 64] };

/// From so many columns on, a tile for AMX is worth unpacking. Measured on a Xeon with it, unpacking included, IQ4_XS on one
/// core: 56 Gmac/s with 10 columns where VNNI has 86, 215 with 64 where VNNI has 163.
const AMX_COLUMNS: usize = 32;

/// Products that are kept until they go where they belong: a column's lie far from the next column's there, so that
/// sixteen at a time cost a walk through the page tables each.
const KEPT: usize = 64 << 10;

/// A worker's tile, panel and products. They grow to the widest weight and the most columns that the worker meets and
/// stay.
struct Work {
    tile: Tile,
    buffer: PanelBuffer,
    products: Vec<f32>,
}

fn work(isa: Isa) -> RefCell<Work> {
    RefCell::new(Work { tile: Tile::new(isa), buffer: PanelBuffer::new(isa), products: Vec::new() })
}

thread_local! {
    static WORK: RefCell<Work> = work(Isa::detect().without_amx());
    static WITH_AMX: RefCell<Work> = work(Isa::detect());
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

    fn prepares(w: &Layout) -> Option<Isa> {
        activation_for(w.dtype).map(|_| Isa::detect().without_amx())
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
        // SAFETY: the contract is the same; rows are as in the file.
        unsafe { tiles(&WORK, w, Rows::Plain, rows, x, range, emit) }
    }
}

impl<const AMX: bool> Multiply for Packed<AMX> {
    const NAME: &'static str = if AMX { "gemm_amx" } else { "gemm_rows8" };
    const SUMMARY: &'static str = if AMX {
        "as gemm_rows8, multiplied by AMX int8 tiles, scales in the codes; wins from some tens of tokens on"
    } else {
        "as gemm, from the packed rows that rows8 keeps: tiles unpack faster; wins for prompts"
    };
    const TOLERANCE: f32 = 1.5e-2;
    const GROUP: usize = TILE_ROWS;
    const FIXED: usize = if AMX { 40 } else { 4 };
    const ROWS: Tunable = ROWS;

    fn here() -> Result<(), Reason> {
        Reason::unless(!AMX || Isa::detect().amx().is_some(), || "no AMX int8, or the system does not give it".into())
    }

    fn supports(w: &Layout) -> Result<(), Reason> {
        Self::here()?;
        packable(w)
    }

    fn preferred(w: &Layout, columns: usize) -> bool {
        if AMX { columns >= AMX_COLUMNS } else { tiles_win(w, columns) }
    }

    fn weight_form(_w: &Layout) -> Form {
        Form::Packed(Packing::Rows8)
    }

    fn prepares(_w: &Layout) -> Option<Isa> {
        Some(if AMX { Isa::detect() } else { Isa::detect().without_amx() })
    }

    unsafe fn rows(
        w: &Weight,
        rows: Range<usize>,
        x: &Columns<'_>,
        range: Range<usize>,
        _scratch: &mut [u8],
        emit: &mut impl FnMut(usize, usize, &[f32]),
    ) {
        // SAFETY: the contract is the same; rows are packed, as asked for.
        unsafe { tiles(if AMX { &WITH_AMX } else { &WORK }, w, Rows::Packed, rows, x, range, emit) }
    }
}

/// # Safety
/// As [`Multiply::rows`] for a block type.
unsafe fn tiles<'w>(
    work: &'static LocalKey<RefCell<Work>>,
    w: &Weight,
    as_rows: fn(&'w [u8]) -> Rows<'w>,
    rows: Range<usize>,
    x: &Columns<'_>,
    range: Range<usize>,
    emit: &mut impl FnMut(usize, usize, &[f32]),
) {
    work.with_borrow_mut(|Work { tile, buffer, products }| {
        let mut from = range.start;
        while from < range.end {
            // Panels that were prepared begin at multiples.
            let some = from..range.end.min((from / PANEL + 1) * PANEL);
            let panel = match x.prepared() {
                // SAFETY: they were, for these columns and this level.
                Some(panels) => unsafe { panels.panel(some.clone()) },
                // SAFETY: activations of a block type are quantised.
                None => buffer.pack(w.dtype, unsafe { x.quantised() }, some.clone(), w.k),
            };
            let most = (KEPT / some.len() / TILE_ROWS).clamp(1, 16) * TILE_ROWS;
            for base in rows.clone().step_by(most) {
                let height = most.min(rows.end - base);
                // Every one is overwritten.
                products.resize(some.len() * height, 0.0);
                for first in (base..base + height).step_by(TILE_ROWS) {
                    let n = TILE_ROWS.min(base + height - first);
                    // SAFETY: the rows exist and follow one another, as `supports` asked.
                    let some_rows = as_rows(unsafe { w.rows(first, n) });
                    let next = TILE_ROWS.min(rows.end - first - n);
                    // SAFETY: as above.
                    let ahead = if next > 0 { unsafe { w.rows(first + n, next) } } else { &[] };
                    gemm_tile(tile, some_rows, panel, ahead, |c, y| {
                        products[(c - from) * height + first - base..][..n].copy_from_slice(y);
                    });
                }
                for (c, products) in some.clone().zip(products.chunks_exact(height)) {
                    emit(c, base, products);
                }
            }
            from = some.end;
        }
    });
}
