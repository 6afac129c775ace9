//! Which kernel multiplies which tile.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

use super::formats32::{Iq4Nl, Q40, Q41, Q50, Q51, Q80};
use super::formats256::{Iq4Xs, Q2K, Q3K, Q4K, Q5K, Q6K};
use super::octets32::Octet32;
use super::octets256::Octet256;
use super::tile::{form_of, lines_of};
use super::{gemm_amx, gemm_avx2, gemm_avx512, gemm_pairs, panel};
use crate::DType;
use crate::cpu::Isa;
use crate::quant::panel::CHUNK;
use crate::quant::tile::{Line, Sums, TILE_ROWS};

/// What a kernel multiplies: a tile's chunk with the same chunk of a few columns, of which it adds the products to their
/// sums. As addresses, which [`multiply`] has checked: all blocks of the chunk at `w`; at `x` the chunk of as many columns
/// as the kernel takes, side by side; at `sums` those of the same columns.
pub(super) struct Chunk {
    pub w: *const u8,
    /// Blocks: one of 256 or up to eight of 32.
    pub blocks: usize,
    pub x: *const u8,
    pub sums: *mut Sums,
}

impl Chunk {
    /// The products of column `c`.
    ///
    /// # Safety
    /// The column is one of the chunk's.
    #[inline(always)]
    pub unsafe fn products(&self, c: usize) -> *mut f32 {
        // SAFETY: promised by the caller.
        unsafe { self.sums.add(c).cast::<f32>() }
    }

    /// The mins of column `c`.
    ///
    /// # Safety
    /// The column is one of the chunk's.
    #[inline(always)]
    pub unsafe fn mins(&self, c: usize) -> *mut f32 {
        // SAFETY: promised by the caller; the products come first.
        unsafe { self.products(c).add(TILE_ROWS) }
    }
}

/// What is fetched from memory while a tile is multiplied: a part with each of its chunks.
pub(super) struct Ahead<'a> {
    bytes: &'a [u8],
    part: usize,
}

impl<'a> Ahead<'a> {
    pub fn new(bytes: &'a [u8], chunks: usize) -> Ahead<'a> {
        Ahead { bytes, part: bytes.len().div_ceil(64).div_ceil(chunks.max(1)) * 64 }
    }

    /// Fetches the part of chunk `i` into the second cache level.
    #[inline(always)]
    pub fn fetch(&self, i: usize) {
        let part = self.bytes.get(i * self.part..).unwrap_or(&[]);
        for line in part[..part.len().min(self.part)].chunks(64) {
            // SAFETY: a hint, and the address is one of the slice.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
        }
    }
}

/// Adds the products of a tile with all columns of a panel to `sums`, one for each column. Tile and panel were made for
/// the level of `isa`, which is not scalar, and for rows of `n` weights.
pub(in crate::quant) fn multiply(
    isa: Isa,
    dtype: DType,
    lines: &[Line],
    n: usize,
    panel: &[Line],
    sums: &mut [Sums],
    ahead: &[u8],
) {
    match isa {
        Isa::Amx(token) => return gemm_amx::multiply(token, dtype, lines, n, panel, sums, ahead),
        Isa::Avx512Vnni(token) => return gemm_avx512::multiply(token, dtype, lines, n, panel, sums, ahead),
        Isa::Avx2(_) | Isa::Scalar => {}
    }
    let form = form_of(isa, dtype);
    let (per_block, per_column) = (lines_of(dtype, form), panel::lines_of(form));
    let columns = sums.len();
    assert!(
        lines.len() == n / dtype.block_len() * per_block && panel.len() == n.div_ceil(CHUNK) * columns * per_column
    );
    if columns == 0 {
        return;
    }
    let most = 4;
    let per_chunk = CHUNK / dtype.block_len() * per_block;
    let ahead = Ahead::new(ahead, n.div_ceil(CHUNK));
    for (i, (lines, panel)) in lines.chunks(per_chunk).zip(panel.chunks_exact(columns * per_column)).enumerate() {
        ahead.fetch(i);
        let mut c = 0;
        while c < columns {
            let left = columns - c;
            let taken = if left >= most { most } else { 1 << left.ilog2() };
            let chunk = Chunk {
                w: lines.as_ptr().cast(),
                blocks: lines.len() / per_block,
                x: panel[c * per_column..(c + taken) * per_column].as_ptr().cast(),
                sums: sums[c..c + taken].as_mut_ptr(),
            };
            match taken {
                1 => of_columns::<1>(isa, dtype, &chunk),
                2 => of_columns::<2>(isa, dtype, &chunk),
                _ => of_columns::<4>(isa, dtype, &chunk),
            }
            c += taken;
        }
    }
}

fn of_columns<const C: usize>(isa: Isa, dtype: DType, chunk: &Chunk) {
    match dtype {
        DType::Q4_0 => of_32::<Q40, C>(isa, chunk),
        DType::Q4_1 => of_32::<Q41, C>(isa, chunk),
        DType::Q5_0 => of_32::<Q50, C>(isa, chunk),
        DType::Q5_1 => of_32::<Q51, C>(isa, chunk),
        DType::Q8_0 => of_32::<Q80, C>(isa, chunk),
        DType::IQ4_NL => of_32::<Iq4Nl, C>(isa, chunk),
        DType::Q2_K => of_256::<Q2K, C>(isa, chunk),
        DType::Q3_K => of_256::<Q3K, C>(isa, chunk),
        DType::Q4_K => of_256::<Q4K, C>(isa, chunk),
        DType::Q5_K => of_256::<Q5K, C>(isa, chunk),
        DType::Q6_K => of_256::<Q6K, C>(isa, chunk),
        DType::IQ4_XS => of_256::<Iq4Xs, C>(isa, chunk),
        other => unreachable!("{other} is no block type"),
    }
}

fn of_32<T: Octet32, const C: usize>(isa: Isa, chunk: &Chunk) {
    // SAFETY: the token in `isa` proves the features; `multiply` has checked the lengths and made the chunk.
    unsafe {
        match isa {
            Isa::Avx2(_) if T::SIGNED => gemm_pairs::multiply::<C>(chunk, 32),
            Isa::Avx2(_) => gemm_avx2::chunk_of_32::<T, C>(chunk),
            _ => unreachable!("{isa} does not come here"),
        }
    }
}

fn of_256<T: Octet256, const C: usize>(isa: Isa, chunk: &Chunk) {
    // SAFETY: the token in `isa` proves the features; `multiply` has checked the lengths and made the chunk.
    unsafe {
        match isa {
            Isa::Avx2(_) if T::SIGNED => gemm_pairs::multiply::<C>(chunk, 256),
            Isa::Avx2(_) => gemm_avx2::chunk_of_256::<T, C>(chunk),
            _ => unreachable!("{isa} does not come here"),
        }
    }
}
