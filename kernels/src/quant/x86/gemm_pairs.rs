//! A tile's chunk times a few columns with AVX2, for signed codes: sixteen rows by `C` columns in registers.
//!
//! Signed bytes are what AVX2 cannot multiply well: `maddubs` wants an unsigned factor, so that each product costs a sign
//! besides, on the two ports that multiply too, and the sum of two pairs may not fit an i16. Here codes and activations
//! are i16, and Winograd's inner product halves the multiplications:
//!
//! `w0 x0 + w1 x1 = (w1 + x0) (w0 + x1) - w0 w1 - x0 x1`
//!
//! The two products on the right are sums over a row's block and over a column's, made when they are packed. For 32
//! products: two adds, one multiply-add, one add, which keep all four vector ports of a Zen busy. Scales are multiplied
//! into the codes. Sums wrap around; the result, at most `256 * 127 * 32 * 127`, fits an i32, so it is exact.

// One index for several arrays of registers reads better than zipped iterators.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::gemm::Chunk;
use super::integer::broadcast;
use super::lanes::load;
use super::panel::{SUMS, lines_of, tail_of};
use super::tile::{Form, pairs};
use crate::quant::rows8::ROWS;

/// Bytes from a column to the next.
const COLUMN: usize = 64 * lines_of(Form::Pairs);
const TAIL: usize = tail_of(Form::Pairs);

/// Two groups of eight rows.
type Pair<T> = [T; 2];

/// Adds the products of `steps` fours of codes and activations to `sums`.
///
/// # Safety
/// AVX2; the lines and, for each column, the activations readable.
#[inline(always)]
unsafe fn add_products<const C: usize>(sums: &mut [Pair<__m256i>; C], w: *const u8, x: *const u8, steps: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        for s in 0..steps {
            let w = w.add(128 * s);
            // The next columns come from the last cache level.
            _mm_prefetch::<_MM_HINT_T0>(x.wrapping_add(COLUMN * C + COLUMN * C / 64 * s).cast());
            let (odd, even) = ([load(w), load(w.add(32))], [load(w.add(64)), load(w.add(96))]);
            for c in 0..C {
                let x = x.add(COLUMN * c + 8 * s);
                let (x_even, x_odd) = (broadcast(x), broadcast(x.add(4)));
                for r in 0..2 {
                    let (a, b) = (_mm256_add_epi16(x_even, odd[r]), _mm256_add_epi16(x_odd, even[r]));
                    sums[c][r] = _mm256_add_epi32(sums[c][r], _mm256_madd_epi16(a, b));
                }
            }
        }
    }
}

/// Block `b` of a chunk, of `n` weights: what its integer sums start at, its products, and `d * dx` times them.
///
/// # Safety
/// AVX2 and FMA; `chunk` as [`Chunk`] says; the block is inside it.
#[inline(always)]
unsafe fn block<const C: usize>(chunk: &Chunk, b: usize, n: usize, products: &mut [Pair<__m256>; C]) {
    // SAFETY: promised by the caller.
    unsafe {
        let w = chunk.w.add(64 * (pairs(n) + 2) * b);
        let x = chunk.x;
        let tail = x.add(TAIL + 4 * b);
        let minus = w.add(64 * pairs(n));
        let mut sums = [[_mm256_setzero_si256(); 2]; C];
        for c in 0..C {
            let x = broadcast(tail.add(COLUMN * c + SUMS));
            for r in 0..2 {
                sums[c][r] = _mm256_add_epi32(load(minus.add(32 * r)), x);
            }
        }
        // Unrolled, the eight steps of a block of 32 would be taken column by column, with all lines on the stack.
        let steps = std::hint::black_box(n / 4);
        add_products(&mut sums, w, x.add(2 * n * b), steps);
        let d = minus.add(64).cast::<f32>();
        for c in 0..C {
            let dx = _mm256_set1_ps(tail.add(COLUMN * c).cast::<f32>().read());
            for r in 0..2 {
                let scale = _mm256_mul_ps(_mm256_loadu_ps(d.add(ROWS * r)), dx);
                products[c][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[c][r]), scale, products[c][r]);
            }
        }
    }
}

/// Blocks of 32, or one of 256.
///
/// # Safety
/// AVX2 and FMA; `chunk` as [`Chunk`] says, for `C` columns, in pairs.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply<const C: usize>(chunk: &Chunk, n: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        // Loops, not closures: those do not take the features of this function where they are not inlined.
        let mut products = [[_mm256_setzero_ps(); 2]; C];
        for c in 0..C {
            for r in 0..2 {
                products[c][r] = _mm256_load_ps(chunk.products(c).add(ROWS * r));
            }
        }
        if n == 256 {
            block(chunk, 0, 256, &mut products);
        } else {
            for b in 0..chunk.blocks {
                block(chunk, b, 32, &mut products);
            }
        }
        for c in 0..C {
            for r in 0..2 {
                _mm256_store_ps(chunk.products(c).add(ROWS * r), products[c][r]);
            }
        }
    }
}
