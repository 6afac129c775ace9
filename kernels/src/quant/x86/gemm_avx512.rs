//! A tile times a few columns with AVX-512 VNNI: sixteen rows by `C` columns in registers.

use std::arch::x86_64::*;

use super::gemm::{Out, Xs};
use super::octets32::Octet32;
use super::octets256::Octet256;
use super::tile::{CODES_32, CODES_256, LINES_32, lines_256};
use crate::quant::activation::{A_BYTES, A_QUANTS, A_SUM, K_BYTES, K_QUANTS, K_SUMS};
use crate::quant::tile::TILE_ROWS;

/// The products of `steps` lines from `codes` with the activations from byte `at` of each column.
///
/// # Safety
/// AVX-512 F and VNNI; the lines and the activations readable.
#[inline(always)]
unsafe fn dots<const C: usize>(codes: *const u8, steps: usize, xs: &Xs<C>, at: usize) -> [__m512i; C] {
    // SAFETY: promised by the caller.
    unsafe {
        let mut dots = [_mm512_setzero_si512(); C];
        for s in 0..steps {
            let line = _mm512_loadu_si512(codes.add(64 * s).cast());
            for c in 0..C {
                dots[c] = _mm512_dpbusd_epi32(dots[c], line, broadcast(xs[c].add(at + 4 * s)));
            }
        }
        dots
    }
}

/// # Safety
/// AVX-512 F; `x` readable for 4 bytes.
#[inline(always)]
unsafe fn broadcast(x: *const u8) -> __m512i {
    // SAFETY: promised by the caller.
    unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// # Safety
/// AVX-512 F, BW, VNNI; `lines` a tile of `blocks` blocks of `T`, each of `xs` readable for as many blocks of Q8_A.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn tile_of_32<T: Octet32, const C: usize>(lines: *const u8, blocks: usize, xs: Xs<C>) -> Out<C> {
    let (mut products, mut mins) = ([_mm512_setzero_ps(); C], [_mm512_setzero_ps(); C]);
    let offset = if T::SIGNED { 128 } else { T::OFFSET };
    for b in 0..blocks {
        // SAFETY: block `b` is inside the tile and inside the columns.
        unsafe {
            let p = lines.add(64 * LINES_32 * b);
            let at = b * A_BYTES;
            let sums = dots::<C>(p, CODES_32, &xs, at + A_QUANTS);
            let d = _mm512_loadu_ps(p.add(64 * CODES_32).cast());
            let m = _mm512_loadu_ps(p.add(64 * (CODES_32 + 1)).cast());
            for c in 0..C {
                let dx = xs[c].add(at).cast::<f32>().read_unaligned();
                let sum = xs[c].add(at + A_SUM).cast::<i32>().read_unaligned();
                let dot = _mm512_sub_epi32(sums[c], _mm512_set1_epi32(offset * sum));
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(dx));
                products[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, products[c]);
                if T::AFFINE {
                    mins[c] = _mm512_fmadd_ps(m, _mm512_set1_ps(dx * sum as f32), mins[c]);
                }
            }
        }
    }
    let mut out = [[0.0; TILE_ROWS]; C];
    for c in 0..C {
        // SAFETY: a column of `out` has sixteen places.
        unsafe { _mm512_storeu_ps(out[c].as_mut_ptr(), _mm512_add_ps(products[c], mins[c])) };
    }
    out
}

/// # Safety
/// AVX-512 F, BW, VNNI; `lines` a tile of `blocks` blocks of `T`, each of `xs` readable for as many blocks of Q8_K.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn tile_of_256<T: Octet256, const C: usize>(lines: *const u8, blocks: usize, xs: Xs<C>) -> Out<C> {
    let (mut products, mut mins) = ([_mm512_setzero_ps(); C], [_mm512_setzero_ps(); C]);
    let groups = 256 / T::GROUP;
    for b in 0..blocks {
        // SAFETY: block `b` is inside the tile and inside the columns.
        unsafe {
            let p = lines.add(64 * lines_256(T::GROUP) * b);
            let at = b * K_BYTES;
            let mut sums = [_mm512_setzero_si512(); C];
            for g in 0..groups {
                // Each scale stands twice in its word: the upper one, with its sign.
                let scale = _mm512_srai_epi32::<16>(_mm512_loadu_si512(p.add(64 * (CODES_256 + g)).cast()));
                let dots = dots::<C>(p.add(16 * T::GROUP * g), T::GROUP / 4, &xs, at + K_QUANTS + T::GROUP * g);
                for c in 0..C {
                    sums[c] = _mm512_add_epi32(sums[c], _mm512_mullo_epi32(dots[c], scale));
                }
            }
            let tail = p.add(64 * (CODES_256 + groups));
            let d = _mm512_loadu_ps(tail.add(64 * 8).cast());
            let dmin = _mm512_loadu_ps(tail.add(64 * 9).cast());
            for c in 0..C {
                let dx = _mm512_set1_ps(xs[c].add(at).cast::<f32>().read_unaligned());
                let mut min = _mm512_setzero_si512();
                for j in 0..8 {
                    let pair = _mm512_loadu_si512(tail.add(64 * j).cast());
                    let sums = broadcast(xs[c].add(at + K_SUMS + 4 * j));
                    min = _mm512_add_epi32(min, _mm512_madd_epi16(pair, sums));
                }
                let mut sum = sums[c];
                if T::AFFINE {
                    mins[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(min), _mm512_mul_ps(dmin, dx), mins[c]);
                } else {
                    sum = _mm512_sub_epi32(sum, min);
                }
                products[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(d, dx), products[c]);
            }
        }
    }
    let mut out = [[0.0; TILE_ROWS]; C];
    for c in 0..C {
        // SAFETY: a column of `out` has sixteen places.
        unsafe { _mm512_storeu_ps(out[c].as_mut_ptr(), _mm512_sub_ps(products[c], mins[c])) };
    }
    out
}
