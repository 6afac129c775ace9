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
use crate::quant::panel::{CHUNK, Panel, Shape};
use crate::quant::tile::{Line, Sums, TILE_ROWS};

/// What a kernel multiplies: a tile's chunk with the same chunk of a few columns, of which it adds the products to their
/// sums. As addresses, whose lengths have been checked: all blocks of the chunk at `w`; at `x` the chunk of as many columns
/// as the kernel takes, side by side; at `sums` those of the same columns.
pub(super) struct Chunk {
    pub w: *const u8,
    /// Blocks: one of 256 or up to eight of 32.
    pub blocks: usize,
    pub x: *const u8,
    pub sums: *mut Sums,
    /// What is to be fetched from memory meanwhile, if the kernel spreads that over its work.
    pub ahead: Fetch,
}

/// Cache lines to be fetched into the second cache level.
#[derive(Clone, Copy)]
pub(super) struct Fetch {
    first: *const u8,
    lines: usize,
}

impl Fetch {
    /// Nothing.
    pub const NONE: Fetch = Fetch { first: std::ptr::null(), lines: 0 };

    /// Part `i` of `n` of the lines.
    #[inline(always)]
    pub fn part(&self, i: usize, n: usize) {
        let each = self.lines.div_ceil(n);
        for line in each * i..(each * (i + 1)).min(self.lines) {
            // SAFETY: a hint; lines are of a slice.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(self.first.wrapping_add(64 * line).cast()) };
        }
    }
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

    /// The part of chunk `i`.
    #[inline(always)]
    pub fn part(&self, i: usize) -> Fetch {
        let part = self.bytes.get(i * self.part..).unwrap_or(&[]);
        Fetch { first: part.as_ptr(), lines: part.len().min(self.part).div_ceil(64) }
    }
}

/// Adds the products of a tile with all columns of a panel to `sums`, one for each column: chunk by chunk, each of which
/// `unpack` is asked for, from which block on and to where. The panel is not scalar kernels'.
pub(in crate::quant) fn multiply(
    lines: &mut Vec<Line>,
    panel: Panel<'_>,
    sums: &mut [Sums],
    ahead: &[u8],
    mut unpack: impl FnMut(usize, &mut [Line]),
) {
    let Shape { isa, weight: dtype, n, columns: of } = panel.shape;
    let (skip, columns) = panel.part;
    let form = form_of(isa, dtype);
    let (per_block, per_column) = (lines_of(dtype, form), panel::lines_of(form));
    let (blocks, per_chunk, chunks) = (n / dtype.block_len(), CHUNK / dtype.block_len(), n.div_ceil(CHUNK));
    let spare = if isa.amx().is_some() { gemm_amx::SPARE } else { 0 };
    assert!(sums.len() == columns && panel.lines.len() == (chunks * of + spare) * per_column);
    assert!(skip + columns <= of);
    if columns == 0 {
        return;
    }
    // Stale lines are overwritten, or belong to rows that are never read out.
    lines.resize(per_chunk * per_block, Line([0; 64]));
    let mut amx = isa.amx().map(|token| gemm_amx::Shaped::new(token, dtype, columns));
    let ahead = Ahead::new(ahead, chunks);
    for i in 0..chunks {
        let first = i * per_chunk;
        let lines = &mut lines[..per_chunk.min(blocks - first) * per_block];
        unpack(first, lines);
        let columns = &panel.lines[(i * of + skip) * per_column..][..(columns + spare) * per_column];
        // Lines that are under way from memory leave few buffers to those that unpacking takes from the second cache level;
        // a product's are in the first. So they are asked for behind the one, spread over the other.
        let ahead = ahead.part(i);
        match (isa, &mut amx) {
            (Isa::Amx(_), Some(amx)) => {
                ahead.part(0, 1);
                amx.chunk(lines, columns, sums);
            }
            (Isa::Avx512Vnni(token), _) => gemm_avx512::chunk(token, dtype, lines, columns, sums, ahead),
            _ => {
                ahead.part(0, 1);
                chunk(isa, dtype, lines, columns, sums);
            }
        }
    }
}

/// Adds the products of a chunk of a tile with that of all columns, with AVX2.
fn chunk(isa: Isa, dtype: DType, lines: &[Line], panel: &[Line], sums: &mut [Sums]) {
    const MOST: usize = 4;
    let form = form_of(isa, dtype);
    let (per_block, per_column, columns) = (lines_of(dtype, form), panel::lines_of(form), sums.len());
    let mut c = 0;
    while c < columns {
        let left = columns - c;
        let taken = if left >= MOST { MOST } else { 1 << left.ilog2() };
        let chunk = Chunk {
            w: lines.as_ptr().cast(),
            blocks: lines.len() / per_block,
            x: panel[c * per_column..(c + taken) * per_column].as_ptr().cast(),
            sums: sums[c..c + taken].as_mut_ptr(),
            ahead: Fetch::NONE,
        };
        match taken {
            1 => of_columns::<1>(isa, dtype, &chunk),
            2 => of_columns::<2>(isa, dtype, &chunk),
            _ => of_columns::<4>(isa, dtype, &chunk),
        }
        c += taken;
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
    // SAFETY: the token in `isa` proves the features; `chunk` has made the chunk of as many columns.
    unsafe {
        match isa {
            Isa::Avx2(_) if T::SIGNED => gemm_pairs::multiply::<C>(chunk, 32),
            Isa::Avx2(_) => gemm_avx2::chunk_of_32::<T, C>(chunk),
            _ => unreachable!("{isa} does not come here"),
        }
    }
}

fn of_256<T: Octet256, const C: usize>(isa: Isa, chunk: &Chunk) {
    // SAFETY: the token in `isa` proves the features; `chunk` has made the chunk of as many columns.
    unsafe {
        match isa {
            Isa::Avx2(_) if T::SIGNED => gemm_pairs::multiply::<C>(chunk, 256),
            Isa::Avx2(_) => gemm_avx2::chunk_of_256::<T, C>(chunk),
            _ => unreachable!("{isa} does not come here"),
        }
    }
}
