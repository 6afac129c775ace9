//! Unpacking into tiles.
//!
//! A block of a tile is a run of lines; the first half of a line belongs to the first eight rows, the second to the
//! other eight. A block of 256: 64 lines of codes (four of each row), a line for each group with its scale twice, 8
//! lines of what multiplies the sums of two groups of 16 (mins, or scales times the offset of the codes), `d`, `dmin`.
//! A block of 32: 8 lines of codes, `d`, `m`.
//!
//! Signed codes are stored plus 128 for AVX-512, which lacks the sign instruction (what that adds to a product is in the
//! columns' panel, as is what the offset of unsigned ones adds), and in pairs for AVX2 (`gemm_pairs`
//! says why): for each four codes of a row, already times their scale, a line with the second and the fourth and a line
//! with the first and the third as i16; after the lines of a block minus the sum of the first times the second and the
//! third times the fourth, and `d`.
//!
//! For AMX (`gemm_amx`) codes are stored less their offset, and those of a block of 256 times their scales, which makes
//! i16 of them: 64 lines of the lower bytes, 64 of the upper ones, then the 8 lines of mins, `d` and `dmin`.

use std::arch::x86_64::*;

use super::formats32::{Iq4Nl, Q40, Q41, Q50, Q51, Q80};
use super::formats256::{Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};
use super::octets32::Octet32;
use super::octets256::{Octet256, Quads, pair_of};
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

/// Lines of a block of 256 in planes.
pub(super) const LINES_PLANES: usize = 2 * CODES_256 + 8 + 2;

/// Lines of a block of 256 whose groups have this many weights.
pub(super) const fn lines_256(group: usize) -> usize {
    CODES_256 + 256 / group + 8 + 2
}

/// Lines of codes in pairs for `n` weights.
pub(super) const fn pairs(n: usize) -> usize {
    n / 2
}

/// How codes lie in a tile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::quant) enum Form {
    /// As bytes, unsigned ones.
    Bytes,
    /// As bytes, signed ones plus 128.
    Biased,
    /// Signed ones in pairs of i16.
    Pairs,
    /// Signed, in blocks of 256 times their scales as two planes of bytes.
    Planes,
}

/// How the kernels of this level take the codes of this type.
pub(in crate::quant) fn form_of(isa: Isa, dtype: DType) -> Form {
    match isa {
        Isa::Amx(_) => Form::Planes,
        Isa::Avx512Vnni(_) => Form::Biased,
        Isa::Avx2(_) if signed(dtype) => Form::Pairs,
        Isa::Avx2(_) | Isa::Scalar => Form::Bytes,
    }
}

/// Whether the codes of this type are signed.
const fn signed(dtype: DType) -> bool {
    matches!(dtype, DType::Q8_0 | DType::IQ4_NL | DType::IQ4_XS)
}

