//! The integer inner product of packed rows: with AVX2, and with the dot-product instruction of VNNI.

use std::arch::x86_64::*;

use super::lanes::multiply;

/// What the inner product must know of the codes of a type.
pub(super) trait Codes {
    /// Codes are signed; otherwise unsigned and at most 63.
    const SIGNED: bool;
    /// Products of pairs that may be added in i16 without overflow.
    const FOLD: usize;
}

/// The largest code, twice 127 times it, says how many sums of two products fit an i16.
macro_rules! codes {
    ($($name:ident: signed $signed:literal, fold $fold:literal;)*) => {$(
        impl $crate::quant::x86::integer::Codes for $name {
            const SIGNED: bool = $signed;
            const FOLD: usize = $fold;
        }
    )*};
}

pub(super) use codes;

/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn products<T: Codes>(codes: __m256i, x: __m256i) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { if T::SIGNED { multiply::<true>(codes, x) } else { multiply::<false>(codes, x) } }
}

/// How codes are multiplied with broadcast activations and scaled, eight rows in eight lanes.
pub(super) trait Integer {
    /// For each row: scale times the sum, over the steps, of the products of four codes with four activations.
    /// `x` points to the activations of the first step; `scale` holds the scale of each row twice, as i16.
    ///
    /// The number of steps is a multiple of `T::FOLD`.
    ///
    /// # Safety
    /// The features of the level; `x` readable for four bytes a step.
    unsafe fn scaled<T: Codes>(steps: &[__m256i], x: *const u8, scale: __m256i) -> __m256i;
}

/// Products in pairs to i16, scaled and widened by one multiply-add.
pub(super) struct Maddubs;

/// Products in fours to i32, then one multiplication.
pub(super) struct Dpbusd;

/// Four activations, to all lanes.
///
/// # Safety
/// AVX2; `x` readable for 4 bytes.
#[inline(always)]
pub(super) unsafe fn broadcast(x: *const u8) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

impl Integer for Maddubs {
    #[inline(always)]
    unsafe fn scaled<T: Codes>(steps: &[__m256i], x: *const u8, scale: __m256i) -> __m256i {
        // SAFETY: promised by the caller. `T::FOLD` sums of pairs fit an i16.
        unsafe {
            let mut total = _mm256_setzero_si256();
            for (i, steps) in steps.chunks_exact(T::FOLD).enumerate() {
                let mut pairs = _mm256_setzero_si256();
                for (s, &codes) in steps.iter().enumerate() {
                    let x = broadcast(x.add(4 * (i * T::FOLD + s)));
                    pairs = _mm256_add_epi16(pairs, products::<T>(codes, x));
                }
                total = _mm256_add_epi32(total, _mm256_madd_epi16(pairs, scale));
            }
            total
        }
    }
}

impl Integer for Dpbusd {
    #[inline(always)]
    unsafe fn scaled<T: Codes>(steps: &[__m256i], x: *const u8, scale: __m256i) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe {
            let mut total = _mm256_setzero_si256();
            for (s, &codes) in steps.iter().enumerate() {
                let x = broadcast(x.add(4 * s));
                total = if T::SIGNED {
                    _mm256_dpbusd_epi32(total, _mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
                } else {
                    _mm256_dpbusd_epi32(total, codes, x)
                };
            }
            _mm256_mullo_epi32(total, _mm256_srai_epi32::<16>(scale))
        }
    }
}
