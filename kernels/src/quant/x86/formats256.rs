//! How rows of 256-blocks are unpacked into vectors of 32 codes. The layouts are written out in `k_quants.rs` and
//! `iq4.rs`.

use std::arch::x86_64::*;

use super::integer::{Codes, codes};
use super::lanes::{bits, load, load_f16, load128, nibbles, raise};
use crate::quant::iq4::LEVELS;

/// A block type of 256 weights: `w = d * scale * (code - 2^OFFSET_BITS) - dmin * min`.
pub(super) trait Format256: Codes {
    /// Bytes of a block.
    const BYTES: usize;
    /// Codes are stored plus `1 << OFFSET_BITS`; 0 for none.
    const OFFSET_BITS: i32 = 0;
    /// There are mins and a `dmin`.
    const AFFINE: bool = false;

    /// Codes `32 * j .. 32 * j + 32`.
    ///
    /// # Safety
    /// AVX2; `p` readable for `BYTES`; `j < 8`.
    unsafe fn codes(p: *const u8, j: usize) -> __m256i;

    /// The scale and the min of each 16 weights, as i8.
    ///
    /// # Safety
    /// AVX2; `p` readable for `BYTES`.
    unsafe fn scales(p: *const u8) -> (__m128i, __m128i);

    /// `(d, dmin)`.
    ///
    /// # Safety
    /// F16C; `p` readable for `BYTES`.
    unsafe fn floats(p: *const u8) -> (f32, f32);
}

pub(super) struct Q2K;
pub(super) struct Q3K;
pub(super) struct Q4K;
pub(super) struct Q5K;
pub(super) struct Q6K;
pub(super) struct Iq4Xs;

codes! {
    Q2K: signed false, fold 4;
    Q3K: signed false, fold 4;
    Q4K: signed false, fold 8;
    Q5K: signed false, fold 4;
    Q6K: signed false, fold 2;
    Iq4Xs: signed true, fold 1;
}

impl Format256 for Q2K {
    const BYTES: usize = 84;
    const AFFINE: bool = true;

    #[inline(always)]
    unsafe fn codes(p: *const u8, j: usize) -> __m256i {
        // SAFETY: promised by the caller; `16 + 32 + 32 <= 84`.
        unsafe { bits(load(p.add(16 + 32 * (j / 4))), 2 * (j % 4), 3) }
    }

    #[inline(always)]
    unsafe fn scales(p: *const u8) -> (__m128i, __m128i) {
        // SAFETY: promised by the caller.
        unsafe {
            let (packed, mask) = (load128(p), _mm_set1_epi8(15));
            (_mm_and_si128(packed, mask), _mm_and_si128(_mm_srli_epi16::<4>(packed), mask))
        }
    }

    #[inline(always)]
    unsafe fn floats(p: *const u8) -> (f32, f32) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16(p.add(80)), load_f16(p.add(82))) }
    }
}

impl Format256 for Q3K {
    const BYTES: usize = 110;
    const OFFSET_BITS: i32 = 2;

    #[inline(always)]
    unsafe fn codes(p: *const u8, j: usize) -> __m256i {
        // SAFETY: promised by the caller; the fields end at byte 96.
        unsafe {
            let low = bits(load(p.add(32 + 32 * (j / 4))), 2 * (j % 4), 3);
            _mm256_or_si256(low, raise::<2>(bits(load(p), j, 1)))
        }
    }

    #[inline(always)]
    unsafe fn scales(p: *const u8) -> (__m128i, __m128i) {
        // SAFETY: promised by the caller; the scales are bytes 96 to 107.
        unsafe {
            let low = _mm_loadl_epi64(p.add(96).cast());
            let high = p.add(104).cast::<i32>().read_unaligned();
            let high = _mm_set_epi32(high >> 6, high >> 4, high >> 2, high);
            let low = _mm_unpacklo_epi64(low, _mm_srli_epi16::<4>(low));
            let low = _mm_and_si128(low, _mm_set1_epi8(15));
            let high = _mm_slli_epi16::<4>(_mm_and_si128(high, _mm_set1_epi8(3)));
            (_mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32)), _mm_setzero_si128())
        }
    }

    #[inline(always)]
    unsafe fn floats(p: *const u8) -> (f32, f32) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16(p.add(108)), 0.0) }
    }
}

/// Scales and mins of Q4_K and Q5_K from their 12 bytes at `p`, each twice.
///
/// # Safety
/// `p` readable for 12 bytes.
#[inline(always)]
unsafe fn scales_mins(p: *const u8) -> (__m128i, __m128i) {
    // SAFETY: promised by the caller.
    unsafe {
        let word = |i: usize| p.add(4 * i).cast::<u32>().read_unaligned();
        let (a, b, c) = (word(0), word(1), word(2));
        let scales_high = (c & 0x0f0f_0f0f) | ((a >> 2) & 0x3030_3030);
        let mins_high = ((c >> 4) & 0x0f0f_0f0f) | ((b >> 2) & 0x3030_3030);
        let twice = |low: u32, high: u32| {
            let v = _mm_cvtsi64_si128((u64::from(low & 0x3f3f_3f3f) | (u64::from(high) << 32)) as i64);
            _mm_unpacklo_epi8(v, v)
        };
        (twice(a, scales_high), twice(b, mins_high))
    }
}

