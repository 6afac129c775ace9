//! Dot products of float rows: 32 chains of fused multiply-adds, as in the scalar definition.

use std::arch::x86_64::*;

use super::lanes::load_f16x8;
use crate::DType;
use crate::cpu::isa::{Avx2, Avx512Vnni};
use crate::quant::plain::element;
use crate::quant::scalar::{LANES, reduce};

/// The caller has checked that `w` holds `x.len()` elements of F32, F16 or BF16.
pub(in crate::quant) fn dot_avx2(_: Avx2, dtype: DType, w: &[u8], x: &[f32]) -> f32 {
    debug_assert_eq!(Some(w.len()), dtype.row_bytes(x.len()));
    let mut lanes = [0.0; LANES];
    // SAFETY: the token proves the features, and `w` has the size that the caller checked.
    unsafe {
        match dtype {
            DType::F32 => lanes_avx2::<F32>(w.as_ptr(), x, &mut lanes),
            DType::F16 => lanes_avx2::<F16>(w.as_ptr(), x, &mut lanes),
            _ => lanes_avx2::<Bf16>(w.as_ptr(), x, &mut lanes),
        }
    }
    finish(dtype, w, x, lanes)
}

/// The caller has checked that `w` holds `x.len()` elements of F32, F16 or BF16.
pub(in crate::quant) fn dot_avx512(_: Avx512Vnni, dtype: DType, w: &[u8], x: &[f32]) -> f32 {
    debug_assert_eq!(Some(w.len()), dtype.row_bytes(x.len()));
    let mut lanes = [0.0; LANES];
    // SAFETY: the token proves the features, and `w` has the size that the caller checked.
    unsafe {
        match dtype {
            DType::F32 => lanes_avx512::<F32>(w.as_ptr(), x, &mut lanes),
            DType::F16 => lanes_avx512::<F16>(w.as_ptr(), x, &mut lanes),
            _ => lanes_avx512::<Bf16>(w.as_ptr(), x, &mut lanes),
        }
    }
    finish(dtype, w, x, lanes)
}

/// The elements after the last whole step, and the tree.
fn finish(dtype: DType, w: &[u8], x: &[f32], mut lanes: [f32; LANES]) -> f32 {
    let done = x.len() / LANES * LANES;
    for (i, &x) in x.iter().enumerate().skip(done) {
        lanes[i - done] = element(dtype, w, i).mul_add(x, lanes[i - done]);
    }
    reduce(&lanes)
}

trait Plain {
    const BYTES: usize;

    /// # Safety
    /// AVX2 and F16C; `p` readable for 8 elements.
    unsafe fn load8(p: *const u8) -> __m256;

    /// # Safety
    /// AVX-512F; `p` readable for 16 elements.
    unsafe fn load16(p: *const u8) -> __m512;
}

struct F32;
struct F16;
struct Bf16;

impl Plain for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load8(p: *const u8) -> __m256 {
        // SAFETY: promised by the caller.
        unsafe { _mm256_loadu_ps(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load16(p: *const u8) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_loadu_ps(p.cast()) }
    }
}

impl Plain for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load8(p: *const u8) -> __m256 {
        // SAFETY: promised by the caller.
        unsafe { load_f16x8(p) }
    }

    #[inline(always)]
    unsafe fn load16(p: *const u8) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
}

impl Plain for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load8(p: *const u8) -> __m256 {
        // SAFETY: promised by the caller.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())))) }
    }

    #[inline(always)]
    unsafe fn load16(p: *const u8) -> __m512 {
        // SAFETY: promised by the caller.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())))) }
    }
}

/// # Safety
/// AVX2, FMA, F16C; `w` readable for `x.len()` elements.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn lanes_avx2<T: Plain>(w: *const u8, x: &[f32], lanes: &mut [f32; LANES]) {
    let mut sums = [_mm256_setzero_ps(); LANES / 8];
    for (step, x) in x.chunks_exact(LANES).enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: elements `step * LANES + 8 * v` and the 7 after it are inside the row and inside `x`.
            unsafe {
                let weights = T::load8(w.add((step * LANES + 8 * v) * T::BYTES));
                *sum = _mm256_fmadd_ps(weights, _mm256_loadu_ps(x.as_ptr().add(8 * v)), *sum);
            }
        }
    }
    for (out, sum) in lanes.chunks_exact_mut(8).zip(sums) {
        // SAFETY: `out` has 8 elements.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
    }
}

/// # Safety
/// AVX-512F; `w` readable for `x.len()` elements.
#[target_feature(enable = "avx512f")]
unsafe fn lanes_avx512<T: Plain>(w: *const u8, x: &[f32], lanes: &mut [f32; LANES]) {
    let mut sums = [_mm512_setzero_ps(); LANES / 16];
    for (step, x) in x.chunks_exact(LANES).enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: elements `step * LANES + 16 * v` and the 15 after it are inside the row and inside `x`.
            unsafe {
                let weights = T::load16(w.add((step * LANES + 16 * v) * T::BYTES));
                *sum = _mm512_fmadd_ps(weights, _mm512_loadu_ps(x.as_ptr().add(16 * v)), *sum);
            }
        }
    }
    for (out, sum) in lanes.chunks_exact_mut(16).zip(sums) {
        // SAFETY: `out` has 16 elements.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
    }
}
