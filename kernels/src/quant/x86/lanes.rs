//! Small pieces that several kernels share. All need AVX2, FMA and F16C.

use std::arch::x86_64::*;

/// 32 bytes from anywhere.
///
/// # Safety
/// AVX2, and `p` readable for 32 bytes.
#[inline(always)]
pub(super) unsafe fn load(p: *const u8) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { _mm256_loadu_si256(p.cast()) }
}

/// 16 bytes from anywhere.
///
/// # Safety
/// `p` readable for 16 bytes.
#[inline(always)]
pub(super) unsafe fn load128(p: *const u8) -> __m128i {
    // SAFETY: promised by the caller.
    unsafe { _mm_loadu_si128(p.cast()) }
}

/// A little-endian f16, widened.
///
/// # Safety
/// F16C, and `p` readable for 2 bytes.
#[inline(always)]
pub(super) unsafe fn load_f16(p: *const u8) -> f32 {
    // SAFETY: promised by the caller.
    unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(p.cast::<u16>().read_unaligned())))) }
}

/// Eight little-endian f16, widened.
///
/// # Safety
/// F16C, and `p` readable for 16 bytes.
#[inline(always)]
pub(super) unsafe fn load_f16x8(p: *const u8) -> __m256 {
    // SAFETY: promised by the caller.
    unsafe { _mm256_cvtph_ps(load128(p)) }
}

/// The nibbles of each byte: below if `high` is 0, above if it is 1.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn nibbles(v: __m256i, high: usize) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { bits(v, 4 * high, 15) }
}

/// `(byte >> shift) & mask` of each byte; `mask << shift` must fit a byte.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn bits(v: __m256i, shift: usize, mask: i8) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        let shifted = if shift == 0 { v } else { _mm256_srl_epi16(v, _mm_cvtsi32_si128(shift as i32)) };
        _mm256_and_si256(shifted, _mm256_set1_epi8(mask))
    }
}

/// `bits << up` of each byte; the bits must stay inside the byte.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn raise<const UP: i32>(bits: __m256i) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { _mm256_slli_epi16::<UP>(bits) }
}

/// Products of 32 codes and 32 activations, added in pairs to i16. `|x| <= 127`.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn multiply<const SIGNED: bool>(q: __m256i, x: __m256i) -> __m256i {
    // No pair saturates: unsigned codes are at most 63, and signed ones at most 128 in magnitude, 2 * 128 * 127 < 2^15.
    // `x` is never -128, so its sign can be turned.
    // SAFETY: the features are promised by the caller.
    unsafe {
        if SIGNED {
            _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q))
        } else {
            _mm256_maddubs_epi16(q, x)
        }
    }
}

/// The sum of eight i32.
///
/// # Safety
/// AVX2.
#[inline(always)]
pub(super) unsafe fn sum_i32(v: __m256i) -> i32 {
    // SAFETY: promised by the caller.
    unsafe {
        let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
        let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
        _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32::<0b00_00_00_01>(v)))
    }
}
