//! Packing activations into panels.
//!
//! A column's chunk of 256 activations: the int8 in order, or in pairs (`gemm_pairs`): for each four of them the first
//! and the third, then the second and the fourth, as i16. Then a tail of one line: the scales `d` (one, or eight for
//! blocks of 32); from its middle on the sums of 16 (`i16`) or 32 (`i32`), or, with pairs, minus the sums of the first
//! times the second and the third times the fourth, for each `d` one.
//!
//! For AVX-512 another line: what the products of each group of weights start from, minus its sum times the offset of the
//! codes (`i32`).

use std::arch::x86_64::*;

use super::lanes::{load, sum_i32};
use super::tile::Form;
use crate::DType;
use crate::cpu::isa::Avx2;
use crate::quant::activation::{A_BYTES, A_LEN, A_QUANTS, A_SUM, K_BYTES, K_LEN, K_QUANTS, K_SUMS};
use crate::quant::panel::CHUNK;
use crate::quant::tile::Line;

/// Where the sums stand in a tail.
pub(super) const SUMS: usize = 32;

/// Bytes of a column's chunk before its tail.
pub(super) const fn tail_of(form: Form) -> usize {
    if matches!(form, Form::Pairs) { 2 * CHUNK } else { CHUNK }
}

/// Lines that a column's chunk takes.
pub(in crate::quant) const fn lines_of(form: Form) -> usize {
    tail_of(form) / 64 + 1 + matches!(form, Form::Biased) as usize
}

/// Weights of a group, and what their codes are stored plus, for AVX-512.
const fn bias_of(weight: DType) -> (usize, i32) {
    match weight {
        DType::Q2_K => (16, 0),
        DType::Q3_K => (16, 4),
        DType::Q6_K => (16, 32),
        DType::Q4_0 => (32, 8),
        DType::Q5_0 => (32, 16),
        DType::Q8_0 | DType::IQ4_NL | DType::IQ4_XS => (32, 128),
        _ => (32, 0),
    }
}

/// Packs one block of Q8_K, or up to eight of Q8_A, for weights of a type.
pub(in crate::quant) fn pack_chunk(_: Avx2, weight: DType, form: Form, blocks: &[u8], out: &mut [Line]) {
    assert!(out.len() == lines_of(form));
    let (p, out, pairs) = (blocks.as_ptr(), out.as_mut_ptr().cast::<u8>(), form == Form::Pairs);
    let small = weight.block_len() == A_LEN;
    // SAFETY: the token proves the features; `out` is a whole chunk, and the blocks are whole and not too many.
    unsafe {
        if small {
            let n = blocks.len() / A_BYTES;
            assert!(n * A_BYTES == blocks.len() && n * A_LEN <= CHUNK);
            if pairs { pack_a::<true>(p, n, out) } else { pack_a::<false>(p, n, out) }
        } else {
            assert_eq!(blocks.len(), K_BYTES);
            if pairs { pack_k::<true>(p, out) } else { pack_k::<false>(p, out) }
        }
        if form == Form::Biased {
            let (group, bias) = bias_of(weight);
            let (sums, starts) = (out.add(CHUNK + SUMS), out.add(CHUNK + 64).cast::<i32>());
            for g in 0..CHUNK / group {
                let of_16 = |i: usize| i32::from(sums.cast::<i16>().add(i).read());
                let sum = match group {
                    16 => of_16(g),
                    _ if small => sums.cast::<i32>().add(g).read(),
                    _ => of_16(2 * g) + of_16(2 * g + 1),
                };
                starts.add(g).write(-bias * sum);
            }
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
        let tail = out.add(tail_of(if PAIRS { Form::Pairs } else { Form::Bytes }));
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
        let tail = out.add(tail_of(if PAIRS { Form::Pairs } else { Form::Bytes }));
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
