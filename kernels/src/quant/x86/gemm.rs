//! Which kernel multiplies which tile.

use super::formats32::{Iq4Nl, Q40, Q41, Q50, Q51, Q80};
use super::formats256::{Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};
use super::octets32::Octet32;
use super::octets256::Octet256;
use super::tile::lines_of;
use super::{gemm_avx2, gemm_avx512};
use crate::DType;
use crate::cpu::Isa;
use crate::quant::tile::{Line, TILE_ROWS};

/// Columns of a kernel's block, as pointers.
pub(super) type Xs<const C: usize> = [*const u8; C];
/// Products of a tile and `C` columns.
pub(super) type Out<const C: usize> = [[f32; TILE_ROWS]; C];

/// `out[c][r] = row r . xs[c]` for 1, 2, 4 or, with AVX-512, 8 columns; the caller has checked their lengths. `lines`
/// were unpacked for the level of `isa`, which is not scalar.
pub(in crate::quant) fn multiply(
    isa: Isa,
    dtype: DType,
    lines: &[Line],
    n: usize,
    xs: &[&[u8]],
    out: &mut [[f32; TILE_ROWS]],
) {
    let blocks = n / dtype.block_len();
    assert!(lines.len() == blocks * lines_of(dtype) && xs.len() == out.len());
    match xs.len() {
        1 => of_columns::<1>(isa, dtype, lines, blocks, xs, out),
        2 => of_columns::<2>(isa, dtype, lines, blocks, xs, out),
        4 => of_columns::<4>(isa, dtype, lines, blocks, xs, out),
        8 => of_columns::<8>(isa, dtype, lines, blocks, xs, out),
        other => unreachable!("no kernel takes {other} columns"),
    }
}

fn of_columns<const C: usize>(
    isa: Isa,
    dtype: DType,
    lines: &[Line],
    blocks: usize,
    xs: &[&[u8]],
    out: &mut [[f32; TILE_ROWS]],
) {
    let lines = lines.as_ptr().cast();
    let xs: Xs<C> = std::array::from_fn(|c| xs[c].as_ptr());
    match dtype {
        DType::Q4_0 => of_32::<Q40, C>(isa, lines, blocks, xs, out),
        DType::Q4_1 => of_32::<Q41, C>(isa, lines, blocks, xs, out),
        DType::Q5_0 => of_32::<Q50, C>(isa, lines, blocks, xs, out),
        DType::Q5_1 => of_32::<Q51, C>(isa, lines, blocks, xs, out),
        DType::Q8_0 => of_32::<Q80, C>(isa, lines, blocks, xs, out),
        DType::IQ4_NL => of_32::<Iq4Nl, C>(isa, lines, blocks, xs, out),
        DType::Q2_K => of_256::<Q2K, C>(isa, lines, blocks, xs, out),
        DType::Q3_K => of_256::<Q3K, C>(isa, lines, blocks, xs, out),
        DType::Q4_K => of_256::<Q4K, C>(isa, lines, blocks, xs, out),
        DType::Q5_K => of_256::<Q5K, C>(isa, lines, blocks, xs, out),
        DType::Q6_K => of_256::<Q6K, C>(isa, lines, blocks, xs, out),
        DType::IQ4_XS => of_256::<Iq4Xs, C>(isa, lines, blocks, xs, out),
        other => unreachable!("{other} is no block type"),
    }
}

fn of_32<T: Octet32, const C: usize>(
    isa: Isa,
    lines: *const u8,
    blocks: usize,
    xs: Xs<C>,
    out: &mut [[f32; TILE_ROWS]],
) {
    // SAFETY: the token in `isa` proves the features; `multiply` has checked the tile, its caller the columns.
    let products = unsafe {
        match isa {
            Isa::Avx512Vnni(_) => gemm_avx512::tile_of_32::<T, C>(lines, blocks, xs),
            Isa::Avx2(_) => gemm_avx2::tile_of_32::<T, C>(lines, blocks, xs),
            Isa::Scalar => unreachable!("scalar tiles have no lines"),
        }
    };
    out.copy_from_slice(&products);
}

fn of_256<T: Octet256, const C: usize>(
    isa: Isa,
    lines: *const u8,
    blocks: usize,
    xs: Xs<C>,
    out: &mut [[f32; TILE_ROWS]],
) {
    // SAFETY: the token in `isa` proves the features; `multiply` has checked the tile, its caller the columns.
    let products = unsafe {
        match isa {
            Isa::Avx512Vnni(_) => gemm_avx512::tile_of_256::<T, C>(lines, blocks, xs),
            Isa::Avx2(_) => gemm_avx2::tile_of_256::<T, C>(lines, blocks, xs),
            Isa::Scalar => unreachable!("scalar tiles have no lines"),
        }
    };
    out.copy_from_slice(&products);
}
