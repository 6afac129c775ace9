//! `rows8`: eight consecutive rows stored block by block, interleaved in words of four bytes.
//!
//! The blocks of the eight rows that stand at the same place make one packed block of exactly eight times the bytes:
//! first each f16 field, eight rows side by side, then each four-byte word of the rest, eight rows side by side. So
//! one load of 32 bytes holds the same word of eight rows, hence (codes of consecutive weights share a word) the same
//! four weights of each, and lane `r` of every vector belongs to row `r`: products need no horizontal sum.
//!
//! The fifth bits of Q5_0 and Q5_1 are reordered, so that byte `c`, bit `s` belongs to weight `4 s + c`.

use super::scalar::Accumulators;
use super::{MAX_COLUMNS, activation_for, check_row};
use crate::DType;
use crate::cpu::Isa;

#[cfg(target_arch = "x86_64")]
use super::x86;

/// Rows in a packed group.
pub(super) const ROWS: usize = 8;

/// Where a block keeps what: two-byte fields, and runs of four-byte words as `(first byte, words)`.
struct Fields {
    halves: &'static [usize],
    words: &'static [(usize, usize)],
    /// The word, if any, whose bits are one for each weight in order.
    bit_per_weight: Option<usize>,
}

const fn fields(dtype: DType) -> Fields {
    let (halves, words, bit_per_weight): (&[usize], &[(usize, usize)], _) = match dtype {
        DType::Q4_0 | DType::IQ4_NL => (&[0], &[(2, 4)], None),
        DType::Q4_1 => (&[0, 2], &[(4, 4)], None),
        DType::Q5_0 => (&[0], &[(2, 5)], Some(2)),
        DType::Q5_1 => (&[0, 2], &[(4, 5)], Some(4)),
        DType::Q8_0 => (&[0], &[(2, 8)], None),
        DType::Q2_K => (&[80, 82], &[(0, 20)], None),
        DType::Q3_K => (&[108], &[(0, 27)], None),
        DType::Q4_K => (&[0, 2], &[(4, 35)], None),
        DType::Q5_K => (&[0, 2], &[(4, 43)], None),
        DType::Q6_K => (&[208], &[(0, 52)], None),
        DType::IQ4_XS => (&[0, 2], &[(4, 33)], None),
        _ => panic!("not a block type"),
    };
    Fields { halves, words, bit_per_weight }
}

/// Calls `each(byte in the source block, first byte of row 0 in the packed block, bytes)` for every field.
fn for_each_field(fields: &Fields, mut each: impl FnMut(usize, usize, usize)) {
    let mut at = 0;
    for &half in fields.halves {
        each(half, at, 2);
        at += 2 * ROWS;
    }
    for &(first, count) in fields.words {
        for word in 0..count {
            each(first + 4 * word, at, 4);
            at += 4 * ROWS;
        }
    }
}

/// Packs eight rows of `n` weights; `rows` and `out` both take eight times the bytes of a row.
///
/// # Panics
/// If `dtype` is no block type or a length is wrong.
pub fn pack_rows8(dtype: DType, rows: &[u8], n: usize, out: &mut [u8]) {
    check_octet(dtype, rows.len(), n);
    check_octet(dtype, out.len(), n);
    let block = dtype.block_bytes();
    for (b, packed) in out.chunks_exact_mut(ROWS * block).enumerate() {
        pack_block(dtype, rows, rows.len() / ROWS, b, packed);
    }
}

/// Packs block `b` of the rows found every `stride` bytes in `rows`; missing rows (fewer than eight) become zeros.
pub(super) fn pack_block(dtype: DType, rows: &[u8], stride: usize, b: usize, packed: &mut [u8]) {
    let (fields, bytes) = (fields(dtype), dtype.block_bytes());
    let present = (rows.len() / stride).min(ROWS);
    if present < ROWS {
        packed.fill(0);
    }
    for r in 0..present {
        let block = &rows[r * stride + b * bytes..][..bytes];
        for_each_field(&fields, |from, to, size| {
            if size == 2 {
                packed[to + 2 * r..to + 2 * r + 2].copy_from_slice(&block[from..from + 2]);
            } else if fields.bit_per_weight == Some(from) {
                let word = u32::from_le_bytes([block[from], block[from + 1], block[from + 2], block[from + 3]]);
                packed[to + 4 * r..to + 4 * r + 4].copy_from_slice(&spread_bits(word).to_le_bytes());
            } else {
                packed[to + 4 * r..to + 4 * r + 4].copy_from_slice(&block[from..from + 4]);
            }
        });
    }
}

