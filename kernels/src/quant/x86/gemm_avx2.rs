//! A tile times a few columns with AVX2: eight rows by `C` columns in registers, the two groups of rows in turn.
//!
//! Products of pairs are added in i16 as often as the codes allow, then scaled and widened by one multiply-add: with
//! four-bit codes nine multiplications do the work of eight.

use std::arch::x86_64::*;

use super::gemm::{Out, Xs};
use super::integer::{Codes, broadcast};
use super::lanes::{load, multiply};
use super::octets32::Octet32;
use super::octets256::Octet256;
use super::tile::{CODES_32, CODES_256, LINES_32, lines_256};
use crate::quant::activation::{A_BYTES, A_QUANTS, A_SUM, K_BYTES, K_QUANTS, K_SUMS};
use crate::quant::rows8::ROWS;
use crate::quant::tile::TILE_ROWS;

/// Adds to `sums`, for each column, scale times the products of `steps` lines from `codes` with the activations from
/// byte `at` of each column.
///
/// # Safety
/// AVX2; the lines and the activations readable; `steps` a multiple of `T::FOLD`.
#[inline(always)]
unsafe fn add_scaled<T: Codes, const C: usize>(
    sums: &mut [__m256i; C],
    codes: *const u8,
    steps: usize,
    xs: &Xs<C>,
    at: usize,
    scale: __m256i,
) {
    // SAFETY: promised by the caller.
    unsafe {
        for first in (0..steps).step_by(T::FOLD) {
            let mut pairs = [_mm256_setzero_si256(); C];
            for s in first..first + T::FOLD {
                let line = load(codes.add(64 * s));
                for c in 0..C {
                    let x = broadcast(xs[c].add(at + 4 * s));
                    let product = if T::SIGNED { multiply::<true>(line, x) } else { multiply::<false>(line, x) };
                    pairs[c] = _mm256_add_epi16(pairs[c], product);
                }
            }
            for c in 0..C {
                sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(pairs[c], scale));
            }
        }
    }
}

/// # Safety
/// AVX2, FMA, F16C; `lines` a tile of `blocks` blocks of `T`, each of `xs` readable for as many blocks of Q8_A.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile_of_32<T: Octet32, const C: usize>(lines: *const u8, blocks: usize, xs: Xs<C>) -> Out<C> {
    let mut out = [[0.0; TILE_ROWS]; C];
    let one = _mm256_set1_epi16(1);
    for octet in 0..2 {
        let (mut products, mut mins) = ([_mm256_setzero_ps(); C], [_mm256_setzero_ps(); C]);
        for b in 0..blocks {
            // SAFETY: block `b` is inside the tile and inside the columns.
            unsafe {
                let p = lines.add(64 * LINES_32 * b + 32 * octet);
                let at = b * A_BYTES;
                let mut sums = [_mm256_setzero_si256(); C];
                add_scaled::<T, C>(&mut sums, p, CODES_32, &xs, at + A_QUANTS, one);
                let d = _mm256_loadu_ps(p.add(64 * CODES_32).cast());
                for c in 0..C {
                    let dx = xs[c].add(at).cast::<f32>().read_unaligned();
                    let sum = xs[c].add(at + A_SUM).cast::<i32>().read_unaligned();
                    let mut dot = sums[c];
                    if T::OFFSET != 0 {
                        dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(T::OFFSET * sum));
                    }
                    let scale = _mm256_mul_ps(d, _mm256_set1_ps(dx));
                    products[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, products[c]);
                    if T::AFFINE {
                        let m = _mm256_loadu_ps(p.add(64 * (CODES_32 + 1)).cast());
                        mins[c] = _mm256_fmadd_ps(m, _mm256_set1_ps(dx * sum as f32), mins[c]);
                    }
                }
            }
        }
        for c in 0..C {
            // SAFETY: a column of `out` has eight places for each group of rows.
            unsafe {
                _mm256_storeu_ps(out[c].as_mut_ptr().add(ROWS * octet), _mm256_add_ps(products[c], mins[c]));
            }
        }
    }
    out
}

/// # Safety
/// AVX2, FMA, F16C; `lines` a tile of `blocks` blocks of `T`, each of `xs` readable for as many blocks of Q8_K.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn tile_of_256<T: Octet256, const C: usize>(lines: *const u8, blocks: usize, xs: Xs<C>) -> Out<C> {
    let mut out = [[0.0; TILE_ROWS]; C];
    let groups = 256 / T::GROUP;
    for octet in 0..2 {
        let (mut products, mut mins) = ([_mm256_setzero_ps(); C], [_mm256_setzero_ps(); C]);
        for b in 0..blocks {
            // SAFETY: block `b` is inside the tile and inside the columns.
            unsafe {
                let p = lines.add(64 * lines_256(T::GROUP) * b + 32 * octet);
                let at = b * K_BYTES;
                let mut sums = [_mm256_setzero_si256(); C];
                for g in 0..groups {
                    let scale = load(p.add(64 * (CODES_256 + g)));
                    let codes = p.add(16 * T::GROUP * g);
                    add_scaled::<T, C>(&mut sums, codes, T::GROUP / 4, &xs, at + K_QUANTS + T::GROUP * g, scale);
                }
                let tail = p.add(64 * (CODES_256 + groups));
                let d = _mm256_loadu_ps(tail.add(64 * 8).cast());
                let dmin = _mm256_loadu_ps(tail.add(64 * 9).cast());
                for c in 0..C {
                    let dx = _mm256_set1_ps(xs[c].add(at).cast::<f32>().read_unaligned());
                    let mut min = _mm256_setzero_si256();
                    if T::AFFINE || T::OFFSET_BITS != 0 {
                        for j in 0..8 {
                            let pair =
                                _mm256_madd_epi16(load(tail.add(64 * j)), broadcast(xs[c].add(at + K_SUMS + 4 * j)));
                            min = _mm256_add_epi32(min, pair);
                        }
                    }
                    let mut sum = sums[c];
                    if T::AFFINE {
                        mins[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(min), _mm256_mul_ps(dmin, dx), mins[c]);
                    } else {
                        sum = _mm256_sub_epi32(sum, min);
                    }
                    products[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(d, dx), products[c]);
                }
            }
        }
        for c in 0..C {
            // SAFETY: a column of `out` has eight places for each group of rows.
            unsafe {
                _mm256_storeu_ps(out[c].as_mut_ptr().add(ROWS * octet), _mm256_sub_ps(products[c], mins[c]));
            }
        }
    }
    out
}
