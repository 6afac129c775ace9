//! A tile times all columns of a panel with AVX-512 VNNI: sixteen rows by up to twelve columns in registers.
//!
//! A product of four codes with four activations of each row is one instruction, two of which start in a cycle if there
//! are ten chains of them. What codes are stored plus (offsets, or 128 for signed ones) is in what a group's products start
//! from, which a column brings with it; scaling a group costs a multiplication (two operations) and an addition.

// One index for several arrays of registers reads better than zipped iterators.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::gemm::{Chunk, Fetch};
use super::panel::{SUMS, lines_of as panel_lines, tail_of};
use super::tile::{CODES_32, CODES_256, Form, LINES_32, lines_of};
use crate::DType;
use crate::cpu::isa::Avx512Vnni;
use crate::quant::panel::CHUNK;
use crate::quant::tile::{Line, Sums};

/// Bytes from a column to the next.
const COLUMN: usize = 64 * panel_lines(Form::Biased);
const TAIL: usize = tail_of(Form::Biased);
/// Where what groups start from stands behind the tail.
const STARTS: usize = 64;
/// Most columns at a time: products, their sums, a line and a scale fill the registers.
const MOST: usize = 12;

/// Adds the products of a chunk of a tile with that of all columns of a panel to `sums`, one for each column, and fetches
/// what is ahead meanwhile.
pub(super) fn chunk(_: Avx512Vnni, dtype: DType, lines: &[Line], panel: &[Line], sums: &mut [Sums], ahead: Fetch) {
    let (per_block, per_column) = (lines_of(dtype, Form::Biased), panel_lines(Form::Biased));
    let (columns, blocks) = (sums.len(), lines.len() / per_block);
    assert!(lines.len() == blocks * per_block && blocks * dtype.block_len() <= CHUNK);
    assert!(panel.len() == columns * per_column);
    let mut c = 0;
    while c < columns {
        let taken = together(columns - c);
        let chunk = Chunk {
            w: lines.as_ptr().cast(),
            blocks,
            x: panel[c * per_column..(c + taken) * per_column].as_ptr().cast(),
            sums: sums[c..c + taken].as_mut_ptr(),
            ahead: if c == 0 { ahead } else { Fetch::NONE },
        };
        // SAFETY: the token proves the features; the chunk is one of these columns, as the lengths say.
        unsafe {
            match dtype {
                DType::Q2_K => block_of_256::<16, true>(taken, &chunk),
                DType::Q3_K | DType::Q6_K => block_of_256::<16, false>(taken, &chunk),
                DType::Q4_K | DType::Q5_K => block_of_256::<32, true>(taken, &chunk),
                DType::IQ4_XS => block_of_256::<32, false>(taken, &chunk),
                DType::Q4_1 | DType::Q5_1 => blocks_of_32::<true>(taken, &chunk),
                DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4_NL => blocks_of_32::<false>(taken, &chunk),
                other => unreachable!("{other} is no block type"),
            }
        }
        c += taken;
    }
}

/// How many of `left` columns to take next: as even shares as the sizes that there are kernels for allow.
fn together(left: usize) -> usize {
    let share = left.div_ceil(left.div_ceil(MOST));
    match share {
        7 | 9 | 11 => share.div_ceil(2),
        _ => share,
    }
}

/// Evaluates `$call` with `$c` the number of columns.
macro_rules! by_columns {
    ($columns:expr, $c:ident => $call:expr) => {
        by_columns!($columns, $c => $call, 1 2 3 4 5 6 8 10 12)
    };
    ($columns:expr, $c:ident => $call:expr, $($n:literal)*) => {
        match $columns {
            $($n => {
                const $c: usize = $n;
                $call
            })*
            other => unreachable!("no kernel for {other} columns"),
        }
    };
}

/// # Safety
/// AVX-512 F, BW, VNNI; `chunk` as [`Chunk`] says, of blocks of 32 and for `columns` columns.
unsafe fn blocks_of_32<const AFFINE: bool>(columns: usize, chunk: &Chunk) {
    // SAFETY: promised by the caller.
    unsafe { by_columns!(columns, C => chunk_of_32::<AFFINE, C>(chunk)) }
}

/// # Safety
/// AVX-512 F, BW, VNNI; `chunk` as [`Chunk`] says, of a block with such groups and for `columns` columns.
unsafe fn block_of_256<const GROUP: usize, const AFFINE: bool>(columns: usize, chunk: &Chunk) {
    // SAFETY: promised by the caller.
    unsafe { by_columns!(columns, C => chunk_of_256::<GROUP, AFFINE, C>(chunk)) }
}

