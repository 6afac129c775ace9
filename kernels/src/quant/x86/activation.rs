//! Quantisation of activations, bit for bit as the scalar code.

use std::arch::x86_64::*;

use super::lanes::sum_i32;
use crate::cpu::isa::Avx2;
use crate::quant::activation::{A_BYTES, A_LEN, A_QUANTS, A_SUM, K_BYTES, K_LEN, K_QUANTS, K_SUMS, scale_of};

/// Whole blocks to Q8_K; the caller has checked the sizes.
pub(in crate::quant) fn quantize_k(_: Avx2, x: &[f32], out: &mut [u8]) {
    for (x, block) in x.as_chunks::<K_LEN>().0.iter().zip(out.as_chunks_mut::<K_BYTES>().0) {
        // SAFETY: the token proves the features.
        unsafe { block_k(x, block) };
    }
}

/// Whole blocks to Q8_A; the caller has checked the sizes.
pub(in crate::quant) fn quantize_a(_: Avx2, x: &[f32], out: &mut [u8]) {
    for (x, block) in x.as_chunks::<A_LEN>().0.iter().zip(out.as_chunks_mut::<A_BYTES>().0) {
        // SAFETY: the token proves the features.
        unsafe { block_a(x, block) };
    }
}

/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
unsafe fn block_k(x: &[f32; K_LEN], block: &mut [u8; K_BYTES]) {
    // SAFETY: groups of 32 lie inside `x`; quants and sums inside the block.
    unsafe {
        let (d, inv) = scale_of(largest_bits(x));
        block[..K_QUANTS].copy_from_slice(&d.to_le_bytes());
        for j in 0..K_LEN / 32 {
            let q = if inv == 0.0 { _mm256_setzero_si256() } else { quantize_32(x.as_ptr().add(32 * j), inv) };
            _mm256_storeu_si256(block.as_mut_ptr().add(K_QUANTS + 32 * j).cast(), q);
            // Four partial sums for each half of the 32; two rounds of pairwise adds.
            let quads = quad_sums(q);
            let pairs = _mm256_hadd_epi32(quads, quads);
            let sums = _mm256_hadd_epi32(pairs, pairs);
            let low = _mm256_extract_epi32::<0>(sums) as i16;
            let high = _mm256_extract_epi32::<4>(sums) as i16;
            let at = K_SUMS + 4 * j;
            block[at..at + 2].copy_from_slice(&low.to_le_bytes());
            block[at + 2..at + 4].copy_from_slice(&high.to_le_bytes());
        }
    }
}

/// # Safety
/// AVX2.
#[target_feature(enable = "avx2")]
unsafe fn block_a(x: &[f32; A_LEN], block: &mut [u8; A_BYTES]) {
    // SAFETY: 32 floats in `x`, 32 bytes for the quants.
    unsafe {
        let (d, inv) = scale_of(largest_bits(x));
        let q = if inv == 0.0 { _mm256_setzero_si256() } else { quantize_32(x.as_ptr(), inv) };
        block[..A_SUM].copy_from_slice(&d.to_le_bytes());
        block[A_SUM..A_QUANTS].copy_from_slice(&sum_i32(quad_sums(q)).to_le_bytes());
        _mm256_storeu_si256(block.as_mut_ptr().add(A_QUANTS).cast(), q);
    }
}

/// The largest `|x|`, as bits; the length is a multiple of 8.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn largest_bits(x: &[f32]) -> u32 {
    // SAFETY: each chunk has 8 floats.
    unsafe {
        let magnitude = _mm256_set1_epi32(0x7fff_ffff);
        let mut largest = _mm256_setzero_si256();
        for x in x.chunks_exact(8) {
            let v = _mm256_and_si256(_mm256_loadu_si256(x.as_ptr().cast()), magnitude);
            largest = _mm256_max_epi32(largest, v);
        }
        let v = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256::<1>(largest));
        let v = _mm_max_epi32(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
        _mm_cvtsi128_si32(_mm_max_epi32(v, _mm_shuffle_epi32::<0b00_00_00_01>(v))) as u32
    }
}

/// 32 floats times `inv`, rounded to nearest even, as i8 in order.
///
/// # Safety
/// AVX2; `x` readable for 32 floats; the products inside -127..=127.
#[inline(always)]
unsafe fn quantize_32(x: *const f32, inv: f32) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        let inv = _mm256_set1_ps(inv);
        let eight = |i: usize| _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x.add(8 * i)), inv));
        let low = _mm256_packs_epi32(eight(0), eight(1));
        let high = _mm256_packs_epi32(eight(2), eight(3));
        // Packing works inside each half: put the groups of four back in order.
        _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
    }
}

/// The sums of each four i8, as i32.
///
/// # Safety
/// AVX2.
#[inline(always)]
unsafe fn quad_sums(q: __m256i) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q), _mm256_set1_epi16(1)) }
}
