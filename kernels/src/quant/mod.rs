//! Quantised weights: block formats, and the products that read them.
//!
//! This is the layer below the ops: functions over byte slices, with no graph and no threads. A weight row of a block
//! type is multiplied by an activation row that was quantised once per op ([`activation_for`] says to which type).
//!
//! Every kernel here gives the same bits for the same row and column, whatever the instruction set, the layout and the
//! number of columns at a time: sums inside a block are exact integers, and floats are accumulated in block order. So
//! decode and prefill agree, and a result never depends on how the work was split.
//!
//! Error against the exact product of the dequantised row and the dequantised activations: at most
//! `(blocks + 2) * 2^-23 * sum |w_i * x_i|`, twice that for the types with mins, whose two sums may cancel.

mod activation;
mod block;
mod dot;
mod iq4;
mod k_quants;
mod legacy;
mod panel;
mod plain;
mod rows8;
mod scalar;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use dot::{MAX_COLUMNS, dot_f, dot_q, dot_rows, quantize_activations, quantize_q8_a, quantize_q8_k};

pub use panel::{Columns, Panel, PanelBuffer, Shape as PanelShape};
pub use rows8::{gemv_rows8, pack_rows8, unpack_rows8};
pub use tile::{Rows, TILE_ROWS, Tile, gemm_tile};

use crate::DType;
use block::{Block32, Block256};

/// The types whose rows are made of quantised blocks, smallest blocks first.
pub const BLOCK_TYPES: [DType; 12] = [
    DType::Q4_0,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_1,
    DType::Q8_0,
    DType::IQ4_NL,
    DType::Q2_K,
    DType::Q3_K,
    DType::Q4_K,
    DType::Q5_K,
    DType::Q6_K,
    DType::IQ4_XS,
];

/// The type that activations take to be multiplied by weights of this type; `None` means that they stay F32.
pub const fn activation_for(weight: DType) -> Option<DType> {
    match weight {
        DType::Q4_0 | DType::Q4_1 | DType::Q5_0 | DType::Q5_1 | DType::Q8_0 | DType::IQ4_NL => Some(DType::Q8_A),
        DType::Q2_K | DType::Q3_K | DType::Q4_K | DType::Q5_K | DType::Q6_K | DType::IQ4_XS => Some(DType::Q8_K),
        DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::Q8_K | DType::Q8_A => None,
    }
}

/// Widens a row to f32; `src` must be exactly `dst.len()` weights of `dtype`.
///
/// # Panics
/// If the lengths disagree or `dtype` is I32.
pub fn dequantize_row(dtype: DType, src: &[u8], dst: &mut [f32]) {
    check_row(dtype, src.len(), dst.len());
    let (bytes, len) = (dtype.block_bytes(), dtype.block_len());
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => plain::widen(dtype, src, dst),
        DType::Q8_K => activation::dequantize_k(src, dst),
        DType::Q8_A => activation::dequantize_a(src, dst),
        DType::I32 => panic!("I32 rows are indices, not weights"),
        _ if len == 32 => {
            for (b, y) in src.chunks_exact(bytes).zip(dst.chunks_exact_mut(len)) {
                decode32(dtype, b).dequantize(y);
            }
        }
        _ => {
            for (b, y) in src.chunks_exact(bytes).zip(dst.chunks_exact_mut(len)) {
                decode256(dtype, b).dequantize(y);
            }
        }
    }
}

/// Quantises a row, round to nearest under each block's own scales; `dst` must be exactly `src.len()` weights of `dtype`.
///
/// # Panics
/// If the lengths disagree or `dtype` is I32.
pub fn quantize_row(dtype: DType, src: &[f32], dst: &mut [u8]) {
    check_row(dtype, dst.len(), src.len());
    let (bytes, len) = (dtype.block_bytes(), dtype.block_len());
    let encode: fn(DType, &[f32], &mut [u8]) = match dtype {
        DType::F32 | DType::F16 | DType::BF16 => return plain::narrow(dtype, src, dst),
        DType::Q8_K => return activation::quantize_k(src, dst),
        DType::Q8_A => return activation::quantize_a(src, dst),
        DType::I32 => panic!("I32 rows are indices, not weights"),
        DType::IQ4_NL => |_, x, b| iq4::encode_nl(x, b),
        DType::IQ4_XS => |_, x, b| iq4::encode_xs(x, b),
        _ if len == 32 => legacy::encode,
        _ => k_quants::encode,
    };
    for (x, b) in src.chunks_exact(len).zip(dst.chunks_exact_mut(bytes)) {
        encode(dtype, x, b);
    }
}

fn check_row(dtype: DType, bytes: usize, n: usize) {
    assert_eq!(dtype.row_bytes(n), Some(bytes), "a row of {n} {dtype} weights has another size");
}

fn decode32(dtype: DType, block: &[u8]) -> Block32 {
    match dtype {
        DType::IQ4_NL => iq4::decode_nl(block),
        _ => legacy::decode(dtype, block),
    }
}

fn decode256(dtype: DType, block: &[u8]) -> Block256 {
    match dtype {
        DType::IQ4_XS => iq4::decode_xs(block),
        _ => k_quants::decode(dtype, block),
    }
}