/// Lines that a block of this type takes in a tile.
pub(in crate::quant) const fn lines_of(dtype: DType, form: Form) -> usize {
    match dtype {
        _ if matches!(form, Form::Pairs) => pairs(dtype.block_len()) + 2,
        _ if matches!(form, Form::Planes) && dtype.block_len() == 256 => LINES_PLANES,
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
    form: Form,
    lines: &mut [Line],
    b: usize,
    octet: usize,
) {
    assert!(packed.len() == ROWS * dtype.block_bytes() && octet < 2);
    let per_block = lines_of(dtype, form);
    let lines = &mut lines[b * per_block..(b + 1) * per_block];
    let (p, out) = (packed.as_ptr(), lines.as_mut_ptr().cast::<u8>());
    // `packed` is one packed block and `lines` one block of the tile.
    // SAFETY: the token proves the features; half lines of this group of rows start at `32 * octet`.
    unsafe {
        let out = out.add(32 * octet);
        match dtype {
            DType::Q4_0 => unpack32::<Q40>(p, out, form),
            DType::Q4_1 => unpack32::<Q41>(p, out, form),
            DType::Q5_0 => unpack32::<Q50>(p, out, form),
            DType::Q5_1 => unpack32::<Q51>(p, out, form),
            DType::Q8_0 if form == Form::Pairs => pairs32::<Q80>(p, out),
            DType::IQ4_NL if form == Form::Pairs => pairs32::<Iq4Nl>(p, out),
            DType::Q8_0 => unpack32::<Q80>(p, out, form),
            DType::IQ4_NL => unpack32::<Iq4Nl>(p, out, form),
            DType::Q2_K => unpack256::<Q2K>(p, out, form),
            DType::Q3_K => unpack256::<Q3K>(p, out, form),
            DType::Q4_K => unpack256::<Q4K>(p, out, form),
            DType::Q5_K => unpack256::<Q5K>(p, out, form),
            DType::Q6_K => unpack256::<Q6K>(p, out, form),
            DType::IQ4_XS if form == Form::Pairs => pairs256::<Iq4Xs>(p, out),
            DType::IQ4_XS => unpack256::<Iq4Xs>(p, out, form),
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

/// # Safety
/// AVX2, FMA, F16C; `p` a packed block of `T`; `out` writable at every half line of a block of 32 in this form.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack32<T: Octet32>(p: *const u8, out: *mut u8, form: Form) {
    // SAFETY: promised by the caller.
    unsafe {
        let planes = form == Form::Planes;
        let offset = _mm256_set1_epi8(T::OFFSET as i8);
        for s in 0..CODES_32 {
            let mut codes = T::step(p, s);
            if planes {
                codes = _mm256_sub_epi8(codes, offset);
            } else if T::SIGNED {
                codes = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
            }
            store(out, s, codes);
        }
        let (d, m) = T::floats8(p);
        store(out, CODES_32, _mm256_castps_si256(d));
        store(out, CODES_32 + 1, _mm256_castps_si256(m));
    }
}

/// # Safety
/// AVX2, FMA, F16C; `p` a packed block of `T`; `out` writable at every half line of a block of 256 of its groups.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack256<T: Octet256>(p: *const u8, out: *mut u8, form: Form) {
    // SAFETY: promised by the caller.
    unsafe {
        let (scales, mins) = T::quads(p);
        if form == Form::Planes {
            planes256::<T>(p, out, &scales);
            if T::AFFINE {
                store_sums::<T>(out.add(64 * 2 * CODES_256), &scales, &mins);
            }
            return store_floats::<T>(p, out.add(64 * (2 * CODES_256 + 8)));
        }
        for j in 0..8 {
            for s in 0..8 {
                store(out, 8 * j + s, if T::SIGNED { T::biased(p, j, s) } else { T::step(p, j, s) });
            }
        }
        let groups = 256 / T::GROUP;
        for g in 0..groups {
            let (quad, byte) = T::place(g);
            store(out, CODES_256 + g, pair_of(scales[quad], byte, byte));
        }
        // For AVX-512 offsets are in the columns.
        if T::AFFINE || form == Form::Bytes {
            store_sums::<T>(out.add(64 * (CODES_256 + groups)), &scales, &mins);
        }
        store_floats::<T>(p, out.add(64 * (CODES_256 + groups + 8)));
    }
}

/// Stores what multiplies the sums of two groups of 16, 8 lines.
///
/// # Safety
/// AVX2; `out` writable at the half lines.
#[inline(always)]
unsafe fn store_sums<T: Octet256>(out: *mut u8, scales: &Quads, mins: &Quads) {
    // SAFETY: promised by the caller.
    unsafe {
        for j in 0..8 {
            let ((quad, first), (_, second)) =
                if T::GROUP == 16 { (T::place(2 * j), T::place(2 * j + 1)) } else { (T::place(j), T::place(j)) };
            let pair = if T::AFFINE {
                pair_of(mins[quad], first, second)
            } else {
                // At most 128 * 32: fits an i16.
                _mm256_sll_epi16(pair_of(scales[quad], first, second), _mm_cvtsi32_si128(T::OFFSET_BITS))
            };
            store(out, j, pair);
        }
    }
}

/// Stores `d` and `dmin`.
///
/// # Safety
/// AVX2 and F16C; `p` a packed block of `T`; `out` writable at the half lines.
#[inline(always)]
unsafe fn store_floats<T: Octet256>(p: *const u8, out: *mut u8) {
    // SAFETY: promised by the caller.
    unsafe {
        let (d, dmin) = T::floats8(p);
        store(out, 0, _mm256_castps_si256(d));
        store(out, 1, _mm256_castps_si256(dmin));
    }
}

/// Stores codes less their offset times their scales, lower bytes and upper bytes apart.
///
/// # Safety
/// AVX2; `p` a packed block of `T`; `out` writable at 128 half lines.
#[inline(always)]
unsafe fn planes256<T: Octet256>(p: *const u8, out: *mut u8, scales: &Quads) {
    // SAFETY: promised by the caller. At most 128 * 32 in magnitude: fits an i16.
    unsafe {
        let offset = _mm256_set1_epi8(if T::OFFSET_BITS == 0 { 0 } else { 1 << T::OFFSET_BITS });
        let (lower, upper) = (_mm256_set1_epi16(0x00ff), _mm256_set1_epi16(0xff00u16 as i16));
        for j in 0..8 {
            let mut scale = _mm256_setzero_si256();
            for s in 0..8 {
                if (4 * s) % T::GROUP == 0 {
                    let (quad, byte) = T::place((32 * j + 4 * s) / T::GROUP);
                    scale = _mm256_slli_epi16::<8>(pair_of(scales[quad], byte, byte));
                }
                // The upper half of a product of two i16 that stand in the upper bytes is the product of those.
                let codes = T::step(p, j, s);
                let codes = if T::OFFSET_BITS == 0 { codes } else { _mm256_sub_epi8(codes, offset) };
                let even = _mm256_mulhi_epi16(_mm256_slli_epi16::<8>(codes), scale);
                let odd = _mm256_mulhi_epi16(_mm256_and_si256(codes, upper), scale);
                let low = _mm256_or_si256(_mm256_and_si256(even, lower), _mm256_slli_epi16::<8>(odd));
                let high = _mm256_or_si256(_mm256_srli_epi16::<8>(even), _mm256_and_si256(odd, upper));
                store(out, 8 * j + s, low);
                store(out, CODES_256 + 8 * j + s, high);
            }
        }
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
