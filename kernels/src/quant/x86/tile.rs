//! Unpacking into tiles.
//!
//! A block of a tile is a run of lines; the first half of a line belongs to the first eight rows, the second to the
//! other eight. A block of 256: 64 lines of codes (four of each row), a line for each group with its scale twice, 8
//! lines of what multiplies the sums of two groups of 16 (mins, or scales times the offset of the codes), `d`, `dmin`.
//! A block of 32: 8 lines of codes, `d`, `m`.
//!
//! Signed codes are stored plus 128 for AVX-512, which lacks the sign instruction, and in pairs for AVX2 (`gemm_pairs`
//! says why): for each four codes of a row, already times their scale, a line with the second and the fourth and a line
//! with the first and the third as i16; after the lines of a block minus the sum of the first times the second and the
//! third times the fourth, and `d`.

use std::arch::x86_64::*;

use super::formats32::{Iq4Nl, Q40, Q41, Q50, Q51, Q80};
use super::formats256::{Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};
use super::octets32::Octet32;
use super::octets256::{Octet256, pair_of};
use crate::DType;
use crate::cpu::Isa;
use crate::cpu::isa::Avx2;
use crate::quant::rows8::ROWS;
use crate::quant::tile::Line;

/// Lines of codes in a block of 256.
pub(super) const CODES_256: usize = 64;
/// Lines of codes in a block of 32.
pub(super) const CODES_32: usize = 8;
/// Lines of a block of 32.
pub(super) const LINES_32: usize = CODES_32 + 2;

/// Lines of a block of 256 whose groups have this many weights.
pub(super) const fn lines_256(group: usize) -> usize {
    CODES_256 + 256 / group + 8 + 2
}

/// Lines of codes in pairs for `n` weights.
pub(super) const fn pairs(n: usize) -> usize {
    n / 2
}

/// Whether the kernels of this level take the codes of this type in pairs.
pub(in crate::quant) fn in_pairs(isa: Isa, dtype: DType) -> bool {
    isa.avx512_vnni().is_none() && signed(dtype)
}

/// Whether the codes of this type are signed.
const fn signed(dtype: DType) -> bool {
    matches!(dtype, DType::Q8_0 | DType::IQ4_NL | DType::IQ4_XS)
}

/// Lines that a block of this type takes in a tile.
pub(in crate::quant) const fn lines_of(dtype: DType, in_pairs: bool) -> usize {
    match dtype {
        _ if in_pairs => pairs(dtype.block_len()) + 2,
        DType::Q2_K | DType::Q3_K | DType::Q6_K => lines_256(16),
        DType::Q4_K | DType::Q5_K | DType::IQ4_XS => lines_256(32),
        _ => LINES_32,
    }
}

/// Unpacks one packed block of eight rows into block `b` of the tile, as its group `octet` (0 or 1) of rows.
pub(in crate::quant) fn unpack_block(
    _: Avx2,
    dtype: DType,
    packed: &[u8],
    wide: bool,
    lines: &mut [Line],
    b: usize,
    octet: usize,
) {
    assert!(packed.len() == ROWS * dtype.block_bytes() && octet < 2);
    let per_block = lines_of(dtype, !wide && signed(dtype));
    let lines = &mut lines[b * per_block..(b + 1) * per_block];
    let (p, out) = (packed.as_ptr(), lines.as_mut_ptr().cast::<u8>());
    // SAFETY: the token proves the features; `packed` is one packed block and `lines` one block of the tile, whose
    // half lines of this group of rows start at `32 * octet`.
    unsafe {
        let out = out.add(32 * octet);
        match dtype {
            DType::Q4_0 => unpack32::<Q40>(p, out),
            DType::Q4_1 => unpack32::<Q41>(p, out),
            DType::Q5_0 => unpack32::<Q50>(p, out),
            DType::Q5_1 => unpack32::<Q51>(p, out),
            DType::Q8_0 if wide => unpack32::<Q80>(p, out),
            DType::IQ4_NL if wide => unpack32::<Iq4Nl>(p, out),
            DType::Q2_K => unpack256::<Q2K>(p, out),
            DType::Q3_K => unpack256::<Q3K>(p, out),
            DType::Q4_K => unpack256::<Q4K>(p, out),
            DType::Q5_K => unpack256::<Q5K>(p, out),
            DType::Q6_K => unpack256::<Q6K>(p, out),
            DType::IQ4_XS if wide => unpack256::<Iq4Xs>(p, out),
            DType::Q8_0 => pairs32::<Q80>(p, out),
            DType::IQ4_NL => pairs32::<Iq4Nl>(p, out),
            DType::IQ4_XS => pairs256::<Iq4Xs>(p, out),
            other => unreachable!("{other} is no block type"),
        }
    }
}

/// Stores half a line.
///
/// # Safety
/// AVX2; `out` writable for `64 * line + 32` bytes.
#[inline(always)]
unsafe fn store(out: *mut u8, line: usize, v: __m256i) {
    // SAFETY: promised by the caller.
    unsafe { _mm256_storeu_si256(out.add(64 * line).cast(), v) }
}