/// The inverse of [`pack_rows8`].
///
/// # Panics
/// If `dtype` is no block type or a length is wrong.
pub fn unpack_rows8(dtype: DType, packed: &[u8], n: usize, rows: &mut [u8]) {
    check_octet(dtype, packed.len(), n);
    check_octet(dtype, rows.len(), n);
    let (bytes, stride) = (dtype.block_bytes(), rows.len() / ROWS);
    for (b, packed) in packed.chunks_exact(ROWS * bytes).enumerate() {
        for r in 0..ROWS {
            unpack_block(dtype, packed, r, &mut rows[r * stride + b * bytes..][..bytes]);
        }
    }
}

/// Block of row `r` out of a packed block.
fn unpack_block(dtype: DType, packed: &[u8], r: usize, block: &mut [u8]) {
    let fields = fields(dtype);
    for_each_field(&fields, |to, from, size| {
        block[to..to + size].copy_from_slice(&packed[from + size * r..from + size * r + size]);
        if fields.bit_per_weight == Some(to) {
            let word = u32::from_le_bytes([block[to], block[to + 1], block[to + 2], block[to + 3]]);
            block[to..to + 4].copy_from_slice(&gather_bits(word).to_le_bytes());
        }
    });
}

/// Bit `4 s + c` to bit `8 c + s`.
fn spread_bits(word: u32) -> u32 {
    (0..32).fold(0, |out, i| out | (((word >> i) & 1) << (8 * (i % 4) + i / 4)))
}

/// Bit `8 c + s` to bit `4 s + c`.
fn gather_bits(word: u32) -> u32 {
    (0..32).fold(0, |out, i| out | (((word >> (8 * (i % 4) + i / 4)) & 1) << i))
}

/// Eight packed rows times `C` activation rows (at most [`MAX_COLUMNS`]): `out[c][r] = row r . xs[c]`, the same bits as
/// [`dot_q`](super::dot_q) on the rows.
///
/// # Panics
/// If `dtype` is no block type or a length is wrong.
pub fn gemv_rows8<const C: usize>(
    isa: Isa,
    dtype: DType,
    packed: &[u8],
    xs: [&[u8]; C],
    n: usize,
    out: &mut [[f32; ROWS]; C],
) {
    const { assert!(C >= 1 && C <= MAX_COLUMNS) };
    let Some(activation) = activation_for(dtype) else { panic!("{dtype} is no block type") };
    check_octet(dtype, packed.len(), n);
    for x in xs {
        check_row(activation, x.len(), n);
    }
    #[cfg(target_arch = "x86_64")]
    match (isa.avx512_vnni(), isa.avx2()) {
        (Some(token), _) => return x86::gemv::gemv_vnni(token, dtype, packed, xs, n, out),
        (None, Some(token)) => return x86::gemv::gemv_avx2(token, dtype, packed, xs, n, out),
        (None, None) => {}
    }
    let _ = isa;
    let mut block = [0u8; 256];
    let block = &mut block[..dtype.block_bytes()];
    let mut sums = [[Accumulators::default(); ROWS]; C];
    for (b, packed) in packed.chunks_exact(ROWS * block.len()).enumerate() {
        for r in 0..ROWS {
            unpack_block(dtype, packed, r, block);
            for (sums, x) in sums.iter_mut().zip(xs) {
                sums[r].add(dtype, block, &x[b * activation.block_bytes()..][..activation.block_bytes()]);
            }
        }
    }
    *out = sums.map(|column| column.map(|sum| sum.total(dtype)));
}

fn check_octet(dtype: DType, bytes: usize, n: usize) {
    assert!(activation_for(dtype).is_some(), "{dtype} is no block type");
    assert!(bytes.is_multiple_of(ROWS), "packed rows come in eights");
    check_row(dtype, bytes / ROWS, n);
}
