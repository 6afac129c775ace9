//! Eight packed rows times one or a few columns: what decode spends its time in.

use std::arch::x86_64::*;

use super::formats32::{Iq4Nl, Q40, Q41, Q50, Q51, Q80};
use super::formats256::{Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};
use super::integer::{Dpbusd, Integer, Maddubs, broadcast};
use super::octets32::Octet32;
use super::octets256::{Octet256, pair_of};
use crate::DType;
use crate::cpu::isa::{Avx2, Avx512Vnni};
use crate::quant::activation::{A_BYTES, A_QUANTS, A_SUM, K_BYTES, K_QUANTS, K_SUMS};
use crate::quant::rows8::ROWS;

/// How far ahead of the block at work memory is asked for.
const PREFETCH_BYTES: usize = 2048;

macro_rules! entry_points {
    ($gemv:ident, $token:ty, $features:literal, $integer:ty, $of_32:ident, $of_256:ident) => {
        /// `out[c][r] = row r . xs[c]`; the caller has checked that the sizes are those of `n` weights.
        pub(in crate::quant) fn $gemv<const C: usize>(
            _: $token,
            dtype: DType,
            packed: &[u8],
            xs: [&[u8]; C],
            n: usize,
            out: &mut [[f32; ROWS]; C],
        ) {
            let blocks = n / dtype.block_len();
            debug_assert_eq!(packed.len(), ROWS * blocks * dtype.block_bytes());
            let packed = packed.as_ptr();
            let xs = xs.map(|x| x.as_ptr());
            // SAFETY: the token proves the features, and the lengths are as the caller checked.
            unsafe {
                match dtype {
                    DType::Q4_0 => $of_32::<Q40, C>(packed, xs, blocks, out),
                    DType::Q4_1 => $of_32::<Q41, C>(packed, xs, blocks, out),
                    DType::Q5_0 => $of_32::<Q50, C>(packed, xs, blocks, out),
                    DType::Q5_1 => $of_32::<Q51, C>(packed, xs, blocks, out),
                    DType::Q8_0 => $of_32::<Q80, C>(packed, xs, blocks, out),
                    DType::IQ4_NL => $of_32::<Iq4Nl, C>(packed, xs, blocks, out),
                    DType::Q2_K => $of_256::<Q2K, C>(packed, xs, blocks, out),
                    DType::Q3_K => $of_256::<Q3K, C>(packed, xs, blocks, out),
                    DType::Q4_K => $of_256::<Q4K, C>(packed, xs, blocks, out),
                    DType::Q5_K => $of_256::<Q5K, C>(packed, xs, blocks, out),
                    DType::Q6_K => $of_256::<Q6K, C>(packed, xs, blocks, out),
                    DType::IQ4_XS => $of_256::<Iq4Xs, C>(packed, xs, blocks, out),
                    other => unreachable!("{other} is no block type"),
                }
            }
        }

        /// # Safety
        /// The features; `packed` readable for `blocks` packed blocks of `T`, each of `xs` for as many of Q8_A.
        #[target_feature(enable = $features)]
        unsafe fn $of_32<T: Octet32, const C: usize>(
            packed: *const u8,
            xs: [*const u8; C],
            blocks: usize,
            out: &mut [[f32; ROWS]; C],
        ) {
            // SAFETY: promised by the caller.
            unsafe { rows_of_32::<T, $integer, C>(packed, xs, blocks, out) }
        }

        /// # Safety
        /// The features; `packed` readable for `blocks` packed blocks of `T`, each of `xs` for as many of Q8_K.
        #[target_feature(enable = $features)]
        unsafe fn $of_256<T: Octet256, const C: usize>(
            packed: *const u8,
            xs: [*const u8; C],
            blocks: usize,
            out: &mut [[f32; ROWS]; C],
        ) {
            // SAFETY: promised by the caller.
            unsafe { rows_of_256::<T, $integer, C>(packed, xs, blocks, out) }
        }
    };
}

entry_points!(gemv_avx2, Avx2, "avx2,fma,f16c", Maddubs, avx2_of_32, avx2_of_256);
entry_points!(
    gemv_vnni,
    Avx512Vnni,
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    Dpbusd,
    vnni_of_32,
    vnni_of_256
);

/// Asks for the lines of the packed block that lies [`PREFETCH_BYTES`] ahead.
#[inline(always)]
fn prefetch(p: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: a prefetch never faults, and the address is formed without claiming to be inside the object.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(PREFETCH_BYTES + line).cast()) };
    }
}

