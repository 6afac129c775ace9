//! A tile's chunk times a few columns with AVX-512 VNNI: sixteen rows by `C` columns in registers.

// One index for several arrays of registers reads better than zipped iterators.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::gemm::Chunk;
use super::octets32::Octet32;
use super::octets256::Octet256;
use super::panel::{SUMS, lines_of, tail_of};
use super::tile::{CODES_32, CODES_256, LINES_32};

/// Bytes from a column to the next.
const COLUMN: usize = 64 * lines_of(false);
const TAIL: usize = tail_of(false);

/// The products of `steps` lines from `codes` with the activations from `x` on of each column.
///
/// # Safety
/// AVX-512 F and VNNI; the lines and the activations readable.
#[inline(always)]
unsafe fn dots<const C: usize>(codes: *const u8, steps: usize, x: *const u8) -> [__m512i; C] {
    // SAFETY: promised by the caller.
    unsafe {
        let mut dots = [_mm512_setzero_si512(); C];
        for s in 0..steps {
            let line = _mm512_loadu_si512(codes.add(64 * s).cast());
            for c in 0..C {
                dots[c] = _mm512_dpbusd_epi32(dots[c], line, broadcast(x.add(COLUMN * c + 4 * s)));
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
/// AVX-512 F, BW, VNNI; `chunk` as [`Chunk`] says, for blocks of `T` and `C` columns.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn chunk_of_32<T: Octet32, const C: usize>(chunk: &Chunk) {
    let offset = if T::SIGNED { 128 } else { T::OFFSET };
    // SAFETY: block `b` is inside the chunk; a column has sixteen sums.
    unsafe {
        for b in 0..chunk.blocks {
            let p = chunk.w.add(64 * LINES_32 * b);
            let sums = dots::<C>(p, CODES_32, chunk.x.add(32 * b));
            let d = _mm512_loadu_ps(p.add(64 * CODES_32).cast());
            for c in 0..C {
                let tail = chunk.x.add(COLUMN * c + TAIL + 4 * b);
                let dx = tail.cast::<f32>().read();
                let sum = tail.add(SUMS).cast::<i32>().read();
                let dot = _mm512_sub_epi32(sums[c], _mm512_set1_epi32(offset * sum));
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(dx));
                let to = chunk.products(c);
                _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, _mm512_load_ps(to)));
                if T::AFFINE {
                    let m = _mm512_loadu_ps(p.add(64 * (CODES_32 + 1)).cast());
                    let to = chunk.mins(c);
                    _mm512_store_ps(to, _mm512_fmadd_ps(m, _mm512_set1_ps(dx * sum as f32), _mm512_load_ps(to)));
                }
            }
        }
    }
}

/// # Safety
/// AVX-512 F, BW, VNNI; `chunk` as [`Chunk`] says, for a block of `T` and `C` columns.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn chunk_of_256<T: Octet256, const C: usize>(chunk: &Chunk) {
    let groups = 256 / T::GROUP;
    // SAFETY: the block is the chunk; a column has sixteen sums.
    unsafe {
        let p = chunk.w;
        let mut sums = [_mm512_setzero_si512(); C];
        for g in 0..groups {
            // Each scale stands twice in its word: the upper one, with its sign.
            let scale = _mm512_srai_epi32::<16>(_mm512_loadu_si512(p.add(64 * (CODES_256 + g)).cast()));
            let dots = dots::<C>(p.add(16 * T::GROUP * g), T::GROUP / 4, chunk.x.add(T::GROUP * g));
            for c in 0..C {
                sums[c] = _mm512_add_epi32(sums[c], _mm512_mullo_epi32(dots[c], scale));
            }
        }
        let tail = p.add(64 * (CODES_256 + groups));
        let d = _mm512_loadu_ps(tail.add(64 * 8).cast());
        let dmin = _mm512_loadu_ps(tail.add(64 * 9).cast());
        for c in 0..C {
            let x = chunk.x.add(COLUMN * c + TAIL);
            let dx = _mm512_set1_ps(x.cast::<f32>().read());
            let mut min = _mm512_setzero_si512();
            for j in 0..8 {
                let pair = _mm512_loadu_si512(tail.add(64 * j).cast());
                min = _mm512_add_epi32(min, _mm512_madd_epi16(pair, broadcast(x.add(SUMS + 4 * j))));
            }
            let mut sum = sums[c];
            if T::AFFINE {
                let (to, scale) = (chunk.mins(c), _mm512_mul_ps(dmin, dx));
                _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(min), scale, _mm512_load_ps(to)));
            } else {
                sum = _mm512_sub_epi32(sum, min);
            }
            let (to, scale) = (chunk.products(c), _mm512_mul_ps(d, dx));
            _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, _mm512_load_ps(to)));
        }
    }
}
