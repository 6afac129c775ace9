//! A tile times all columns of a panel with AMX: sixteen rows by up to thirty-two columns in tiles.
//!
//! The scales of groups inside a block of 256 stand between such products and their sum. They are multiplied into the
//! codes, once for all columns, and what comes out, i16, is taken as an unsigned lower and a signed upper byte:
//!
//! `sum w x = sum lower(w) x + 256 sum upper(w) x`
//!
//! So a block costs two int8 products and no scaling, and is as exact as on every level. A block of 32 has a scale for each
//! of its products, which are scaled one by one.

// One index for several arrays reads better than zipped iterators.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::amx::{self, COLUMN, Results};
use super::integer::broadcast;
use super::lanes::load;
use super::panel::{SUMS, lines_of as panel_lines, tail_of};
use super::tile::{CODES_32, CODES_256, Form, LINES_32, lines_of};
use crate::DType;
use crate::cpu::isa::Amx;
use crate::quant::panel::CHUNK;
use crate::quant::rows8::ROWS;
use crate::quant::tile::{Line, Sums, TILE_ROWS};

/// Columns behind a panel's last that a product may read.
pub(in crate::quant) const SPARE: usize = amx::ROWS - 1;

const TAIL: usize = tail_of(Form::Planes);
const _: () = assert!(TILE_ROWS == amx::ROWS && size_of::<Sums>() == 8 * TILE_ROWS);

/// A tile's chunk and the columns that it meets.
struct Chunk {
    w: *const Line,
    /// Blocks: one of 256 or up to eight of 32.
    blocks: usize,
    /// The chunk of a column after the other.
    x: *const u8,
    sums: *mut Sums,
    columns: usize,
    /// Columns of a group; the last group may have fewer, and reads on.
    group: usize,
}

/// This thread's tiles, shaped for weights of a type and a number of columns until it is dropped.
pub(super) struct Shaped {
    dtype: DType,
    columns: usize,
    group: usize,
    out: Results,
    /// Shapes are a thread's own.
    _here: PhantomData<*const ()>,
}

impl Shaped {
    /// Shapes the tiles for `columns` columns, at least one.
    pub(super) fn new(_: Amx, dtype: DType, columns: usize) -> Shaped {
        assert!(columns > 0);
        // Groups of one size, as large as they can be: that is the shape of the tiles.
        let group = columns.div_ceil(columns.div_ceil(amx::ROWS));
        // Tiles are released on drop.
        // SAFETY: the token proves AMX; a group is 1 to 16 columns, steps are as the products below want them.
        unsafe { amx::shape(group, if dtype.block_len() == 32 { 32 } else { 64 }) };
        Shaped { dtype, columns, group, out: Results([[[0; amx::ROWS]; amx::ROWS]; 4]), _here: PhantomData }
    }

    /// Adds the products of a chunk in planes with that of all columns, behind which there are [`SPARE`] more, to `sums`.
    pub(super) fn chunk(&mut self, lines: &[Line], panel: &[Line], sums: &mut [Sums]) {
        let (per_block, per_column) = (lines_of(self.dtype, Form::Planes), panel_lines(Form::Planes));
        let blocks = lines.len() / per_block;
        assert!(lines.len() == blocks * per_block && blocks * self.dtype.block_len() <= CHUNK);
        assert!(sums.len() == self.columns && panel.len() == (self.columns + SPARE) * per_column);
        let chunk = Chunk {
            w: lines.as_ptr(),
            blocks,
            x: panel.as_ptr().cast(),
            sums: sums.as_mut_ptr(),
            columns: self.columns,
            group: self.group,
        };
        // `new` had the token that proves the features, and shaped the tiles.
        // SAFETY: the chunk is one, as the lengths say, and the panel has `SPARE` columns behind its last.
        unsafe {
            match self.dtype {
                DType::Q2_K | DType::Q4_K | DType::Q5_K => chunk_of_256::<true>(&chunk, &mut self.out),
                DType::Q3_K | DType::Q6_K | DType::IQ4_XS => chunk_of_256::<false>(&chunk, &mut self.out),
                DType::Q4_1 | DType::Q5_1 => chunk_of_32::<true>(&chunk, &mut self.out),
                DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4_NL => chunk_of_32::<false>(&chunk, &mut self.out),
                other => unreachable!("{other} is no block type"),
            }
        }
    }
}

impl Drop for Shaped {
    fn drop(&mut self) {
        // SAFETY: `new` had the token that proves AMX.
        unsafe { amx::release() };
    }
}

/// # Safety
/// AMX, AVX2 and FMA; tiles shaped for steps of 64; a chunk in planes with columns, [`SPARE`] more of them readable.
#[target_feature(enable = "avx2,fma")]
unsafe fn chunk_of_256<const AFFINE: bool>(chunk: &Chunk, out: &mut Results) {
    let mut c = 0;
    // A group that ends behind the last column starts before it, so that it ends in the spare ones.
    // SAFETY: columns `c ..` of the chunk, as many as there are and are spare.
    unsafe {
        while c < chunk.columns {
            let (left, x) = (chunk.columns - c, chunk.x.add(COLUMN * c));
            // Many columns come from the second cache level, and loads of tiles wait for each of their rows.
            let (from, to) = (2 * chunk.group, (4 * chunk.group).min(left));
            for line in (COLUMN * from..COLUMN * to.max(from)).step_by(64) {
                _mm_prefetch::<_MM_HINT_T0>(x.add(line).cast());
            }
            if left > chunk.group {
                let second = chunk.group.min(left - chunk.group);
                amx::two_groups(chunk.w, x, x.add(COLUMN * chunk.group), out);
                finish_256::<AFFINE, false>(chunk, c, chunk.group, &out.0[..2]);
                finish_256::<AFFINE, false>(chunk, c + chunk.group, second, &out.0[2..]);
                c += chunk.group + second;
            } else {
                amx::one_group(chunk.w, x, x, out);
                finish_256::<AFFINE, true>(chunk, c, left, &out.0);
                c += left;
            }
        }
    }
}

