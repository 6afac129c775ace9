//! Prefill: a tile of rows is unpacked once, then multiplied with as many columns as there are.
//!
//! Sixteen rows are unpacked as bytes and int16 scales, interleaved so that each line of 64 bytes has four weights of
//! each row. Unpacking costs the same for every column count, so the storage type hardly matters for long prompts. A chunk
//! of 256 weights a row is unpacked at a time and multiplied at once with that chunk of all columns of a [`Panel`](super::Panel): it
//! never leaves the first cache level, and the rows come from memory while others are multiplied.

use super::panel::{Panel, Shape};
use super::rows8::{self, ROWS};
use super::{activation_for, scalar};
use crate::cpu::Isa;

#[cfg(target_arch = "x86_64")]
use super::x86;

/// Rows that a tile holds.
pub const TILE_ROWS: usize = 2 * ROWS;

/// A line of a tile: one vector of each of its two groups of eight rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub [u8; 64]);

/// The running sums of a tile and a column.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Sums {
    pub products: [f32; TILE_ROWS],
    /// What the mins of the types that have some add up to.
    pub mins: [f32; TILE_ROWS],
}

/// Up to [`TILE_ROWS`] rows of one weight, as they lie in memory.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// One after the other, as in the file; 1 to 16 of them.
    Plain(&'a [u8]),
    /// One or two groups of eight as [`pack_rows8`](super::pack_rows8) makes them.
    Packed(&'a [u8]),
}

impl<'a> Rows<'a> {
    fn bytes(self) -> &'a [u8] {
        let (Rows::Plain(bytes) | Rows::Packed(bytes)) = self;
        bytes
    }
}

/// Where rows are unpacked: a worker's scratch, used for one tile after the other.
pub struct Tile {
    isa: Isa,
    /// For the vector kernels: the blocks of a chunk, lines as `x86::tile` lays them out.
    #[cfg(target_arch = "x86_64")]
    lines: Vec<Line>,
    /// For each column of a panel; here to be allocated once.
    #[cfg(target_arch = "x86_64")]
    sums: Vec<Sums>,
    /// For the scalar kernels: packed rows as they were.
    raw: Vec<u8>,
}

impl Tile {
    /// Scratch for kernels of this level. Allocates only to grow.
    pub fn new(isa: Isa) -> Tile {
        Tile {
            isa,
            #[cfg(target_arch = "x86_64")]
            lines: Vec::new(),
            #[cfg(target_arch = "x86_64")]
            sums: Vec::new(),
            raw: Vec::new(),
        }
    }
}

/// Multiplies rows with the columns of a panel and calls `emit(i, products)` for each column, in order and numbered as when
/// they were packed: `products[r]` is row `r` times column `i`, the same bits as [`dot_q`](super::dot_q). Meanwhile
/// `ahead`, the rows that come next, is fetched from memory.
///
/// The rows are of the type and length that the panel was packed for.
///
/// # Panics
/// If the rows are none or too many, or not of that type and length; if the panel was packed for another level.
pub fn gemm_tile(tile: &mut Tile, rows: Rows<'_>, panel: Panel<'_>, ahead: &[u8], mut emit: impl FnMut(usize, &[f32])) {
    let Shape { isa, weight: dtype, n, .. } = panel.shape;
    let bytes = rows.bytes();
    assert_eq!(tile.isa, isa, "the panel was packed for another level");
    let stride = dtype.row_bytes(n).unwrap_or(0);
    assert!(stride > 0 && bytes.len().is_multiple_of(stride), "not rows of {n} {dtype} weights");
    let count = bytes.len() / stride;
    assert!((1..=TILE_ROWS).contains(&count), "a tile takes 1 to {TILE_ROWS} rows");
    assert!(matches!(rows, Rows::Plain(_)) || count.is_multiple_of(ROWS), "packed rows come in eights");
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = tile.isa.avx2() {
        tile.sums.clear();
        tile.sums.resize(panel.count(), Sums { products: [0.0; TILE_ROWS], mins: [0.0; TILE_ROWS] });
        let form = x86::tile::form_of(tile.isa, dtype);
        let (block, mut packed) = (ROWS * dtype.block_bytes(), [0u8; ROWS * 256]);
        x86::gemm::multiply(&mut tile.lines, panel, &mut tile.sums, ahead, |first, lines| {
            let blocks = lines.len() / x86::tile::lines_of(dtype, form);
            for (octet, rows8) in bytes.chunks(ROWS * stride).enumerate() {
                for b in 0..blocks {
                    let packed = match rows {
                        Rows::Packed(_) => &rows8[(first + b) * block..][..block],
                        Rows::Plain(_) => {
                            rows8::pack_block(dtype, rows8, stride, first + b, &mut packed[..block]);
                            &packed[..block]
                        }
                    };
                    x86::tile::unpack_block(token, dtype, packed, form, lines, b, octet);
                }
            }
        });
        // Blocks of 32 add their mins, blocks of 256 take them away.
        let sign = if dtype.block_len() == 32 { 1.0 } else { -1.0 };
        for (i, sums) in panel.names().zip(&tile.sums) {
            let products: [f32; TILE_ROWS] = std::array::from_fn(|r| sums.products[r] + sign * sums.mins[r]);
            emit(i, &products[..count]);
        }
        return;
    }
    let _ = ahead;
    let plain = match rows {
        Rows::Plain(rows) => rows,
        Rows::Packed(packed) => {
            tile.raw.resize(packed.len(), 0);
            for (packed, rows) in packed.chunks_exact(ROWS * stride).zip(tile.raw.chunks_exact_mut(ROWS * stride)) {
                rows8::unpack_rows8(dtype, packed, n, rows);
            }
            &tile.raw
        }
    };
    let mut out = [0.0; TILE_ROWS];
    let bytes = activation_for(dtype).and_then(|a| a.row_bytes(n)).unwrap_or(0);
    let columns = panel.lines.chunks_exact(panel.shape.raw_lines().max(1)).skip(panel.part.0);
    for (i, x) in panel.names().zip(columns) {
        // SAFETY: lines are bytes, and a column is at the beginning of its own.
        let x = unsafe { std::slice::from_raw_parts(x.as_ptr().cast::<u8>(), bytes) };
        for (y, row) in out.iter_mut().zip(plain.chunks_exact(stride)) {
            *y = scalar::dot_row(dtype, row, x);
        }
        emit(i, &out[..count]);
    }
}
