//! Activations as int8: Q8_K for weights in blocks of 256, Q8_A for weights in blocks of 32.
//!
//! Q8_K (292 bytes): `d: f32`, 256 `i8`, 16 `i16` sums of 16. Q8_A (40 bytes): `d: f32`, `sum: i32`, 32 `i8`.
//! Both: `d = max|x| / 127`, `q = round_to_even(x * (1 / d))` with `1 / d` taken as `127 / max|x|`. So `|q| <= 127`,
//! on which the kernels rely: -128 has no absolute value in int8.
//!
//! A block with a NaN or an infinity gets `d = NaN` and zeros, so that what depends on it is NaN and not nonsense. A
//! block too small for `127 / max` to be finite becomes zero. The vector paths give the same bits as this code.

use super::block::{read_f32, read_u32};

/// Weights in a Q8_K block.
pub(super) const K_LEN: usize = 256;
/// Bytes of a Q8_K block.
pub(super) const K_BYTES: usize = 292;
/// Where the int8 of a Q8_K block start.
pub(super) const K_QUANTS: usize = 4;
/// Where the sums of 16 of a Q8_K block start.
pub(super) const K_SUMS: usize = 260;
/// Weights in a Q8_A block.
pub(super) const A_LEN: usize = 32;
/// Bytes of a Q8_A block.
pub(super) const A_BYTES: usize = 40;
/// Where the sum of a Q8_A block stands.
pub(super) const A_SUM: usize = 4;
/// Where the int8 of a Q8_A block start.
pub(super) const A_QUANTS: usize = 8;

/// Below this a block is flushed to zero: 127 divided by it would overflow.
const SMALLEST: f32 = f32::MIN_POSITIVE * 256.0;

/// `(d, 1 / d)` of a block whose largest `|x|` has these bits. Bits order as magnitudes do, NaN above infinity.
#[inline]
pub(super) fn scale_of(largest_bits: u32) -> (f32, f32) {
    let largest = f32::from_bits(largest_bits);
    if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < SMALLEST {
        (0.0, 0.0)
    } else {
        (largest / 127.0, 127.0 / largest)
    }
}

fn largest_bits(x: &[f32]) -> u32 {
    x.iter().fold(0, |m, v| m.max(v.to_bits() & 0x7fff_ffff))
}

fn store_quants(x: &[f32], inv: f32, out: &mut [u8]) {
    if inv == 0.0 {
        out.fill(0);
        return;
    }
    for (b, &v) in out.iter_mut().zip(x) {
        *b = (v * inv).round_ties_even() as i8 as u8;
    }
}

fn sum(quants: &[u8]) -> i32 {
    quants.iter().map(|&b| i32::from(b as i8)).sum()
}

/// Scalar Q8_K: whole blocks.
pub(super) fn quantize_k(x: &[f32], out: &mut [u8]) {
    for (x, block) in x.chunks_exact(K_LEN).zip(out.chunks_exact_mut(K_BYTES)) {
        let (d, inv) = scale_of(largest_bits(x));
        block[..K_QUANTS].copy_from_slice(&d.to_le_bytes());
        let (quants, sums) = block[K_QUANTS..].split_at_mut(K_LEN);
        store_quants(x, inv, quants);
        for (s, q) in sums.chunks_exact_mut(2).zip(quants.chunks_exact(16)) {
            s.copy_from_slice(&(sum(q) as i16).to_le_bytes());
        }
    }
}

/// Scalar Q8_A: whole blocks.
pub(super) fn quantize_a(x: &[f32], out: &mut [u8]) {
    for (x, block) in x.chunks_exact(A_LEN).zip(out.chunks_exact_mut(A_BYTES)) {
        let (d, inv) = scale_of(largest_bits(x));
        let (head, quants) = block.split_at_mut(A_QUANTS);
        store_quants(x, inv, quants);
        head[..A_SUM].copy_from_slice(&d.to_le_bytes());
        head[A_SUM..].copy_from_slice(&sum(quants).to_le_bytes());
    }
}

/// Widens Q8_K blocks.
pub(super) fn dequantize_k(src: &[u8], dst: &mut [f32]) {
    for (block, y) in src.chunks_exact(K_BYTES).zip(dst.chunks_exact_mut(K_LEN)) {
        let d = read_f32(block, 0);
        for (y, &b) in y.iter_mut().zip(&block[K_QUANTS..K_SUMS]) {
            *y = d * f32::from(b as i8);
        }
    }
}

/// Widens Q8_A blocks.
pub(super) fn dequantize_a(src: &[u8], dst: &mut [f32]) {
    for (block, y) in src.chunks_exact(A_BYTES).zip(dst.chunks_exact_mut(A_LEN)) {
        let d = read_f32(block, 0);
        for (y, &b) in y.iter_mut().zip(&block[A_QUANTS..]) {
            *y = d * f32::from(b as i8);
        }
    }
}

/// The sum of 16 number `g` of a Q8_K block.
#[inline]
pub(super) fn k_sum(block: &[u8], g: usize) -> i32 {
    i32::from(i16::from_le_bytes([block[K_SUMS + 2 * g], block[K_SUMS + 2 * g + 1]]))
}

/// The sum of a Q8_A block.
#[inline]
pub(super) fn a_sum(block: &[u8]) -> i32 {
    read_u32(block, A_SUM) as i32
}