/// Adds the products of `columns` columns from `first` on: of the lower and the upper bytes, in two parts if `HALVES`.
///
/// # Safety
/// AVX2 and FMA; the columns are the chunk's.
#[inline(always)]
unsafe fn finish_256<const AFFINE: bool, const HALVES: bool>(
    chunk: &Chunk,
    first: usize,
    columns: usize,
    results: &[[[i32; TILE_ROWS]; TILE_ROWS]],
) {
    // SAFETY: a column has sixteen sums, and results for each have the tile's rows.
    unsafe {
        let sums_of_16 = chunk.w.add(2 * CODES_256).cast::<u8>();
        let floats = sums_of_16.add(64 * 8).cast::<f32>();
        for r in 0..2 {
            let d = _mm256_load_ps(floats.add(ROWS * r));
            let dmin = _mm256_load_ps(floats.add(TILE_ROWS + ROWS * r));
            for c in 0..columns {
                let tail = chunk.x.add(COLUMN * (first + c) + TAIL);
                let dx = _mm256_set1_ps(tail.cast::<f32>().read());
                let part = |i: usize| load(results[i][c].as_ptr().add(ROWS * r).cast());
                let (mut lower, mut upper) = (part(0), part(1));
                if HALVES {
                    (lower, upper) = (_mm256_add_epi32(lower, part(2)), _mm256_add_epi32(upper, part(3)));
                }
                let sum = _mm256_add_epi32(lower, _mm256_slli_epi32::<8>(upper));
                let to = chunk.sums.add(first + c).cast::<f32>().add(ROWS * r);
                let scale = _mm256_mul_ps(d, dx);
                _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, _mm256_load_ps(to)));
                if AFFINE {
                    let mut min = _mm256_setzero_si256();
                    for j in 0..8 {
                        let pair = load(sums_of_16.add(64 * j + 32 * r));
                        min = _mm256_add_epi32(min, _mm256_madd_epi16(pair, broadcast(tail.add(SUMS + 4 * j))));
                    }
                    let (to, scale) = (to.add(TILE_ROWS), _mm256_mul_ps(dmin, dx));
                    _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(min), scale, _mm256_load_ps(to)));
                }
            }
        }
    }
}

/// # Safety
/// AMX, AVX2 and FMA; tiles shaped for steps of 32; a chunk with columns, [`SPARE`] more of them readable.
#[target_feature(enable = "avx2,fma")]
unsafe fn chunk_of_32<const AFFINE: bool>(chunk: &Chunk, out: &mut Results) {
    // SAFETY: as above.
    unsafe {
        for c in (0..chunk.columns).step_by(2 * chunk.group) {
            let left = chunk.columns - c;
            let second = left.saturating_sub(chunk.group).min(chunk.group);
            // A group that is not there is another one, and its results are left alone.
            let x = chunk.x.add(COLUMN * c);
            let y = if second > 0 { x.add(COLUMN * chunk.group) } else { x };
            for b in 0..chunk.blocks {
                amx::block_of_32(chunk.w.add(LINES_32 * b), x.add(32 * b), y.add(32 * b), out);
                finish_32::<AFFINE>(chunk, b, c, left.min(chunk.group), &out.0[0]);
                finish_32::<AFFINE>(chunk, b, c + chunk.group, second, &out.0[1]);
            }
        }
    }
}

/// Adds the products of block `b` and of `columns` columns from `first` on.
///
/// # Safety
/// AVX2 and FMA; the block and the columns are the chunk's.
#[inline(always)]
unsafe fn finish_32<const AFFINE: bool>(
    chunk: &Chunk,
    b: usize,
    first: usize,
    columns: usize,
    results: &[[i32; TILE_ROWS]; TILE_ROWS],
) {
    // SAFETY: a column has sixteen sums, and results for each have the tile's rows.
    unsafe {
        let floats = chunk.w.add(LINES_32 * b + CODES_32).cast::<f32>();
        for r in 0..2 {
            let d = _mm256_load_ps(floats.add(ROWS * r));
            let m = _mm256_load_ps(floats.add(TILE_ROWS + ROWS * r));
            for (c, products) in results.iter().enumerate().take(columns) {
                let tail = chunk.x.add(COLUMN * (first + c) + TAIL + 4 * b);
                let dx = tail.cast::<f32>().read();
                let dot = load(products.as_ptr().add(ROWS * r).cast());
                let to = chunk.sums.add(first + c).cast::<f32>().add(ROWS * r);
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(dx));
                _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, _mm256_load_ps(to)));
                if AFFINE {
                    let sum = tail.add(SUMS).cast::<i32>().read();
                    let to = to.add(TILE_ROWS);
                    let scale = _mm256_set1_ps(dx * sum as f32);
                    _mm256_store_ps(to, _mm256_fmadd_ps(m, scale, _mm256_load_ps(to)));
                }
            }
        }
    }
}
