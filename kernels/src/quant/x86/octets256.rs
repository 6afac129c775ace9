//! How packed groups of eight rows (`rows8`) of 256-blocks are unpacked: a vector holds four codes of each row.
//!
//! `step(p, j, s)` gives codes `32 j + 4 s ..` of each row; scales come in quads, a word of four i8 for each row.

use std::arch::x86_64::*;

use super::formats256::{Format256, Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K, levels, levels_biased};
use super::lanes::{bits, load, load_f16x8, nibbles, raise};

/// Scales or mins of eight rows: four to a word.
pub(super) type Quads = [__m256i; 4];

/// A packed form of a block type.
pub(super) trait Octet256: Format256 {
    /// Weights that share a scale: 16 or 32.
    const GROUP: usize;

    /// Codes `32 * j + 4 * s ..` of eight rows.
    ///
    /// # Safety
    /// AVX2; `p` readable for `8 * BYTES`; `j < 8` and `s < 8`.
    unsafe fn step(p: *const u8, j: usize, s: usize) -> __m256i;

    /// The same plus 128, for signed codes.
    ///
    /// # Safety
    /// As [`Self::step`].
    #[inline(always)]
    unsafe fn biased(p: *const u8, j: usize, s: usize) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { _mm256_xor_si256(Self::step(p, j, s), _mm256_set1_epi8(-128)) }
    }

    /// Scales, and mins where the type has any.
    ///
    /// # Safety
    /// AVX2; `p` readable for `8 * BYTES`.
    unsafe fn quads(p: *const u8) -> (Quads, Quads);

    /// The quad, and the byte in each word of it, where the scale of a group is.
    #[inline(always)]
    fn place(group: usize) -> (usize, usize) {
        (group / 4, group % 4)
    }

    /// `d` and `dmin` of eight rows; a type without mins has no second.
    ///
    /// # Safety
    /// AVX2 and F16C; `p` readable for `8 * BYTES`.
    #[inline(always)]
    unsafe fn floats8(p: *const u8) -> (__m256, __m256) {
        // SAFETY: promised by the caller.
        unsafe { (load_f16x8(p), if Self::AFFINE { load_f16x8(p.add(16)) } else { _mm256_setzero_ps() }) }
    }
}

/// The two bytes `first` and `second` of each word, as two i16.
///
/// # Safety
/// AVX2; both below 4.
#[inline(always)]
pub(super) unsafe fn pair_of(quad: __m256i, first: usize, second: usize) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        // Each byte goes to the upper half of its i16 and is shifted down with its sign.
        let rows =
            _mm256_setr_epi32(0, 0x0400_0400, 0x0800_0800, 0x0c00_0c00, 0, 0x0400_0400, 0x0800_0800, 0x0c00_0c00);
        let which = _mm256_set1_epi32(0x0080_0080 | (first << 8) as i32 | (second << 24) as i32);
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(quad, _mm256_add_epi8(rows, which)))
    }
}

/// Word `i` of eight rows.
///
/// # Safety
/// AVX2; `words` readable for `32 * i + 32` bytes.
#[inline(always)]
unsafe fn word(words: *const u8, i: usize) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { load(words.add(32 * i)) }
}

impl Octet256 for Q2K {
    const GROUP: usize = 16;

    #[inline(always)]
    unsafe fn step(p: *const u8, j: usize, s: usize) -> __m256i {
        // SAFETY: promised by the caller; words 4 to 19 are the codes.
        unsafe { bits(word(p.add(32), 4 + 8 * (j / 4) + s), 2 * (j % 4), 3) }
    }

    #[inline(always)]
    unsafe fn quads(p: *const u8) -> (Quads, Quads) {
        // SAFETY: promised by the caller; words 0 to 3 are the scales and mins.
        unsafe {
            let packed = [word(p.add(32), 0), word(p.add(32), 1), word(p.add(32), 2), word(p.add(32), 3)];
            let (mut scales, mut mins) = (packed, packed);
            for i in 0..4 {
                scales[i] = nibbles(packed[i], 0);
                mins[i] = nibbles(packed[i], 1);
            }
            (scales, mins)
        }
    }
}

impl Octet256 for Q3K {
    const GROUP: usize = 16;

    #[inline(always)]
    unsafe fn step(p: *const u8, j: usize, s: usize) -> __m256i {
        // SAFETY: promised by the caller; words 0 to 7 are high bits, 8 to 23 low bits.
        unsafe {
            let low = bits(word(p.add(16), 8 + 8 * (j / 4) + s), 2 * (j % 4), 3);
            _mm256_or_si256(low, raise::<2>(bits(word(p.add(16), s), j, 1)))
        }
    }

    #[inline(always)]
    unsafe fn quads(p: *const u8) -> (Quads, Quads) {
        // SAFETY: promised by the caller; words 24 to 26 are the scales.
        unsafe {
            let (low, high) = ([word(p.add(16), 24), word(p.add(16), 25)], word(p.add(16), 26));
            let mut scales = [_mm256_setzero_si256(); 4];
            for (i, scale) in scales.iter_mut().enumerate() {
                let code = _mm256_or_si256(nibbles(low[i % 2], i / 2), raise::<4>(bits(high, 2 * i, 3)));
                *scale = _mm256_sub_epi8(code, _mm256_set1_epi8(32));
            }
            (scales, [_mm256_setzero_si256(); 4])
        }
    }
}

