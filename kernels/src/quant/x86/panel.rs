//! Packing activations into panels.
//!
//! A column's chunk of 256 activations: the int8 in order, or in pairs (`gemm_pairs`): for each four of them the first
//! and the third, then the second and the fourth, as i16. Then a tail of one line: the scales `d` (one, or eight for
//! blocks of 32); from its middle on the sums of 16 (`i16`) or 32 (`i32`), or, with pairs, minus the sums of the first
//! times the second and the third times the fourth, for each `d` one.

use std::arch::x86_64::*;

use super::lanes::{load, sum_i32};
use crate::DType;
use crate::cpu::isa::Avx2;
use crate::quant::activation::{A_BYTES, A_LEN, A_QUANTS, A_SUM, K_BYTES, K_LEN, K_QUANTS, K_SUMS};
use crate::quant::panel::CHUNK;
use crate::quant::tile::Line;

/// Where the sums stand in a tail.
pub(super) const SUMS: usize = 32;

/// Bytes of a column's chunk before its tail.
pub(super) const fn tail_of(pairs: bool) -> usize {
    if pairs { 2 * CHUNK } else { CHUNK }
}

/// Lines that a column's chunk takes.
pub(in crate::quant) const fn lines_of(pairs: bool) -> usize {
    tail_of(pairs) / 64 + 1
}

/// Packs one block of Q8_K, or up to eight of Q8_A.
pub(in crate::quant) fn pack_chunk(_: Avx2, activation: DType, pairs: bool, blocks: &[u8], out: &mut [Line]) {
    assert!(out.len() == lines_of(pairs));
    let (p, out) = (blocks.as_ptr(), out.as_mut_ptr().cast::<u8>());
    // SAFETY: the token proves the features; `out` is a whole chunk, and the blocks are whole and not too many.
    unsafe {
        if activation == DType::Q8_K {
            assert_eq!(blocks.len(), K_BYTES);
            if pairs { pack_k::<true>(p, out) } else { pack_k::<false>(p, out) }
        } else {
            let n = blocks.len() / A_BYTES;
            assert!(activation == DType::Q8_A && n * A_BYTES == blocks.len() && n * A_LEN <= CHUNK);
            if pairs { pack_a::<true>(p, n, out) } else { pack_a::<false>(p, n, out) }
        }
    }
}

/// Stores 32 int8 in pairs; returns minus the sums of the products of neighbours.
///
/// # Safety
/// AVX2; `quants` readable for 32 bytes, `out` writable for 64.
#[inline(always)]
unsafe fn store_pairs(quants: *const u8, out: *mut u8) -> __m256i {
    // SAFETY: promised by the caller.
    unsafe {
        let x = load(quants);
        let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x));
        let odd = _mm256_srai_epi16::<8>(x);
        // Unpacking works inside each half.
        let (low, high) = (_mm256_unpacklo_epi32(even, odd), _mm256_unpackhi_epi32(even, odd));
        _mm256_storeu_si256(out.cast(), _mm256_permute2x128_si256::<0x20>(low, high));
        _mm256_storeu_si256(out.add(32).cast(), _mm256_permute2x128_si256::<0x31>(low, high));
        _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_madd_epi16(even, odd))
    }
}

/// # Safety
/// AVX2; `p` a block of Q8_K, `out` a chunk.
#[target_feature(enable = "avx2")]
unsafe fn pack_k<const PAIRS: bool>(p: *const u8, out: *mut u8) {
    // SAFETY: promised by the caller.
    unsafe {
        let tail = out.add(tail_of(PAIRS));
        tail.cast::<u32>().write(p.cast::<u32>().read_unaligned());
        if PAIRS {
            let mut minus = _mm256_setzero_si256();
            for i in (0..K_LEN).step_by(32) {
                minus = _mm256_add_epi32(minus, store_pairs(p.add(K_QUANTS + i), out.add(2 * i)));
            }
            tail.add(SUMS).cast::<i32>().write(sum_i32(minus));
        } else {
            std::ptr::copy_nonoverlapping(p.add(K_QUANTS), out, K_LEN);
            std::ptr::copy_nonoverlapping(p.add(K_SUMS), tail.add(SUMS), K_BYTES - K_SUMS);
        }
    }
}

/// # Safety
/// AVX2; `p` has `n` blocks of Q8_A, at most eight, `out` is a chunk.
#[target_feature(enable = "avx2")]
unsafe fn pack_a<const PAIRS: bool>(p: *const u8, n: usize, out: *mut u8) {
    // SAFETY: promised by the caller.
    unsafe {
        let tail = out.add(tail_of(PAIRS));
        for b in 0..n {
            let p = p.add(A_BYTES * b);
            tail.cast::<u32>().add(b).write(p.cast::<u32>().read_unaligned());
            let sum = tail.add(SUMS).cast::<i32>().add(b);
            if PAIRS {
                sum.write(sum_i32(store_pairs(p.add(A_QUANTS), out.add(2 * A_LEN * b))));
            } else {
                std::ptr::copy_nonoverlapping(p.add(A_QUANTS), out.add(A_LEN * b), A_LEN);
                sum.write(p.add(A_SUM).cast::<i32>().read_unaligned());
            }
        }
    }
}
