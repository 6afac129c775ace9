//! How far a pair turns.

/// Turn of pair `i` for each position: `1 / base^(2i/n_rot)`.
///
/// Frequency and angle are rounded to f32 where the published model's code rounds them. At position 262143 the last bit
/// of the frequency is worth 0.016 rad, so an angle that is exact would be another model than the one that was trained.
pub(in crate::ops) fn frequency(i: usize, n_rot: usize, base: f32) -> f32 {
    let exponent = (2 * i) as f32 / n_rot as f32;
    1.0 / f64::from(base).powf(f64::from(exponent)) as f32
}

/// Cosine and sine of a pair's angle at a position.
pub(in crate::ops) fn turn(pos: i32, frequency: f32) -> (f32, f32) {
    let (sin, cos) = (pos as f32 * frequency).sin_cos();
    (cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_round_as_the_published_code_rounds() {
        assert_eq!(frequency(0, 64, 1e7), 1.0);
        // torch: 1.0 / (1e7 ** (torch.arange(0, 64, 2).float() / 64))
        assert!((frequency(16, 64, 1e7) - 3.162_277_6e-4).abs() < 1e-10);
        let (cos, sin) = turn(262_143, frequency(1, 64, 1e7));
        let exact = f64::from(262_143.0f32 * frequency(1, 64, 1e7));
        assert!((f64::from(cos) - exact.cos()).abs() < 1e-7 && (f64::from(sin) - exact.sin()).abs() < 1e-7);
    }
}
