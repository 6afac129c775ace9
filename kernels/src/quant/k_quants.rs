//! Blocks of 256 with integer scales under a float scale: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
//!
//! | type | bytes | fields in order | weight |
//! |---|---|---|---|
//! | Q2_K | 84 | `scales[16]` (scale low nibble, min high), `qs[64]`, `d`, `dmin` | `d*s*q - dmin*m` |
//! | Q3_K | 110 | `high[32]`, `qs[64]`, `scales[12]`, `d` | `d*(s-32)*(q-4)` |
//! | Q4_K | 144 | `d`, `dmin`, `scales[12]`, `qs[128]` | `d*s*q - dmin*m` |
//! | Q5_K | 176 | `d`, `dmin`, `scales[12]`, `high[32]`, `qs[128]` | `d*s*q - dmin*m` |
//! | Q6_K | 210 | `ql[128]`, `qh[64]`, `scales: i8[16]`, `d` | `d*s*(q-32)` |
//!
//! `d` and `dmin` are f16. Scales belong to 16 weights in Q2_K, Q3_K and Q6_K, to 32 in Q4_K and Q5_K. With group
//! `J = i / 32`, half `h = J / 4`, `j = J % 4` and `l = i % 32`, weight `i` is found at: Q2_K, Q3_K `qs[32h+l]` bits
//! `2j` (and `high[l]` bit `J`); Q4_K, Q5_K `qs[32(J/2)+l]` nibble `J%2` (and `high[l]` bit `J`); Q6_K
//! `ql[64h+32(j%2)+l]` nibble `j/2` and `qh[32h+l]` bits `2j`.

use super::block::{Block256, extreme, inverse, nearest, range_with_zero, read_f16, read_u32, write_f16};
use crate::DType;

/// Decodes one block of a type of this file.
pub(super) fn decode(dtype: DType, b: &[u8]) -> Block256 {
    let mut q = [0i8; 256];
    let code = codes(dtype);
    for (i, q) in q.iter_mut().enumerate() {
        *q = code(b, i);
    }
    let none = [0i16; 16];
    match dtype {
        DType::Q2_K => {
            let scale = std::array::from_fn(|g| i16::from(b[g] & 15));
            let min = std::array::from_fn(|g| i16::from(b[g] >> 4));
            Block256 { q, scale, min, d: read_f16(b, 80), dmin: read_f16(b, 82) }
        }
        DType::Q3_K => {
            let packed = unpack_scales_16(&b[96..108]);
            let scale = std::array::from_fn(|g| i16::from(packed[g]) - 32);
            Block256 { q, scale, min: none, d: read_f16(b, 108), dmin: 0.0 }
        }
        DType::Q4_K | DType::Q5_K => {
            let (scales, mins) = unpack_scales_mins_8(&b[4..16]);
            let scale = std::array::from_fn(|g| i16::from(scales[g / 2]));
            let min = std::array::from_fn(|g| i16::from(mins[g / 2]));
            Block256 { q, scale, min, d: read_f16(b, 0), dmin: read_f16(b, 2) }
        }
        _ => {
            let scale = std::array::from_fn(|g| i16::from(b[192 + g] as i8));
            Block256 { q, scale, min: none, d: read_f16(b, 208), dmin: 0.0 }
        }
    }
}

/// Eight 6-bit scales and eight 6-bit mins from 12 bytes (Q4_K, Q5_K).
pub(super) fn unpack_scales_mins_8(s: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (a, b, c) = (read_u32(s, 0), read_u32(s, 4), read_u32(s, 8));
    let join = |low: u32, high: u32| {
        let mut out = [0; 8];
        out[..4].copy_from_slice(&low.to_le_bytes());
        out[4..].copy_from_slice(&high.to_le_bytes());
        out
    };
    let scales = join(a & 0x3f3f_3f3f, (c & 0x0f0f_0f0f) | ((a >> 2) & 0x3030_3030));
    let mins = join(b & 0x3f3f_3f3f, ((c >> 4) & 0x0f0f_0f0f) | ((b >> 2) & 0x3030_3030));
    (scales, mins)
}

