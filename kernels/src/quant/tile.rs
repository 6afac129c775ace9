//! Prefill: a tile of rows is unpacked once, then multiplied with as many columns as there are.
//!
//! A [`Tile`] holds 16 rows as bytes and int16 scales, interleaved so that each line of 64 bytes has four weights of
//! each row. Unpacking costs the same for every column count, so the storage type hardly matters for long prompts. The
//! tile is scratch: one for each worker, filled again for every tile of rows; its work is split by rows and columns as
//! the caller likes, and gathered columns (the tokens of an expert) need no copy.

use std::ops::Range;

use super::rows8::{self, ROWS};
use super::{activation_for, check_row, scalar};
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

/// Up to [`TILE_ROWS`] unpacked rows.
pub struct Tile {
    isa: Isa,
    dtype: DType,
    n: usize,
    rows: usize,
    /// For the vector kernels: blocks one after the other, lines as `x86::tile` lays them out.
    lines: Vec<Line>,
    /// For the scalar kernels: the rows as they were.
    raw: Vec<u8>,
}

/// Quantised activation columns: rows of a buffer, all of them or those that an index names.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    data: &'a [u8],
    stride: usize,
    index: Option<&'a [u32]>,
}

impl<'a> Columns<'a> {
    /// Every column of a buffer that holds one each `stride` bytes.
    ///
    /// # Panics
    /// If `stride` is zero or the buffer is no whole number of strides.
    pub fn all(data: &'a [u8], stride: usize) -> Columns<'a> {
        assert!(stride > 0 && data.len().is_multiple_of(stride), "the buffer is no whole number of columns");
        Columns { data, stride, index: None }
    }

    /// Column `i` is column `index[i]` of the buffer.
    ///
    /// # Panics
    /// As [`Columns::all`]; an index past the end panics when it is used.
    pub fn gathered(data: &'a [u8], stride: usize, index: &'a [u32]) -> Columns<'a> {
        Columns { index: Some(index), ..Columns::all(data, stride) }
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.index.map_or(self.data.len() / self.stride, <[u32]>::len)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&self, i: usize) -> &'a [u8] {
        let at = self.index.map_or(i, |index| index[i] as usize);
        &self.data[at * self.stride..(at + 1) * self.stride]
    }
}

impl Tile {
    /// An empty tile for kernels of this level.
    pub fn new(isa: Isa) -> Tile {
        Tile { isa, dtype: DType::Q8_0, n: 0, rows: 0, lines: Vec::new(), raw: Vec::new() }
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
            let wide = self.isa.avx512_vnni().is_some();
            let mut packed = [0u8; ROWS * 256];
            let packed = &mut packed[..ROWS * dtype.block_bytes()];
            for octet in 0..2 {
                let rows = &rows[(octet * ROWS * stride).min(rows.len())..];
                for b in 0..n / dtype.block_len() {
                    rows8::pack_block(dtype, rows, stride, b, packed);
                    x86::tile::unpack_block(token, dtype, packed, wide, &mut self.lines, b, octet);
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
            let wide = self.isa.avx512_vnni().is_some();
            let octets = packed.chunks_exact(ROWS * stride);
            for (octet, packed) in octets.enumerate() {
                for (b, packed) in packed.chunks_exact(ROWS * dtype.block_bytes()).enumerate() {
                    x86::tile::unpack_block(token, dtype, packed, wide, &mut self.lines, b, octet);
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
            self.lines.resize(n / dtype.block_len() * x86::tile::lines_of(dtype), Line([0; 64]));
        }
        stride
    }
}

/// Multiplies a tile with the columns in `range` and calls `emit(i, products)` for each, in order: `products[r]` is row
/// `r` of the tile times column `i`, the same bits as [`dot_q`](super::dot_q).
///
/// # Panics
/// If the tile is empty, or a column is no row of the tile's `n` activations or does not exist.
pub fn gemm_tile(tile: &Tile, columns: Columns<'_>, range: Range<usize>, mut emit: impl FnMut(usize, &[f32])) {
    assert!(tile.rows > 0, "the tile is empty");
    let activation = activation_for(tile.dtype).unwrap_or(DType::Q8_K);
    check_row(activation, columns.stride, tile.n);
    assert!(range.end <= columns.len(), "column {} of {}", range.end, columns.len());
    #[cfg(target_arch = "x86_64")]
    if tile.isa.avx2().is_some() {
        let most = if tile.isa.avx512_vnni().is_some() { 8 } else { 4 };
        let mut i = range.start;
        while i < range.end {
            let left = range.end - i;
            let taken = if left >= most { most } else { 1 << left.ilog2() };
            let mut xs = [columns.get(i); 8];
            for (c, x) in xs[..taken].iter_mut().enumerate() {
                *x = columns.get(i + c);
            }
            let mut out = [[0.0; TILE_ROWS]; 8];
            x86::gemm::multiply(tile.isa, tile.dtype, &tile.lines, tile.n, &xs[..taken], &mut out[..taken]);
            for (c, products) in out[..taken].iter().enumerate() {
                emit(i + c, &products[..tile.rows]);
            }
            i += taken;
        }
        return;
    }
    let mut out = [0.0; TILE_ROWS];
    for i in range {
        let x = columns.get(i);
        for (y, row) in out.iter_mut().zip(tile.raw.chunks_exact(tile.raw.len() / tile.rows)) {
            *y = scalar::dot_row(tile.dtype, row, x);
        }
        emit(i, &out[..tile.rows]);
    }
}
