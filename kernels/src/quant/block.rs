//! What every block type comes down to: small integers, integer scales of 16 weights, and one or two floats.
//!
//! A block of 32 is `w = q * d + m`; a block of 256 is `w = q * (d * scale) - dmin * min` with a scale and a min for
//! each 16. The scalar kernels work on this form; the vector kernels decode the same fields in registers.

use half::f16;

/// A decoded block of 32 weights: `w[i] = q[i] * d + m`.
pub(super) struct Block32 {
    pub q: [i8; 32],
    pub d: f32,
    pub m: f32,
}

/// A decoded block of 256 weights: `w[i] = q[i] * (d * scale[i / 16]) - dmin * min[i / 16]`.
pub(super) struct Block256 {
    pub q: [i8; 256],
    pub scale: [i16; 16],
    pub min: [i16; 16],
    pub d: f32,
    pub dmin: f32,
}

impl Block32 {
    pub(super) fn dequantize(&self, out: &mut [f32]) {
        for (y, &q) in out.iter_mut().zip(&self.q) {
            *y = f32::from(q) * self.d + self.m;
        }
    }
}

impl Block256 {
    pub(super) fn dequantize(&self, out: &mut [f32]) {
        for (g, (ys, qs)) in out.chunks_exact_mut(16).zip(self.q.chunks_exact(16)).enumerate() {
            let scale = self.d * f32::from(self.scale[g]);
            let min = self.dmin * f32::from(self.min[g]);
            for (y, &q) in ys.iter_mut().zip(qs) {
                *y = scale * f32::from(q) - min;
            }
        }
    }
}

/// The little-endian f16 at byte `at`, widened.
#[inline]
pub(super) fn read_f16(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Stores `x` as f16 at byte `at` and returns what was stored, widened.
#[inline]
pub(super) fn write_f16(bytes: &mut [u8], at: usize, x: f32) -> f32 {
    // Saturate: an infinite scale would turn zeros into NaN.
    let stored = f16::from_f32(x.clamp(-65504.0, 65504.0));
    bytes[at..at + 2].copy_from_slice(&stored.to_le_bytes());
    stored.to_f32()
}

/// The little-endian u32 at byte `at`.
#[inline]
pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The little-endian f32 at byte `at`.
#[inline]
pub(super) fn read_f32(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(read_u32(bytes, at))
}

/// `1 / d`, or 0 for the scale of an all-zero block.
#[inline]
pub(super) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// The element of largest magnitude, with its sign: mapped to the lowest code, which reaches one further than the
/// highest, it uses the whole range.
pub(super) fn extreme(x: &[f32]) -> f32 {
    x.iter().copied().fold(0.0, |best: f32, v| if v.abs() > best.abs() { v } else { best })
}

/// Lowest (at most 0) and highest (at least 0) element.
pub(super) fn range_with_zero(x: &[f32]) -> (f32, f32) {
    x.iter().fold((0.0, 0.0), |(lo, hi): (f32, f32), &v| (lo.min(v), hi.max(v)))
}

/// The integer nearest to `x`, inside `lo..=hi`.
#[inline]
pub(super) fn nearest(x: f32, lo: i32, hi: i32) -> i32 {
    (x.round_ties_even() as i32).clamp(lo, hi)
}
