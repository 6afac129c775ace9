//! Elementary functions without branches.

use super::Level;

/// `c0 + c1 x + c2 x² + …`. A macro and neither `fold` nor a loop: a closure is not compiled for the level, and a loop
/// within a loop is not always unrolled in time to become vectors.
macro_rules! polynomial {
    ($level:ident, $x:expr; $c:expr) => { $c };
    ($level:ident, $x:expr; $c:expr, $($rest:expr),+) => {
        $level::mul_add(polynomial!($level, $x; $($rest),+), $x, $c)
    };
}

/// ln 2 in two parts; the first has few enough bits that its product with any exponent is exact.
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// Adding it moves the integer part of a small number into the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// Beyond these `e^x` is 0 and ∞ in F32.
const EXP_RANGE: [f32; 2] = [-104.0, 89.0];

/// `e^x`, relative error below 2e-7 where the result is a normal number; 0, ∞ and NaN where they belong.
#[inline(always)]
pub fn exp<L: Level>(x: f32) -> f32 {
    // Comparisons in this order keep a NaN.
    let x = if x < EXP_RANGE[0] { EXP_RANGE[0] } else { x };
    let x = if x > EXP_RANGE[1] { EXP_RANGE[1] } else { x };
    let shifted = L::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = L::mul_add(n, -LN2[1], L::mul_add(n, -LN2[0], x));
    // Chebyshev series on |r| ≤ ln 2 / 2, cut after r⁶: relative error below 3e-9.
    let p = polynomial!(L, r; 1.0, 1.0, 0.5, 0.166_664_14, 0.041_666_217, 0.008_375_213, 0.001_394_87);
    // 2^n in two factors: n reaches from -150 to 128, one exponent only from -126 to 127.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2^n for a normal result.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub fn sigmoid<L: Level>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<L>(-x))
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub fn silu<L: Level>(x: f32) -> f32 {
    x / (1.0 + exp::<L>(-x))
}

/// `ln(1 + e^x)`. Where ggml's definition switches to `x`, above 20, the two differ by less than half a unit in the
/// last place.
#[inline(always)]
pub fn softplus<L: Level>(x: f32) -> f32 {
    // ln(1 + e^x) = max(x, 0) + ln(1 + y) with y = e^-|x| ≤ 1, and ln(1 + y) = 2 atanh(s), s = y / (2 + y) ≤ 1/3:
    // its series needs eight terms, and keeps the relative error small where y is tiny.
    let y = exp::<L>(-x.abs());
    let s = y / (2.0 + y);
    let s2 = s * s;
    let series = polynomial!(
        L, s2; 1.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0, 1.0 / 11.0, 1.0 / 13.0, 1.0 / 15.0
    );
    let positive = if x < 0.0 { 0.0 } else { x };
    L::mul_add(2.0 * s, series, positive)
}
