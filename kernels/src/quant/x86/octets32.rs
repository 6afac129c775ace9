//! How packed groups of eight rows (`rows8`) of 32-blocks are unpacked: a vector holds four codes of each row.

use std::arch::x86_64::*;

use super::formats32::{Format32, Iq4Nl, Q40, Q41, Q50, Q51, Q80};
use super::formats256::levels;
use super::lanes::{bits, load, load_f16x8, nibbles, raise};

/// A packed form of a block type.
pub(super) trait Octet32: Format32 {
    /// Codes `4 * s ..` of eight rows.
    ///
    /// # Safety
    /// AVX2; `p` readable for `8 * BYTES`; `s < 8`.
    unsafe fn step(p: *const u8, s: usize) -> __m256i;

    /// `d` and `m` of eight rows; a type without mins has no second.
    ///
    /// # Safety
    /// AVX2 and F16C; `p` readable for `8 * BYTES`.
    #[inline(always)]
    unsafe fn floats8(p: *const u8) -> (__m256, __m256) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16x8(p), if Self::AFFINE { load_f16x8(p.add(16)) } else { _mm256_setzero_ps() }) }
    }
}

/// Step `s` of nibbles in four words.
///
/// # Safety
/// AVX2; `words` readable for 128 bytes; `s < 8`.
#[inline(always)]
unsafe fn nibble_step(words: *const u8, s: usize) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { nibbles(load(words.add(32 * (s % 4))), s / 4) }
}

/// Step `s` of five-bit codes: a word of fifth bits, then four words of nibbles.
///
/// # Safety
/// AVX2; `words` readable for 160 bytes; `s < 8`.
#[inline(always)]
unsafe fn five_bit_step(words: *const u8, s: usize) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { _mm256_or_si256(nibble_step(words.add(32), s), raise::<4>(bits(load(words), s, 1))) }
}

impl Octet32 for Q40 {
    #[inline(always)]
    unsafe fn step(p: *const u8, s: usize) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { nibble_step(p.add(16), s) }
    }
}

impl Octet32 for Q41 {
    #[inline(always)]
    unsafe fn step(p: *const u8, s: usize) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { nibble_step(p.add(32), s) }
    }
}

impl Octet32 for Q50 {
    #[inline(always)]
    unsafe fn step(p: *const u8, s: usize) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { five_bit_step(p.add(16), s) }
    }
}

impl Octet32 for Q51 {
    #[inline(always)]
    unsafe fn step(p: *const u8, s: usize) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { five_bit_step(p.add(32), s) }
    }
}

impl Octet32 for Q80 {
    #[inline(always)]
    unsafe fn step(p: *const u8, s: usize) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { load(p.add(16 + 32 * s)) }
    }
}

impl Octet32 for Iq4Nl {
    #[inline(always)]
    unsafe fn step(p: *const u8, s: usize) -> __m256i {
        // SAFETY: promised by the caller; nibbles are below 16.
        unsafe { levels(nibble_step(p.add(16), s)) }
    }
}