impl Format256 for Q4K {
    const BYTES: usize = 144;
    const AFFINE: bool = true;

    #[inline(always)]
    unsafe fn codes(p: *const u8, j: usize) -> __m256i {
        // SAFETY: promised by the caller; `16 + 4 * 32 <= 144`.
        unsafe { nibbles(load(p.add(16 + 32 * (j / 2))), j % 2) }
    }

    #[inline(always)]
    unsafe fn scales(p: *const u8) -> (__m128i, __m128i) {
        // SAFETY: promised by the caller.
        unsafe { scales_mins(p.add(4)) }
    }

    #[inline(always)]
    unsafe fn floats(p: *const u8) -> (f32, f32) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16(p), load_f16(p.add(2))) }
    }
}

impl Format256 for Q5K {
    const BYTES: usize = 176;
    const AFFINE: bool = true;

    #[inline(always)]
    unsafe fn codes(p: *const u8, j: usize) -> __m256i {
        // SAFETY: promised by the caller; `48 + 4 * 32 <= 176`.
        unsafe {
            let low = nibbles(load(p.add(48 + 32 * (j / 2))), j % 2);
            _mm256_or_si256(low, raise::<4>(bits(load(p.add(16)), j, 1)))
        }
    }

    #[inline(always)]
    unsafe fn scales(p: *const u8) -> (__m128i, __m128i) {
        // SAFETY: promised by the caller.
        unsafe { scales_mins(p.add(4)) }
    }

    #[inline(always)]
    unsafe fn floats(p: *const u8) -> (f32, f32) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16(p), load_f16(p.add(2))) }
    }
}

impl Format256 for Q6K {
    const BYTES: usize = 210;
    const OFFSET_BITS: i32 = 5;

    #[inline(always)]
    unsafe fn codes(p: *const u8, j: usize) -> __m256i {
        // SAFETY: promised by the caller; the fields end at byte 192.
        unsafe {
            let low = nibbles(load(p.add(64 * (j / 4) + 32 * (j % 2))), j % 4 / 2);
            _mm256_or_si256(low, raise::<4>(bits(load(p.add(128 + 32 * (j / 4))), 2 * (j % 4), 3)))
        }
    }

    #[inline(always)]
    unsafe fn scales(p: *const u8) -> (__m128i, __m128i) {
        // SAFETY: promised by the caller; `192 + 16 <= 210`.
        unsafe { (load128(p.add(192)), _mm_setzero_si128()) }
    }

    #[inline(always)]
    unsafe fn floats(p: *const u8) -> (f32, f32) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16(p.add(208)), 0.0) }
    }
}

/// Four-bit codes to levels.
///
/// # Safety
/// AVX2; every byte of `codes` below 16.
#[inline(always)]
pub(super) unsafe fn levels(codes: __m256i) -> __m256i {
    // SAFETY: promised by the caller; the table is 16 bytes.
    unsafe { _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load128(LEVELS.as_ptr().cast())), codes) }
}

/// The levels of sixteen codes in each half, plus 128.
///
/// # Safety
/// As [`levels`].
#[inline(always)]
pub(super) unsafe fn levels_biased(codes: __m256i) -> __m256i {
    // SAFETY: promised by the caller; the table is 16 bytes.
    unsafe {
        let table = _mm_xor_si128(load128(LEVELS.as_ptr().cast()), _mm_set1_epi8(-128));
        _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes)
    }
}

impl Format256 for Iq4Xs {
    const BYTES: usize = 136;

    #[inline(always)]
    unsafe fn codes(p: *const u8, j: usize) -> __m256i {
        // SAFETY: promised by the caller; `8 + 8 * 16 = 136`.
        unsafe {
            let packed = load128(p.add(8 + 16 * j));
            let both = _mm256_set_m128i(_mm_srli_epi16::<4>(packed), packed);
            levels(_mm256_and_si256(both, _mm256_set1_epi8(15)))
        }
    }

    #[inline(always)]
    unsafe fn scales(p: *const u8) -> (__m128i, __m128i) {
        // SAFETY: promised by the caller; the scales are bytes 2 to 7.
        unsafe {
            let low = p.add(4).cast::<u32>().read_unaligned();
            // Nibble i of the high bits to byte i: it belongs to groups 2i and 2i + 1, as byte i of the low bits does.
            let high = u32::from(p.add(2).cast::<u16>().read_unaligned());
            let high = (high | (high << 8)) & 0x00ff_00ff;
            let high = (high | (high << 4)) & 0x0f0f_0f0f;
            let even = (low & 0x0f0f_0f0f) | ((high & 0x0303_0303) << 4);
            let odd = ((low >> 4) & 0x0f0f_0f0f) | ((high & 0x0c0c_0c0c) << 2);
            let each = _mm_unpacklo_epi8(_mm_cvtsi32_si128(even as i32), _mm_cvtsi32_si128(odd as i32));
            let each = _mm_sub_epi8(each, _mm_set1_epi8(32));
            (_mm_unpacklo_epi8(each, each), _mm_setzero_si128())
        }
    }

    #[inline(always)]
    unsafe fn floats(p: *const u8) -> (f32, f32) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16(p), 0.0) }
    }
}
