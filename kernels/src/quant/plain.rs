//! Unquantised weights: F32, F16, BF16.

use half::{bf16, f16};

use crate::DType;

/// Widens a row; `src` holds `dst.len()` elements of `dtype`.
pub(super) fn widen(dtype: DType, src: &[u8], dst: &mut [f32]) {
    match dtype {
        DType::F32 => {
            for (y, b) in dst.iter_mut().zip(src.as_chunks::<4>().0) {
                *y = f32::from_le_bytes(*b);
            }
        }
        DType::F16 => {
            for (y, b) in dst.iter_mut().zip(src.as_chunks::<2>().0) {
                *y = f16::from_le_bytes(*b).to_f32();
            }
        }
        DType::BF16 => {
            for (y, b) in dst.iter_mut().zip(src.as_chunks::<2>().0) {
                *y = bf16::from_le_bytes(*b).to_f32();
            }
        }
        other => unreachable!("{other} is no plain float type"),
    }
}

/// Narrows a row, round to nearest even.
pub(super) fn narrow(dtype: DType, src: &[f32], dst: &mut [u8]) {
    match dtype {
        DType::F32 => {
            for (b, &x) in dst.as_chunks_mut::<4>().0.iter_mut().zip(src) {
                *b = x.to_le_bytes();
            }
        }
        DType::F16 => {
            for (b, &x) in dst.as_chunks_mut::<2>().0.iter_mut().zip(src) {
                *b = f16::from_f32(x).to_le_bytes();
            }
        }
        DType::BF16 => {
            for (b, &x) in dst.as_chunks_mut::<2>().0.iter_mut().zip(src) {
                *b = bf16::from_f32(x).to_le_bytes();
            }
        }
        other => unreachable!("{other} is no plain float type"),
    }
}

/// Element `i` of a row.
pub(super) fn element(dtype: DType, row: &[u8], i: usize) -> f32 {
    let mut out = [0.0];
    let size = dtype.block_bytes();
    widen(dtype, &row[i * size..(i + 1) * size], &mut out);
    out[0]
}
