//! Blocks of 32 with a float scale each: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! | type | bytes | fields in order |
//! |---|---|---|
//! | Q4_0 | 18 | `d: f16`, 16 bytes of nibbles; `w = d * (q - 8)` |
//! | Q4_1 | 20 | `d: f16`, `m: f16`, nibbles; `w = d * q + m` |
//! | Q5_0 | 22 | `d: f16`, `high: u32`, nibbles; `w = d * (q - 16)` |
//! | Q5_1 | 24 | `d: f16`, `m: f16`, `high: u32`, nibbles; `w = d * q + m` |
//! | Q8_0 | 34 | `d: f16`, 32 `i8`; `w = d * q` |
//!
//! Byte `i` of the nibbles holds weight `i` below and weight `i + 16` above; bit `i` of `high` is the fifth bit of
//! weight `i`.

use super::block::{Block32, extreme, inverse, nearest, read_f16, read_u32, write_f16};
use crate::DType;

/// Decodes one block of a type of this file.
pub(super) fn decode(dtype: DType, block: &[u8]) -> Block32 {
    let d = read_f16(block, 0);
    match dtype {
        DType::Q4_0 => Block32 { q: codes(&block[2..], 0, 8), d, m: 0.0 },
        DType::Q4_1 => Block32 { q: codes(&block[4..], 0, 0), d, m: read_f16(block, 2) },
        DType::Q5_0 => Block32 { q: codes(&block[6..], read_u32(block, 2), 16), d, m: 0.0 },
        DType::Q5_1 => Block32 { q: codes(&block[8..], read_u32(block, 4), 0), d, m: read_f16(block, 2) },
        DType::Q8_0 => Block32 { q: std::array::from_fn(|i| block[2 + i] as i8), d, m: 0.0 },
        other => unreachable!("{other} is no type of 32-weight blocks"),
    }
}

/// Quantises 32 weights, round to nearest.
pub(super) fn encode(dtype: DType, x: &[f32], block: &mut [u8]) {
    match dtype {
        DType::Q4_0 => symmetric(x, block, 8, 2),
        DType::Q5_0 => symmetric(x, block, 16, 6),
        DType::Q4_1 => affine(x, block, 15, 4),
        DType::Q5_1 => affine(x, block, 31, 8),
        DType::Q8_0 => {
            let d = extreme(x).abs() / 127.0;
            let inv = inverse(write_f16(block, 0, d));
            for (b, &v) in block[2..].iter_mut().zip(x) {
                *b = nearest(v * inv, -127, 127) as i8 as u8;
            }
        }
        other => unreachable!("{other} is no type of 32-weight blocks"),
    }
}

fn codes(nibbles: &[u8], high: u32, offset: i8) -> [i8; 32] {
    std::array::from_fn(|i| {
        let low = if i < 16 { nibbles[i] & 15 } else { nibbles[i - 16] >> 4 };
        let fifth = ((high >> i) & 1) as u8;
        (low | (fifth << 4)) as i8 - offset
    })
}

/// `half` is both the offset and the number of steps below zero; `at` is where the nibbles start.
fn symmetric(x: &[f32], block: &mut [u8], half: i32, at: usize) {
    let inv = inverse(write_f16(block, 0, extreme(x) / -half as f32));
    store(block, at, |i| (nearest(x[i] * inv, -half, half - 1) + half) as u32);
}

fn affine(x: &[f32], block: &mut [u8], top: i32, at: usize) {
    let (lo, hi) = x.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let inv = inverse(write_f16(block, 0, (hi - lo) / top as f32));
    let m = write_f16(block, 2, lo);
    store(block, at, |i| nearest((x[i] - m) * inv, 0, top) as u32);
}

/// Writes the nibbles at `at`, and the fifth bits in the four bytes before them where the type has any.
fn store(block: &mut [u8], at: usize, code: impl Fn(usize) -> u32) {
    let mut high = 0u32;
    for i in 0..16 {
        let (a, b) = (code(i), code(i + 16));
        block[at + i] = ((a & 15) | ((b & 15) << 4)) as u8;
        high |= ((a >> 4) << i) | ((b >> 4) << (i + 16));
    }
    if at >= 6 {
        block[at - 4..at].copy_from_slice(&high.to_le_bytes());
    }
}