/// The products of `steps` lines from `codes` with the activations from `x` on of each column, added to where the group at
/// `starts` bytes of a column's tail starts from, if anywhere.
///
/// # Safety
/// AVX-512 F and VNNI; the lines and the activations readable.
#[inline(always)]
unsafe fn dots<const C: usize>(
    codes: *const u8,
    steps: usize,
    x: *const u8,
    starts: Option<*const u8>,
) -> [__m512i; C] {
    // SAFETY: promised by the caller.
    unsafe {
        let mut dots = [_mm512_setzero_si512(); C];
        if let Some(starts) = starts {
            for c in 0..C {
                dots[c] = broadcast(starts.add(COLUMN * c));
            }
        }
        for s in 0..steps {
            let line = _mm512_load_si512(codes.add(64 * s).cast());
            for c in 0..C {
                dots[c] = _mm512_dpbusd_epi32(dots[c], line, broadcast(x.add(COLUMN * c + 4 * s)));
            }
        }
        dots
    }
}

/// # Safety
/// AVX-512 F; `x` readable for 4 bytes.
#[inline(always)]
unsafe fn broadcast(x: *const u8) -> __m512i {
    // SAFETY: promised by the caller.
    unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// # Safety
/// AVX-512 F, BW, VNNI; `chunk` as [`Chunk`] says, of blocks of 32 and `C` columns.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn chunk_of_32<const AFFINE: bool, const C: usize>(chunk: &Chunk) {
    // SAFETY: block `b` is inside the chunk; a column has sixteen sums.
    unsafe {
        let mut products = [_mm512_setzero_ps(); C];
        for c in 0..C {
            products[c] = _mm512_load_ps(chunk.products(c));
        }
        for b in 0..chunk.blocks {
            chunk.ahead.part(b, chunk.blocks);
            let p = chunk.w.add(64 * LINES_32 * b);
            let tail = chunk.x.add(TAIL + 4 * b);
            let starts = if AFFINE { None } else { Some(tail.add(STARTS)) };
            let dots = dots::<C>(p, CODES_32, chunk.x.add(32 * b), starts);
            let d = _mm512_load_ps(p.add(64 * CODES_32).cast());
            for c in 0..C {
                let tail = tail.add(COLUMN * c);
                let dx = tail.cast::<f32>().read();
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(dx));
                products[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[c]), scale, products[c]);
                if AFFINE {
                    let m = _mm512_load_ps(p.add(64 * (CODES_32 + 1)).cast());
                    let sum = tail.add(SUMS).cast::<i32>().read();
                    let to = chunk.mins(c);
                    _mm512_store_ps(to, _mm512_fmadd_ps(m, _mm512_set1_ps(dx * sum as f32), _mm512_load_ps(to)));
                }
            }
        }
        for c in 0..C {
            _mm512_store_ps(chunk.products(c), products[c]);
        }
    }
}

/// # Safety
/// AVX-512 F, BW, VNNI; `chunk` as [`Chunk`] says, of a block with groups of `GROUP` and `C` columns.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn chunk_of_256<const GROUP: usize, const AFFINE: bool, const C: usize>(chunk: &Chunk) {
    // SAFETY: the block is the chunk; a column has sixteen sums.
    unsafe {
        let (p, tail) = (chunk.w, chunk.x.add(TAIL));
        let groups = 256 / GROUP;
        let mut sums = [_mm512_setzero_si512(); C];
        // Unrolled, the groups would be taken all at once, with most registers on the stack.
        for g in 0..std::hint::black_box(groups) {
            chunk.ahead.part(g, groups);
            // Each scale stands twice in its word: the upper one, with its sign.
            let scale = _mm512_srai_epi32::<16>(_mm512_load_si512(p.add(64 * (CODES_256 + g)).cast()));
            let starts = if AFFINE { None } else { Some(tail.add(STARTS + 4 * g)) };
            let dots = dots::<C>(p.add(16 * GROUP * g), GROUP / 4, chunk.x.add(GROUP * g), starts);
            for c in 0..C {
                sums[c] = _mm512_add_epi32(sums[c], _mm512_mullo_epi32(dots[c], scale));
            }
        }
        let floats = p.add(64 * (CODES_256 + groups + 8)).cast::<f32>();
        let d = _mm512_load_ps(floats);
        let dmin = _mm512_load_ps(floats.add(16));
        for c in 0..C {
            let tail = tail.add(COLUMN * c);
            let dx = _mm512_set1_ps(tail.cast::<f32>().read());
            let (to, scale) = (chunk.products(c), _mm512_mul_ps(d, dx));
            _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[c]), scale, _mm512_load_ps(to)));
            if AFFINE {
                let mut min = _mm512_setzero_si512();
                for j in 0..8 {
                    let pair = _mm512_load_si512(p.add(64 * (CODES_256 + groups + j)).cast());
                    min = _mm512_dpwssd_epi32(min, pair, broadcast(tail.add(SUMS + 4 * j)));
                }
                let (to, scale) = (chunk.mins(c), _mm512_mul_ps(dmin, dx));
                _mm512_store_ps(to, _mm512_fmadd_ps(_mm512_cvtepi32_ps(min), scale, _mm512_load_ps(to)));
            }
        }
    }
}