/// # Safety
/// AVX2, FMA, F16C and those of `V`; `packed` readable for `blocks` packed blocks, each of `xs` for as many of Q8_A.
#[inline(always)]
unsafe fn rows_of_32<T: Octet32, V: Integer, const C: usize>(
    packed: *const u8,
    xs: [*const u8; C],
    blocks: usize,
    out: &mut [[f32; ROWS]; C],
) {
    // SAFETY: block `b` is inside the packed rows, its fields and steps inside the block; so with the activations.
    unsafe {
        let (mut products, mut mins) = ([_mm256_setzero_ps(); C], [_mm256_setzero_ps(); C]);
        let one = _mm256_set1_epi16(1);
        for b in 0..blocks {
            let p = packed.add(b * ROWS * T::BYTES);
            prefetch(p, ROWS * T::BYTES);
            let mut steps = [one; 8];
            for (s, step) in steps.iter_mut().enumerate() {
                *step = T::step(p, s);
            }
            let (d, m) = T::floats8(p);
            for c in 0..C {
                let x = xs[c].add(b * A_BYTES);
                let dx = x.cast::<f32>().read_unaligned();
                let sum = x.add(A_SUM).cast::<i32>().read_unaligned();
                let mut dot = V::scaled::<T>(&steps, x.add(A_QUANTS), one);
                if T::OFFSET != 0 {
                    dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(T::OFFSET * sum));
                }
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(dx));
                products[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, products[c]);
                if T::AFFINE {
                    mins[c] = _mm256_fmadd_ps(m, _mm256_set1_ps(dx * sum as f32), mins[c]);
                }
            }
        }
        for c in 0..C {
            _mm256_storeu_ps(out[c].as_mut_ptr(), _mm256_add_ps(products[c], mins[c]));
        }
    }
}

/// # Safety
/// AVX2, FMA, F16C and those of `V`; `packed` readable for `blocks` packed blocks, each of `xs` for as many of Q8_K.
#[inline(always)]
unsafe fn rows_of_256<T: Octet256, V: Integer, const C: usize>(
    packed: *const u8,
    xs: [*const u8; C],
    blocks: usize,
    out: &mut [[f32; ROWS]; C],
) {
    // SAFETY: block `b` is inside the packed rows, its fields and steps inside the block; so with the activations.
    unsafe {
        let (mut products, mut mins) = ([_mm256_setzero_ps(); C], [_mm256_setzero_ps(); C]);
        for b in 0..blocks {
            let p = packed.add(b * ROWS * T::BYTES);
            prefetch(p, ROWS * T::BYTES);
            let mut x = xs;
            for x in &mut x {
                *x = x.add(b * K_BYTES);
            }
            let (scales, block_mins) = T::quads(p);
            let (d, dmin) = T::floats8(p);
            let mut sums = [_mm256_setzero_si256(); C];
            let mut min_sums = [_mm256_setzero_si256(); C];
            for j in 0..8 {
                let mut steps = [_mm256_setzero_si256(); 8];
                for (s, step) in steps.iter_mut().enumerate() {
                    *step = T::step(p, j, s);
                }
                // Two groups of 16, or the halves of one of 32.
                let ((quad, first), (_, second)) =
                    if T::GROUP == 16 { (T::place(2 * j), T::place(2 * j + 1)) } else { (T::place(j), T::place(j)) };
                let scale = pair_of(scales[quad], first, first);
                let both = if T::AFFINE {
                    pair_of(block_mins[quad], first, second)
                } else {
                    pair_of(scales[quad], first, second)
                };
                for c in 0..C {
                    let at = x[c].add(K_QUANTS + 32 * j);
                    let part = if T::GROUP == 16 {
                        let next = pair_of(scales[quad], second, second);
                        let low = V::scaled::<T>(&steps[..4], at, scale);
                        _mm256_add_epi32(low, V::scaled::<T>(&steps[4..], at.add(16), next))
                    } else {
                        V::scaled::<T>(&steps, at, scale)
                    };
                    sums[c] = _mm256_add_epi32(sums[c], part);
                    if T::AFFINE || T::OFFSET_BITS != 0 {
                        let pair = _mm256_madd_epi16(both, broadcast(x[c].add(K_SUMS + 4 * j)));
                        min_sums[c] = _mm256_add_epi32(min_sums[c], pair);
                    }
                }
            }
            for c in 0..C {
                let dx = _mm256_set1_ps(x[c].cast::<f32>().read_unaligned());
                if T::OFFSET_BITS != 0 {
                    let offset = _mm256_sll_epi32(min_sums[c], _mm_cvtsi32_si128(T::OFFSET_BITS));
                    sums[c] = _mm256_sub_epi32(sums[c], offset);
                }
                products[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[c]), _mm256_mul_ps(d, dx), products[c]);
                if T::AFFINE {
                    mins[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(min_sums[c]), _mm256_mul_ps(dmin, dx), mins[c]);
                }
            }
        }
        for c in 0..C {
            _mm256_storeu_ps(out[c].as_mut_ptr(), _mm256_sub_ps(products[c], mins[c]));
        }
    }
}
