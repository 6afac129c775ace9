//! Prefill: a tile of rows is unpacked once, then multiplied with as many columns as there are.
//!
//! A [`Tile`] holds 16 rows as bytes and int16 scales, interleaved so that each line of 64 bytes has four weights of
//! each row. Unpacking costs the same for every column count, so the storage type hardly matters for long prompts. The
//! tile is scratch: one for each worker, filled again for every tile of rows, then multiplied with a [`Panel`] of columns.

use super::panel::Panel;
use super::rows8::{self, ROWS};
use super::{activation_for, scalar};
use crate::DType;
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

/// Up to [`TILE_ROWS`] unpacked rows.
pub struct Tile {
    isa: Isa,
    dtype: DType,
    n: usize,
    rows: usize,
    /// For the vector kernels: blocks one after the other, lines as `x86::tile` lays them out.
    lines: Vec<Line>,
    /// For each column of a panel; here to be allocated once.
    sums: Vec<Sums>,
    /// For the scalar kernels: the rows as they were.
    raw: Vec<u8>,
}

impl Tile {
    /// An empty tile for kernels of this level.
    pub fn new(isa: Isa) -> Tile {
        Tile { isa, dtype: DType::Q8_0, n: 0, rows: 0, lines: Vec::new(), sums: Vec::new(), raw: Vec::new() }
    }

    /// Number of rows it holds.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Fills the tile from 1 to 16 plain rows of `n` weights each. Allocates only if it grows.
    ///
    /// # Panics
    /// If `dtype` is no block type, a length is wrong or there are no rows or too many.
    pub fn unpack_rows(&mut self, dtype: DType, rows: &[u8], n: usize) {
        let stride = self.start(dtype, rows.len(), n);
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = self.isa.avx2() {
            let form = x86::tile::form_of(self.isa, dtype);
            let mut packed = [0u8; ROWS * 256];
            let packed = &mut packed[..ROWS * dtype.block_bytes()];
            for octet in 0..2 {
                let rows = &rows[(octet * ROWS * stride).min(rows.len())..];
                for b in 0..n / dtype.block_len() {
                    rows8::pack_block(dtype, rows, stride, b, packed);
                    x86::tile::unpack_block(token, dtype, packed, form, &mut self.lines, b, octet);
                }
            }
            return;
        }
        let _ = stride;
        self.raw.extend_from_slice(rows);
    }

    /// Fills the tile from one or two groups of eight rows packed by [`pack_rows8`](super::pack_rows8).
    ///
    /// # Panics
    /// As [`Tile::unpack_rows`], and if the rows are not 8 or 16.
    pub fn unpack_rows8(&mut self, dtype: DType, packed: &[u8], n: usize) {
        let stride = self.start(dtype, packed.len(), n);
        assert!(self.rows.is_multiple_of(ROWS), "packed rows come in eights");
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = self.isa.avx2() {
            let form = x86::tile::form_of(self.isa, dtype);
            let octets = packed.chunks_exact(ROWS * stride);
            for (octet, packed) in octets.enumerate() {
                for (b, packed) in packed.chunks_exact(ROWS * dtype.block_bytes()).enumerate() {
                    x86::tile::unpack_block(token, dtype, packed, form, &mut self.lines, b, octet);
                }
            }
            return;
        }
        self.raw.resize(packed.len(), 0);
        for (packed, rows) in packed.chunks_exact(ROWS * stride).zip(self.raw.chunks_exact_mut(ROWS * stride)) {
            rows8::unpack_rows8(dtype, packed, n, rows);
        }
    }

    /// Checks and remembers the shape, makes room, and returns the bytes of a row.
    fn start(&mut self, dtype: DType, bytes: usize, n: usize) -> usize {
        assert!(activation_for(dtype).is_some(), "{dtype} is no block type");
        let stride = dtype.row_bytes(n).unwrap_or(0);
        assert!(stride > 0 && bytes.is_multiple_of(stride), "not rows of {n} {dtype} weights");
        self.rows = bytes / stride;
        assert!((1..=TILE_ROWS).contains(&self.rows), "a tile takes 1 to {TILE_ROWS} rows");
        (self.dtype, self.n) = (dtype, n);
        self.raw.clear();
        #[cfg(target_arch = "x86_64")]
        if self.isa.avx2().is_some() {
            // Stale lines are overwritten, or belong to rows that are never read out.
            let lines = x86::tile::lines_of(dtype, x86::tile::form_of(self.isa, dtype));
            self.lines.resize(n / dtype.block_len() * lines, Line([0; 64]));
        }
        stride
    }
}

/// Multiplies a tile with the columns of a panel and calls `emit(i, products)` for each, in order and numbered as when
/// they were packed: `products[r]` is row `r` of the tile times column `i`, the same bits as [`dot_q`](super::dot_q).
/// Meanwhile `ahead`, the rows that come next, is fetched from memory.
///
/// # Panics
/// If the tile is empty, or the panel was packed for another level, row length or type of weights.
pub fn gemm_tile(tile: &mut Tile, panel: &Panel, ahead: &[u8], mut emit: impl FnMut(usize, &[f32])) {
    assert!(tile.rows > 0, "the tile is empty");
    let (made_for, needed) = ((panel.isa, panel.weight, panel.n), (tile.isa, tile.dtype, tile.n));
    assert_eq!(made_for, needed, "the panel was packed for others");
    #[cfg(target_arch = "x86_64")]
    if tile.isa.avx2().is_some() {
        tile.sums.clear();
        tile.sums.resize(panel.range.len(), Sums { products: [0.0; TILE_ROWS], mins: [0.0; TILE_ROWS] });
        x86::gemm::multiply(tile.isa, tile.dtype, &tile.lines, tile.n, &panel.lines, &mut tile.sums, ahead);
        // Blocks of 32 add their mins, blocks of 256 take them away.
        let sign = if tile.dtype.block_len() == 32 { 1.0 } else { -1.0 };
        for (i, sums) in panel.range.clone().zip(&tile.sums) {
            let products: [f32; TILE_ROWS] = std::array::from_fn(|r| sums.products[r] + sign * sums.mins[r]);
            emit(i, &products[..tile.rows]);
        }
        return;
    }
    let mut out = [0.0; TILE_ROWS];
    let column = panel.raw.len() / panel.range.len().max(1);
    for (i, x) in panel.range.clone().zip(panel.raw.chunks_exact(column.max(1))) {
        for (y, row) in out.iter_mut().zip(tile.raw.chunks_exact(tile.raw.len() / tile.rows)) {
            *y = scalar::dot_row(tile.dtype, row, x);
        }
        emit(i, &out[..tile.rows]);
    }
}