/// Signed codes plus 128.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn stored<const SIGNED: bool>(codes: __m256i) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { if SIGNED { _mm256_xor_si256(codes, _mm256_set1_epi8(-128)) } else { codes } }
}

/// # Safety
/// AVX2, FMA, F16C; `p` a packed block of `T`; `out` writable at every half line of a block of 32.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack32<T: Octet32>(p: *const u8, out: *mut u8) {
    // SAFETY: promised by the caller.
    unsafe {
        for s in 0..CODES_32 {
            let codes = T::step(p, s);
            store(out, s, if T::SIGNED { stored::<true>(codes) } else { codes });
        }
        let (d, m) = T::floats8(p);
        store(out, CODES_32, _mm256_castps_si256(d));
        store(out, CODES_32 + 1, _mm256_castps_si256(m));
    }
}

/// # Safety
/// AVX2, FMA, F16C; `p` a packed block of `T`; `out` writable at every half line of a block of 256 of its groups.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack256<T: Octet256>(p: *const u8, out: *mut u8) {
    // SAFETY: promised by the caller.
    unsafe {
        for j in 0..8 {
            for s in 0..8 {
                let codes = T::step(p, j, s);
                store(out, 8 * j + s, if T::SIGNED { stored::<true>(codes) } else { codes });
            }
        }
        let groups = 256 / T::GROUP;
        let (scales, mins) = T::quads(p);
        for g in 0..groups {
            let (quad, byte) = T::place(g);
            store(out, CODES_256 + g, pair_of(scales[quad], byte, byte));
        }
        for j in 0..8 {
            let ((quad, first), (_, second)) =
                if T::GROUP == 16 { (T::place(2 * j), T::place(2 * j + 1)) } else { (T::place(j), T::place(j)) };
            let pair = if T::AFFINE {
                pair_of(mins[quad], first, second)
            } else {
                // At most 128 * 32 or 32 * 128: fits an i16.
                let offset_bits = if T::SIGNED { 7 } else { T::OFFSET_BITS };
                _mm256_sll_epi16(pair_of(scales[quad], first, second), _mm_cvtsi32_si128(offset_bits))
            };
            store(out, CODES_256 + groups + j, pair);
        }
        let (d, dmin) = T::floats8(p);
        store(out, CODES_256 + groups + 8, _mm256_castps_si256(d));
        store(out, CODES_256 + groups + 9, _mm256_castps_si256(dmin));
    }
}

/// Stores four codes of each row, times scales that stand twice in their words, as lines `line` and `line + 1` of pairs.
/// Returns the sums of the products of neighbours.
///
/// # Safety
/// AVX2; `out` writable at the half lines.
#[inline(always)]
unsafe fn store_pairs(out: *mut u8, line: usize, codes: __m256i, scale: Option<__m256i>) -> __m256i {
    // SAFETY: promised by the caller. At most 128 * 32 in magnitude: fits an i16.
    unsafe {
        let mut even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(codes));
        let mut odd = _mm256_srai_epi16::<8>(codes);
        if let Some(scale) = scale {
            (even, odd) = (_mm256_mullo_epi16(even, scale), _mm256_mullo_epi16(odd, scale));
        }
        store(out, line, odd);
        store(out, line + 1, even);
        _mm256_madd_epi16(even, odd)
    }
}

/// # Safety
/// As [`unpack32`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pairs32<T: Octet32>(p: *const u8, out: *mut u8) {
    const { assert!(T::SIGNED && T::OFFSET == 0 && !T::AFFINE) };
    // SAFETY: promised by the caller.
    unsafe {
        let mut minus = _mm256_setzero_si256();
        for s in 0..8 {
            minus = _mm256_sub_epi32(minus, store_pairs(out, 2 * s, T::step(p, s), None));
        }
        store(out, pairs(32), minus);
        store(out, pairs(32) + 1, _mm256_castps_si256(T::floats8(p).0));
    }
}

/// # Safety
/// As [`unpack256`].
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pairs256<T: Octet256>(p: *const u8, out: *mut u8) {
    const { assert!(T::SIGNED && T::OFFSET_BITS == 0 && !T::AFFINE && T::GROUP == 32) };
    // SAFETY: promised by the caller.
    unsafe {
        let mut minus = _mm256_setzero_si256();
        let (scales, _) = T::quads(p);
        for j in 0..8 {
            let (quad, byte) = T::place(j);
            let scale = Some(pair_of(scales[quad], byte, byte));
            for s in 0..8 {
                minus = _mm256_sub_epi32(minus, store_pairs(out, 2 * (8 * j + s), T::step(p, j, s), scale));
            }
        }
        store(out, pairs(256), minus);
        store(out, pairs(256) + 1, _mm256_castps_si256(T::floats8(p).0));
    }
}