/// Scales and mins of Q4_K and Q5_K from their three words.
///
/// # Safety
/// AVX2; `words` readable for 96 bytes.
#[inline(always)]
unsafe fn scales_mins(words: *const u8) -> (Quads, Quads) {
    // SAFETY: promised by the caller.
    unsafe {
        let (a, b, c) = (word(words, 0), word(words, 1), word(words, 2));
        let zero = _mm256_setzero_si256();
        let scales_high = _mm256_or_si256(nibbles(c, 0), raise::<4>(bits(a, 6, 3)));
        let mins_high = _mm256_or_si256(nibbles(c, 1), raise::<4>(bits(b, 6, 3)));
        ([bits(a, 0, 63), scales_high, zero, zero], [bits(b, 0, 63), mins_high, zero, zero])
    }
}

impl Octet256 for Q4K {
    const GROUP: usize = 32;

    #[inline(always)]
    unsafe fn step(p: *const u8, j: usize, s: usize) -> __m256i {
        // SAFETY: promised by the caller; words 3 to 34 are the codes.
        unsafe { nibbles(word(p.add(32), 3 + 8 * (j / 2) + s), j % 2) }
    }

    #[inline(always)]
    unsafe fn quads(p: *const u8) -> (Quads, Quads) {
        // SAFETY: promised by the caller.
        unsafe { scales_mins(p.add(32)) }
    }
}

impl Octet256 for Q5K {
    const GROUP: usize = 32;

    #[inline(always)]
    unsafe fn step(p: *const u8, j: usize, s: usize) -> __m256i {
        // SAFETY: promised by the caller; words 3 to 10 are high bits, 11 to 42 low bits.
        unsafe {
            let low = nibbles(word(p.add(32), 11 + 8 * (j / 2) + s), j % 2);
            _mm256_or_si256(low, raise::<4>(bits(word(p.add(32), 3 + s), j, 1)))
        }
    }

    #[inline(always)]
    unsafe fn quads(p: *const u8) -> (Quads, Quads) {
        // SAFETY: promised by the caller.
        unsafe { scales_mins(p.add(32)) }
    }
}

impl Octet256 for Q6K {
    const GROUP: usize = 16;

    #[inline(always)]
    unsafe fn step(p: *const u8, j: usize, s: usize) -> __m256i {
        // SAFETY: promised by the caller; words 0 to 31 are low bits, 32 to 47 high bits.
        unsafe {
            let low = nibbles(word(p.add(16), 16 * (j / 4) + 8 * (j % 2) + s), j % 4 / 2);
            let high = bits(word(p.add(16), 32 + 8 * (j / 4) + s), 2 * (j % 4), 3);
            _mm256_or_si256(low, raise::<4>(high))
        }
    }

    #[inline(always)]
    unsafe fn quads(p: *const u8) -> (Quads, Quads) {
        // SAFETY: promised by the caller; words 48 to 51 are the scales.
        unsafe {
            let scales = [word(p.add(16), 48), word(p.add(16), 49), word(p.add(16), 50), word(p.add(16), 51)];
            (scales, [_mm256_setzero_si256(); 4])
        }
    }
}

impl Octet256 for Iq4Xs {
    const GROUP: usize = 32;

    #[inline(always)]
    unsafe fn step(p: *const u8, j: usize, s: usize) -> __m256i {
        // SAFETY: promised by the caller; words 1 to 32 are the codes, four to a group, nibbles below 16.
        unsafe { levels(nibbles(word(p.add(32), 1 + 4 * j + s % 4), s / 4)) }
    }

    #[inline(always)]
    unsafe fn biased(p: *const u8, j: usize, s: usize) -> __m256i {
        // SAFETY: promised by the caller.
        unsafe { levels_biased(nibbles(word(p.add(32), 1 + 4 * j + s % 4), s / 4)) }
    }

    #[inline(always)]
    unsafe fn quads(p: *const u8) -> (Quads, Quads) {
        // SAFETY: promised by the caller; the second f16 field is the high bits, word 0 the low ones.
        unsafe {
            let low = word(p.add(32), 0);
            // Nibble i to byte i of each word, as in the rows.
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(16).cast()));
            let high = _mm256_or_si256(high, _mm256_slli_epi32::<8>(high));
            let high = _mm256_and_si256(high, _mm256_set1_epi32(0x00ff_00ff));
            let high = nibbles(_mm256_or_si256(high, _mm256_slli_epi32::<4>(high)), 0);
            let (zero, offset) = (_mm256_setzero_si256(), _mm256_set1_epi8(32));
            let even = _mm256_or_si256(nibbles(low, 0), raise::<4>(bits(high, 0, 3)));
            let odd = _mm256_or_si256(nibbles(low, 1), raise::<4>(bits(high, 2, 3)));
            ([_mm256_sub_epi8(even, offset), _mm256_sub_epi8(odd, offset), zero, zero], [zero; 4])
        }
    }

    #[inline(always)]
    fn place(group: usize) -> (usize, usize) {
        (group % 2, group / 2)
    }
}
