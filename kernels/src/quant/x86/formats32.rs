//! How rows of 32-blocks are unpacked into a vector of 32 codes. The layouts are written out in `legacy.rs` and
//! `iq4.rs`.

use std::arch::x86_64::*;

use super::formats256::levels;
use super::integer::{Codes, codes};
use super::lanes::{load, load_f16, load128};

/// A block type of 32 weights: `w = d * (code - OFFSET) + m`. The first two bytes are `d`.
pub(super) trait Format32: Codes {
    /// Bytes of a block.
    const BYTES: usize;
    /// Codes are stored plus this.
    const OFFSET: i32 = 0;
    /// Bytes 2 and 3 are `m`.
    const AFFINE: bool = false;

    /// The 32 codes.
    ///
    /// # Safety
    /// AVX2; `p` readable for `BYTES`.
    unsafe fn codes(p: *const u8) -> __m256i;

    /// `(d, m)`.
    ///
    /// # Safety
    /// F16C; `p` readable for `BYTES`.
    #[inline(always)]
    unsafe fn floats(p: *const u8) -> (f32, f32) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16(p), if Self::AFFINE { load_f16(p.add(2)) } else { 0.0 }) }
    }
}

pub(super) struct Q40;
pub(super) struct Q41;
pub(super) struct Q50;
pub(super) struct Q51;
pub(super) struct Q80;
pub(super) struct Iq4Nl;

codes! {
    Q40: signed false, fold 8;
    Q41: signed false, fold 8;
    Q50: signed false, fold 4;
    Q51: signed false, fold 4;
    Q80: signed true, fold 1;
    Iq4Nl: signed true, fold 1;
}

/// Low nibbles of 16 bytes, then the high ones.
///
/// # Safety
/// AVX2; `p` readable for 16 bytes.
#[inline(always)]
unsafe fn nibbles_of_16(p: *const u8) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        let packed = load128(p);
        let both = _mm256_set_m128i(_mm_srli_epi16::<4>(packed), packed);
        _mm256_and_si256(both, _mm256_set1_epi8(15))
    }
}

/// 16 in every byte whose bit is set in the four bytes at `p`.
///
/// # Safety
/// AVX2; `p` readable for 4 bytes.
#[inline(always)]
unsafe fn fifth_bits(p: *const u8) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        let word = _mm256_set1_epi32(p.cast::<i32>().read_unaligned());
        // Byte i / 8 of the word to byte i; then keep bit i % 8 and compare.
        let spread = _mm256_set_epi64x(0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let kept = _mm256_and_si256(_mm256_shuffle_epi8(word, spread), bit);
        _mm256_and_si256(_mm256_cmpeq_epi8(kept, bit), _mm256_set1_epi8(16))
    }
}

impl Format32 for Q40 {
    const BYTES: usize = 18;
    const OFFSET: i32 = 8;

    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { nibbles_of_16(p.add(2)) }
    }
}

impl Format32 for Q41 {
    const BYTES: usize = 20;
    const AFFINE: bool = true;

    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { nibbles_of_16(p.add(4)) }
    }
}

impl Format32 for Q50 {
    const BYTES: usize = 22;
    const OFFSET: i32 = 16;

    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { _mm256_or_si256(nibbles_of_16(p.add(6)), fifth_bits(p.add(2))) }
    }
}

impl Format32 for Q51 {
    const BYTES: usize = 24;
    const AFFINE: bool = true;

    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { _mm256_or_si256(nibbles_of_16(p.add(8)), fifth_bits(p.add(4))) }
    }
}

impl Format32 for Q80 {
    const BYTES: usize = 34;

    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { load(p.add(2)) }
    }
}

impl Format32 for Iq4Nl {
    const BYTES: usize = 18;

    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m256i {
        // SAFETY: promised by the caller; nibbles are below 16.
        unsafe { levels(nibbles_of_16(p.add(2))) }
    }
}
