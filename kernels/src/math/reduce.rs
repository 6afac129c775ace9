//! Reductions in a fixed order: [`LANES`] partial results, element `i` joining number `i % LANES`, folded in halves at
//! the end. The order depends on the length alone, not on the level or on how rows were dealt over threads.

use super::Level;

/// Partial results: four vectors of AVX2, enough to hide the latency of an addition.
const LANES: usize = 32;

/// Steps each lane over its elements of `x` and `y`, which have one length, and folds the lanes.
#[inline(always)]
fn lanes(x: &[f32], y: &[f32], start: f32, step: impl Fn(f32, f32, f32) -> f32, fold: impl Fn(f32, f32) -> f32) -> f32 {
    let mut acc = [start; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest = xs.remainder().iter().zip(ys.remainder());
    for (x, y) in xs.zip(ys) {
        for ((a, &x), &y) in acc.iter_mut().zip(x).zip(y) {
            *a = step(*a, x, y);
        }
    }
    for (a, (&x, &y)) in acc.iter_mut().zip(rest) {
        *a = step(*a, x, y);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            acc[l] = fold(acc[l], acc[l + width]);
        }
        width /= 2;
    }
    acc[0]
}

/// `Σ x`.
#[inline(always)]
pub fn sum<L: Level>(x: &[f32]) -> f32 {
    lanes(x, x, 0.0, |a, x, _| a + x, |a, b| a + b)
}

/// `Σ x²`.
#[inline(always)]
pub fn sum_squares<L: Level>(x: &[f32]) -> f32 {
    lanes(x, x, 0.0, |a, x, _| L::mul_add(x, x, a), |a, b| a + b)
}

/// `Σ x y`; the shorter length counts.
#[inline(always)]
pub fn dot<L: Level>(x: &[f32], y: &[f32]) -> f32 {
    let n = x.len().min(y.len());
    lanes(&x[..n], &y[..n], 0.0, |a, x, y| L::mul_add(x, y, a), |a, b| a + b)
}

/// The largest element, −∞ for none. A NaN is passed over.
#[inline(always)]
pub fn max<L: Level>(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    lanes(x, x, f32::NEG_INFINITY, |a, x, _| larger(a, x), larger)
}
