//! One weight row times a few activation rows: each block is unpacked once and multiplied with every column.

use std::arch::x86_64::*;

use super::formats32::{Format32, Iq4Nl, Q40, Q41, Q50, Q51, Q80};
use super::formats256::{Format256, Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};
use super::lanes::{load, multiply, sum_i32};
use crate::DType;
use crate::cpu::isa::Avx2;
use crate::quant::activation::{A_BYTES, A_QUANTS, A_SUM, K_BYTES, K_QUANTS, K_SUMS};

/// `out[c] = w . xs[c]`; the caller has checked that `w` and every column are rows of `n` weights of matching types.
pub(in crate::quant) fn dot_rows<const C: usize>(
    _: Avx2,
    dtype: DType,
    w: &[u8],
    xs: [&[u8]; C],
    n: usize,
    out: &mut [f32; C],
) {
    let blocks = n / dtype.block_len();
    debug_assert_eq!(w.len(), blocks * dtype.block_bytes());
    let w = w.as_ptr();
    let xs = xs.map(|x| x.as_ptr());
    // SAFETY: the token proves the features, and the lengths are as the caller checked.
    *out = unsafe {
        match dtype {
            DType::Q4_0 => dot32::<Q40, C>(w, xs, blocks),
            DType::Q4_1 => dot32::<Q41, C>(w, xs, blocks),
            DType::Q5_0 => dot32::<Q50, C>(w, xs, blocks),
            DType::Q5_1 => dot32::<Q51, C>(w, xs, blocks),
            DType::Q8_0 => dot32::<Q80, C>(w, xs, blocks),
            DType::IQ4_NL => dot32::<Iq4Nl, C>(w, xs, blocks),
            DType::Q2_K => dot256::<Q2K, C>(w, xs, blocks),
            DType::Q3_K => dot256::<Q3K, C>(w, xs, blocks),
            DType::Q4_K => dot256::<Q4K, C>(w, xs, blocks),
            DType::Q5_K => dot256::<Q5K, C>(w, xs, blocks),
            DType::Q6_K => dot256::<Q6K, C>(w, xs, blocks),
            DType::IQ4_XS => dot256::<Iq4Xs, C>(w, xs, blocks),
            other => unreachable!("{other} is no block type"),
        }
    };
}

/// # Safety
/// AVX2, FMA, F16C; `w` readable for `blocks` blocks of `T`, each of `xs` for as many of Q8_A.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot32<T: Format32, const C: usize>(w: *const u8, xs: [*const u8; C], blocks: usize) -> [f32; C] {
    let (mut products, mut mins) = ([0.0f32; C], [0.0f32; C]);
    for b in 0..blocks {
        // SAFETY: block `b` is inside the row; so are the fields of its activation blocks.
        unsafe {
            let w = w.add(b * T::BYTES);
            let codes = T::codes(w);
            let (d, m) = T::floats(w);
            for c in 0..C {
                let x = xs[c].add(b * A_BYTES);
                let dx = x.cast::<f32>().read_unaligned();
                let sum = x.add(A_SUM).cast::<i32>().read_unaligned();
                let x = load(x.add(A_QUANTS));
                let pairs = if T::SIGNED { multiply::<true>(codes, x) } else { multiply::<false>(codes, x) };
                let dot = sum_i32(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))) - T::OFFSET * sum;
                products[c] = (dot as f32).mul_add(d * dx, products[c]);
                if T::AFFINE {
                    mins[c] = m.mul_add(dx * sum as f32, mins[c]);
                }
            }
        }
    }
    std::array::from_fn(|c| products[c] + mins[c])
}

/// # Safety
/// AVX2, FMA, F16C; `w` readable for `blocks` blocks of `T`, each of `xs` for as many of Q8_K.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot256<T: Format256, const C: usize>(w: *const u8, xs: [*const u8; C], blocks: usize) -> [f32; C] {
    let (mut products, mut mins) = ([0.0f32; C], [0.0f32; C]);
    for b in 0..blocks {
        // SAFETY: block `b` is inside the row; so are the fields of its activation blocks.
        unsafe {
            let w = w.add(b * T::BYTES);
            let xs = xs.map(|x| x.add(b * K_BYTES));
            let (scales, block_mins) = T::scales(w);
            let (d, dmin) = T::floats(w);
            // Scales of the even groups of 16 below, of the odd above: group 2j multiplies the lower half of vector j.
            let even_odd = _mm_set_epi8(15, 13, 11, 9, 7, 5, 3, 1, 14, 12, 10, 8, 6, 4, 2, 0);
            let scales_16 = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, even_odd));
            let mut sums = [_mm256_setzero_si256(); C];
            for j in 0..8 {
                let codes = T::codes(w, j);
                let scale = _mm256_shuffle_epi8(scales_16, _mm256_set1_epi16(0x0100 + 0x0202 * j as i16));
                for c in 0..C {
                    let x = load(xs[c].add(K_QUANTS + 32 * j));
                    let pairs = if T::SIGNED { multiply::<true>(codes, x) } else { multiply::<false>(codes, x) };
                    sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(pairs, scale));
                }
            }
            for c in 0..C {
                let dx = xs[c].cast::<f32>().read_unaligned();
                if T::OFFSET_BITS > 0 {
                    let offset = _mm256_madd_epi16(_mm256_cvtepi8_epi16(scales), load(xs[c].add(K_SUMS)));
                    let shift = _mm_cvtsi32_si128(T::OFFSET_BITS);
                    sums[c] = _mm256_sub_epi32(sums[c], _mm256_sll_epi32(offset, shift));
                }
                products[c] = (sum_i32(sums[c]) as f32).mul_add(d * dx, products[c]);
                if T::AFFINE {
                    let min = _mm256_madd_epi16(_mm256_cvtepi8_epi16(block_mins), load(xs[c].add(K_SUMS)));
                    mins[c] = (sum_i32(min) as f32).mul_add(dmin * dx, mins[c]);
                }
            }
        }
    }
    std::array::from_fn(|c| products[c] - mins[c])
}