/// Sixteen 6-bit scales, stored plus 32, from 12 bytes (Q3_K).
pub(super) fn unpack_scales_16(s: &[u8]) -> [u8; 16] {
    std::array::from_fn(|g| {
        let low = (s[g % 8] >> (4 * (g / 8))) & 15;
        let high = (s[8 + g % 4] >> (2 * (g / 4))) & 3;
        low | (high << 4)
    })
}

fn codes(dtype: DType) -> fn(&[u8], usize) -> i8 {
    match dtype {
        DType::Q2_K => |b, i| ((b[16 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3) as i8,
        DType::Q3_K => |b, i| {
            let low = (b[32 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
            let high = (b[i % 32] >> (i / 32)) & 1;
            (low | (high << 2)) as i8 - 4
        },
        DType::Q4_K => |b, i| ((b[16 + 32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 15) as i8,
        DType::Q5_K => |b, i| {
            let low = (b[48 + 32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 15;
            let high = (b[16 + i % 32] >> (i / 32)) & 1;
            (low | (high << 4)) as i8
        },
        DType::Q6_K => |b, i| {
            let (h, j, l) = (i / 128, i / 32 % 4, i % 32);
            let low = (b[64 * h + 32 * (j % 2) + l] >> (4 * (j / 2))) & 15;
            let high = (b[128 + 32 * h + l] >> (2 * j)) & 3;
            (low | (high << 4)) as i8 - 32
        },
        other => unreachable!("{other} is no K-quant"),
    }
}

/// Quantises 256 weights, round to nearest under the rounded scales.
pub(super) fn encode(dtype: DType, x: &[f32], b: &mut [u8]) {
    match dtype {
        DType::Q2_K => {
            let (scales, mins, q) = affine::<16>(x, 16, 3, 15, b, 80);
            for g in 0..16 {
                b[g] = scales[g] | (mins[g] << 4);
            }
            b[16..80].fill(0);
            store_bits(&q, |i| (16 + 32 * (i / 128) + i % 32, 2 * (i / 32 % 4)), 3, 0, b);
        }
        DType::Q3_K => {
            let (scales, q) = symmetric(x, 4, 31, b, 108);
            b[..108].fill(0);
            for (g, &scale) in scales.iter().enumerate() {
                let code = (scale + 32) as u8;
                b[96 + g % 8] |= (code & 15) << (4 * (g / 8));
                b[104 + g % 4] |= (code >> 4) << (2 * (g / 4));
            }
            store_bits(&q, |i| (32 + 32 * (i / 128) + i % 32, 2 * (i / 32 % 4)), 3, 0, b);
            store_bits(&q, |i| (i % 32, i / 32), 1, 2, b);
        }
        DType::Q4_K => {
            let (scales, mins, q) = affine::<8>(x, 32, 15, 63, b, 0);
            b[4..144].fill(0);
            pack_scales_mins_8(&scales, &mins, &mut b[4..16]);
            store_bits(&q, |i| (16 + 32 * (i / 64) + i % 32, 4 * (i / 32 % 2)), 15, 0, b);
        }
        DType::Q5_K => {
            let (scales, mins, q) = affine::<8>(x, 32, 31, 63, b, 0);
            b[4..176].fill(0);
            pack_scales_mins_8(&scales, &mins, &mut b[4..16]);
            store_bits(&q, |i| (48 + 32 * (i / 64) + i % 32, 4 * (i / 32 % 2)), 15, 0, b);
            store_bits(&q, |i| (16 + i % 32, i / 32), 1, 4, b);
        }
        DType::Q6_K => {
            let (scales, q) = symmetric(x, 32, 127, b, 208);
            b[..192].fill(0);
            for (g, &scale) in scales.iter().enumerate() {
                b[192 + g] = scale as i8 as u8;
            }
            store_bits(&q, |i| (64 * (i / 128) + i % 64, 4 * (i / 64 % 2)), 15, 0, b);
            store_bits(&q, |i| (128 + 32 * (i / 128) + i % 32, 2 * (i / 32 % 4)), 3, 4, b);
        }
        other => unreachable!("{other} is no K-quant"),
    }
}

fn pack_scales_mins_8(scales: &[u8; 8], mins: &[u8; 8], out: &mut [u8]) {
    for j in 0..4 {
        out[j] = scales[j] | ((scales[j + 4] >> 4) << 6);
        out[j + 4] = mins[j] | ((mins[j + 4] >> 4) << 6);
        out[j + 8] = (scales[j + 4] & 15) | ((mins[j + 4] & 15) << 4);
    }
}

/// Ors the bits of `q >> from`, under `mask`, into the byte and bit that `place` names for each weight.
fn store_bits(q: &[u8; 256], place: impl Fn(usize) -> (usize, usize), mask: u8, from: u32, b: &mut [u8]) {
    for (i, &q) in q.iter().enumerate() {
        let (byte, shift) = place(i);
        b[byte] |= ((q >> from) & mask) << shift;
    }
}

/// `w = d*s*q - dmin*m` with `q <= top`, `s` and `m <= limit`: returns scales, mins and codes; writes `d`, `dmin` at `at`.
fn affine<const G: usize>(
    x: &[f32],
    group: usize,
    top: i32,
    limit: i32,
    b: &mut [u8],
    at: usize,
) -> ([u8; G], [u8; G], [u8; 256]) {
    let ranges: [(f32, f32); G] = std::array::from_fn(|g| range_with_zero(&x[g * group..(g + 1) * group]));
    let widest = ranges.iter().fold(0.0, |w: f32, &(lo, hi)| w.max(hi - lo));
    let deepest = ranges.iter().fold(0.0, |w: f32, &(lo, _)| w.max(-lo));
    let d = write_f16(b, at, widest / (top * limit) as f32);
    let dmin = write_f16(b, at + 2, deepest / limit as f32);
    let (inv, inv_min) = (inverse(d), inverse(dmin));
    let (mut scales, mut mins, mut q) = ([0u8; G], [0u8; G], [0u8; 256]);
    for (g, &(lo, hi)) in ranges.iter().enumerate() {
        scales[g] = nearest((hi - lo) / top as f32 * inv, 0, limit) as u8;
        mins[g] = nearest(-lo * inv_min, 0, limit) as u8;
        let inv_scale = inverse(d * f32::from(scales[g]));
        let min = dmin * f32::from(mins[g]);
        for i in g * group..(g + 1) * group {
            q[i] = nearest((x[i] + min) * inv_scale, 0, top) as u8;
        }
    }
    (scales, mins, q)
}

/// `w = d*s*(q-half)` with groups of 16, `|s| <= limit`: returns scales and codes; writes `d` at `at`.
fn symmetric(x: &[f32], half: i32, limit: i32, b: &mut [u8], at: usize) -> ([i32; 16], [u8; 256]) {
    let ideal: [f32; 16] = std::array::from_fn(|g| extreme(&x[16 * g..16 * g + 16]) / -half as f32);
    let d = write_f16(b, at, extreme(&ideal) / -(limit + 1) as f32);
    let inv = inverse(d);
    let (mut scales, mut q) = ([0; 16], [0u8; 256]);
    for g in 0..16 {
        scales[g] = nearest(ideal[g] * inv, -limit - 1, limit);
        let inv_scale = inverse(d * scales[g] as f32);
        for i in 16 * g..16 * g + 16 {
            q[i] = (nearest(x[i] * inv_scale, -half, half - 1) + half) as u8;
        }
    }
    (scales, q)
}
