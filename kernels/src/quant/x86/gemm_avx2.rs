//! A tile's chunk times a few columns with AVX2, for unsigned codes: eight rows by `C` columns in registers, the two
//! groups of rows in turn.
//!
//! Products of pairs are added in i16 as often as the codes allow, then scaled and widened by one multiply-add: with
//! four-bit codes nine multiplications do the work of eight.

// One index for several arrays of registers reads better than zipped iterators.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::gemm::Chunk;
use super::integer::{Codes, broadcast};
use super::lanes::load;
use super::octets32::Octet32;
use super::octets256::Octet256;
use super::panel::{SUMS, lines_of, tail_of};
use super::tile::{CODES_32, CODES_256, Form, LINES_32};
use crate::quant::rows8::ROWS;

/// Bytes from a column to the next.
const COLUMN: usize = 64 * lines_of(Form::Bytes);
const TAIL: usize = tail_of(Form::Bytes);

/// Adds to `sums`, for each column, scale times the products of `steps` lines from `codes` with the activations from `x`
/// on.
///
/// # Safety
/// AVX2; the lines and the activations readable; `steps` a multiple of `T::FOLD`.
#[inline(always)]
unsafe fn add_scaled<T: Codes, const C: usize>(
    sums: &mut [__m256i; C],
    codes: *const u8,
    steps: usize,
    x: *const u8,
    scale: __m256i,
) {
    debug_assert!(!T::SIGNED);
    // SAFETY: promised by the caller. No sum of `T::FOLD` pairs leaves an i16.
    unsafe {
        for first in (0..steps).step_by(T::FOLD) {
            let mut pairs = [_mm256_setzero_si256(); C];
            for s in first..first + T::FOLD {
                let line = load(codes.add(64 * s));
                for c in 0..C {
                    let x = broadcast(x.add(COLUMN * c + 4 * s));
                    pairs[c] = _mm256_add_epi16(pairs[c], _mm256_maddubs_epi16(line, x));
                }
            }
            for c in 0..C {
                sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(pairs[c], scale));
            }
        }
    }
}

/// # Safety
/// AVX2, FMA, F16C; `chunk` as [`Chunk`] says, for blocks of `T` and `C` columns.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn chunk_of_32<T: Octet32, const C: usize>(chunk: &Chunk) {
    let one = _mm256_set1_epi16(1);
    for octet in 0..2 {
        // SAFETY: block `b` is inside the chunk; a column has eight sums for each group of rows.
        unsafe {
            for b in 0..chunk.blocks {
                let p = chunk.w.add(64 * LINES_32 * b + 32 * octet);
                let mut sums = [_mm256_setzero_si256(); C];
                add_scaled::<T, C>(&mut sums, p, CODES_32, chunk.x.add(32 * b), one);
                let d = _mm256_loadu_ps(p.add(64 * CODES_32).cast());
                for c in 0..C {
                    let tail = chunk.x.add(COLUMN * c + TAIL + 4 * b);
                    let dx = tail.cast::<f32>().read();
                    let sum = tail.add(SUMS).cast::<i32>().read();
                    let mut dot = sums[c];
                    if T::OFFSET != 0 {
                        dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(T::OFFSET * sum));
                    }
                    let scale = _mm256_mul_ps(d, _mm256_set1_ps(dx));
                    let to = chunk.products(c).add(ROWS * octet);
                    _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, _mm256_load_ps(to)));
                    if T::AFFINE {
                        let m = _mm256_loadu_ps(p.add(64 * (CODES_32 + 1)).cast());
                        let to = chunk.mins(c).add(ROWS * octet);
                        _mm256_store_ps(to, _mm256_fmadd_ps(m, _mm256_set1_ps(dx * sum as f32), _mm256_load_ps(to)));
                    }
                }
            }
        }
    }
}

/// # Safety
/// AVX2, FMA, F16C; `chunk` as [`Chunk`] says, for a block of `T` and `C` columns.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn chunk_of_256<T: Octet256, const C: usize>(chunk: &Chunk) {
    let groups = 256 / T::GROUP;
    for octet in 0..2 {
        // SAFETY: the block is the chunk; a column has eight sums for each group of rows.
        unsafe {
            let p = chunk.w.add(32 * octet);
            let mut sums = [_mm256_setzero_si256(); C];
            for g in 0..groups {
                let scale = load(p.add(64 * (CODES_256 + g)));
                let (codes, x) = (p.add(16 * T::GROUP * g), chunk.x.add(T::GROUP * g));
                add_scaled::<T, C>(&mut sums, codes, T::GROUP / 4, x, scale);
            }
            let tail = p.add(64 * (CODES_256 + groups));
            let d = _mm256_loadu_ps(tail.add(64 * 8).cast());
            let dmin = _mm256_loadu_ps(tail.add(64 * 9).cast());
            for c in 0..C {
                let x = chunk.x.add(COLUMN * c + TAIL);
                let dx = _mm256_set1_ps(x.cast::<f32>().read());
                let mut min = _mm256_setzero_si256();
                if T::AFFINE || T::OFFSET_BITS != 0 {
                    for j in 0..8 {
                        let pair = _mm256_madd_epi16(load(tail.add(64 * j)), broadcast(x.add(SUMS + 4 * j)));
                        min = _mm256_add_epi32(min, pair);
                    }
                }
                let mut sum = sums[c];
                if T::AFFINE {
                    let to = chunk.mins(c).add(ROWS * octet);
                    let scale = _mm256_mul_ps(dmin, dx);
                    _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(min), scale, _mm256_load_ps(to)));
                } else {
                    sum = _mm256_sub_epi32(sum, min);
                }
                let to = chunk.products(c).add(ROWS * octet);
                let scale = _mm256_mul_ps(d, dx);
                _mm256_store_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, _mm256_load_ps(to)));
            }
        }
    }
}
