//! Four-bit codes into a fixed table of 16 uneven levels: IQ4_NL and IQ4_XS.
//!
//! IQ4_NL (18 bytes, 32 weights): `d: f16`, 16 bytes of nibbles as in Q4_0; `w = d * LEVELS[q]`.
//! IQ4_XS (136 bytes, 256 weights): `d: f16`, `scales_h: u16`, `scales_l: [u8; 4]`, 128 bytes of nibbles, 16 for each
//! 32 weights; the scale of group `j` has its low four bits in nibble `j` of `scales_l`, its high two in bits `2j` of
//! `scales_h`, and is stored plus 32.

use super::block::{Block32, Block256, extreme, inverse, nearest, read_f16, write_f16};

/// The levels that codes 0 to 15 stand for.
pub(super) const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

pub(super) fn decode_nl(block: &[u8]) -> Block32 {
    Block32 { q: levels(&block[2..18]), d: read_f16(block, 0), m: 0.0 }
}

pub(super) fn encode_nl(x: &[f32], block: &mut [u8]) {
    // The lowest level reaches further than the highest: the extreme element goes there.
    let inv = inverse(write_f16(block, 0, extreme(x) / f32::from(LEVELS[0])));
    store_levels(x, inv, &mut block[2..18]);
}

pub(super) fn decode_xs(block: &[u8]) -> Block256 {
    let high = u16::from_le_bytes([block[2], block[3]]);
    let mut q = [0i8; 256];
    for (j, group) in q.chunks_exact_mut(32).enumerate() {
        group.copy_from_slice(&levels(&block[8 + 16 * j..24 + 16 * j]));
    }
    let scale = std::array::from_fn(|g| {
        let j = g / 2;
        let low = (block[4 + j / 2] >> (4 * (j % 2))) & 15;
        let top = (high >> (2 * j)) & 3;
        i16::from(low) + (top as i16) * 16 - 32
    });
    Block256 { q, scale, min: [0; 16], d: read_f16(block, 0), dmin: 0.0 }
}

pub(super) fn encode_xs(x: &[f32], block: &mut [u8]) {
    let ideal: [f32; 8] = std::array::from_fn(|j| extreme(&x[32 * j..32 * j + 32]) / f32::from(LEVELS[0]));
    let d = write_f16(block, 0, extreme(&ideal) / -32.0);
    let inv = inverse(d);
    let mut high = 0u16;
    block[4..8].fill(0);
    for (j, group) in x.chunks_exact(32).enumerate() {
        let scale = nearest(ideal[j] * inv, -32, 31);
        let code = (scale + 32) as u16;
        high |= (code >> 4) << (2 * j);
        block[4 + j / 2] |= ((code & 15) as u8) << (4 * (j % 2));
        store_levels(group, inverse(d * scale as f32), &mut block[8 + 16 * j..24 + 16 * j]);
    }
    block[2..4].copy_from_slice(&high.to_le_bytes());
}

fn levels(nibbles: &[u8]) -> [i8; 32] {
    std::array::from_fn(|i| {
        let code = if i < 16 { nibbles[i] & 15 } else { nibbles[i - 16] >> 4 };
        LEVELS[usize::from(code)]
    })
}

fn store_levels(x: &[f32], inv: f32, nibbles: &mut [u8]) {
    for (i, byte) in nibbles.iter_mut().enumerate() {
        *byte = nearest_level(x[i] * inv) | (nearest_level(x[i + 16] * inv) << 4);
    }
}

fn nearest_level(v: f32) -> u8 {
    let above = LEVELS.partition_point(|&level| f32::from(level) < v);
    if above == 0 {
        0
    } else if above == LEVELS.len() || v - f32::from(LEVELS[above - 1]) <= f32::from(LEVELS[above]) - v {
        (above - 1) as u8
    } else {
        above as u8
    }
}
