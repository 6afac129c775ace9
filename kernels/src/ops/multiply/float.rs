//! Plain weights times many columns: blocks of rows widened once, three columns at a time in registers, or two rows by four
//! columns where there are twice as many registers, twice as wide.
//!
//! Products have the order of [`crate::quant::dot_f`], 32 chains and a fixed tree, so that prefill and decode agree to
//! the bit. A block of rows stays in the second cache level while the columns pass; a stretch of the columns stays in
//! the first while the rows pass.

use super::{Columns, Weight, as_f32};
use crate::cpu::Isa;
use crate::math::{Lanes, Level, Task, dispatch};
use crate::{DType, Layout};
use std::ops::Range;

/// Most rows of a block.
const ROWS: usize = 16;
/// Most columns at a time: see [`Task::run`] of [`Block`].
const COLUMNS: usize = 4;
/// Chains of a product.
const CHAINS: usize = 32;
/// Elements of a stretch: the columns, a row and the sums of all rows take half of a usual first cache level.
const STRETCH: usize = 16 * CHAINS;
/// Most f32 of a block: half of a usual second cache level.
const BLOCK: usize = 64 << 10;

fn rows_of_a_block(k: usize) -> usize {
    (BLOCK / k.max(1)).clamp(1, ROWS)
}

pub(super) fn scratch(w: &Layout) -> usize {
    if direct(w.dtype, w.has_contiguous_rows()) { 0 } else { 4 * w.ne[0] * rows_of_a_block(w.ne[0]) }
}

/// Rows that need no widening.
fn direct(dtype: DType, contiguous_rows: bool) -> bool {
    dtype == DType::F32 && contiguous_rows
}

/// # Safety
/// As [`super::Multiply::rows`] for a plain type.
pub(super) unsafe fn rows(
    w: &Weight,
    rows: Range<usize>,
    x: &Columns<'_>,
    range: Range<usize>,
    scratch: &mut [u8],
    emit: &mut impl FnMut(usize, usize, &[f32]),
) {
    let isa = Isa::detect();
    let wide = as_f32(scratch);
    let mut first = rows.start;
    while first < rows.end {
        let n = rows_of_a_block(w.k).min(rows.end - first);
        let mut at = [std::ptr::null(); ROWS];
        if direct(w.dtype, w.contiguous_rows()) {
            for (i, at) in at[..n].iter_mut().enumerate() {
                // SAFETY: the row exists.
                *at = unsafe { w.ptr.add((first + i) * w.nb1) }.cast::<f32>();
            }
        } else {
            // SAFETY: the rows exist.
            unsafe { w.widen(first..first + n, &mut wide[..n * w.k]) };
            for (i, at) in at[..n].iter_mut().enumerate() {
                *at = wide[i * w.k..].as_ptr();
            }
        }
        // Four columns' chains fill the registers of AVX-512, three those of AVX2.
        let columns = if isa.avx512_vnni().is_some() { COLUMNS } else { COLUMNS - 1 };
        for c in range.clone().step_by(columns) {
            let m = columns.min(range.end - c);
            // The last columns stand in for missing ones.
            // SAFETY: the columns exist and are F32, as asked for.
            let xs = std::array::from_fn(|i| unsafe { x.f32(c + i.min(m - 1)) }.as_ptr());
            let mut out = [[0.0; ROWS]; COLUMNS];
            dispatch(isa, Block { rows: &at[..n], xs, k: w.k, out: &mut out });
            for (i, y) in out[..m].iter().enumerate() {
                emit(c + i, first, &y[..n]);
            }
        }
        first += n;
    }
}

/// Rows times a few columns, four for levels of 16 lanes or else three. Made by [`rows`] only: each address has `k` live F32.
struct Block<'a> {
    rows: &'a [*const f32],
    xs: [*const f32; COLUMNS],
    k: usize,
    out: &'a mut [[f32; ROWS]; COLUMNS],
}

/// The chains of a product.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Chains([f32; CHAINS]);

impl Task for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        if L::V::N == 16 { self.products::<L, 2, 4>() } else { self.products::<L, 1, 3>() }
    }
}

impl Block<'_> {
    /// `R` rows by `C` columns at a time.
    #[inline(always)]
    fn products<L: Level, const R: usize, const C: usize>(self) {
        let mut chains = [[Chains([0.0; CHAINS]); COLUMNS]; ROWS];
        let xs: [*const f32; C] = std::array::from_fn(|c| self.xs[c]);
        let whole = self.k - self.k % CHAINS;
        for start in (0..whole).step_by(STRETCH) {
            let stretch = start..whole.min(start + STRETCH);
            for (rows, chains) in self.rows.chunks(R).zip(chains.chunks_mut(R)) {
                // SAFETY: `rows` gave addresses of `k` live F32; the task runs in the level's features.
                unsafe {
                    match <[_; R]>::try_from(rows) {
                        Ok(rows) => add::<L, R, C>(rows, xs, stretch.clone(), chains),
                        Err(_) => add::<L, 1, C>([rows[0]], xs, stretch.clone(), chains),
                    }
                }
            }
        }
        for (r, (&row, chains)) in self.rows.iter().zip(&mut chains).enumerate() {
            for (c, Chains(chains)) in chains.iter_mut().enumerate().take(C) {
                for i in whole..self.k {
                    // SAFETY: `i < k`.
                    let (w, x) = unsafe { (row.add(i).read(), xs[c].add(i).read()) };
                    chains[i - whole] = L::mul_add(w, x, chains[i - whole]);
                }
                self.out[c][r] = tree(chains);
            }
        }
    }
}

/// Adds a stretch of products, whole steps of [`CHAINS`], to the chains of each row and column.
///
/// # Safety
/// The stretch is live F32 at each address; the level's features.
// One index for two arrays of registers reads better than zipped iterators.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn add<L: Level, const R: usize, const C: usize>(
    rows: [*const f32; R],
    xs: [*const f32; C],
    stretch: Range<usize>,
    chains: &mut [[Chains; COLUMNS]],
) {
    // Vectors of a step: 4 of 8 lanes, 2 of 16.
    let vectors = CHAINS / L::V::N;
    // SAFETY: features by the caller.
    let mut acc = [[[unsafe { L::V::splat(0.0) }; CHAINS / 8]; C]; R];
    for r in 0..R {
        for c in 0..C {
            for v in 0..vectors {
                // SAFETY: `vectors * N` is the number of chains.
                acc[r][c][v] = unsafe { L::V::load(chains[r][c].0.as_ptr().add(v * L::V::N)) };
            }
        }
    }
    for i in stretch.step_by(CHAINS) {
        for v in 0..vectors {
            let at = i + v * L::V::N;
            // SAFETY: `at + N` lies inside the stretch, which is whole steps.
            let mut w = [unsafe { L::V::load(rows[0].add(at)) }; R];
            for r in 1..R {
                // SAFETY: as above.
                w[r] = unsafe { L::V::load(rows[r].add(at)) };
            }
            for c in 0..C {
                // SAFETY: as above.
                let x = unsafe { L::V::load(xs[c].add(at)) };
                for r in 0..R {
                    // SAFETY: features by the caller.
                    acc[r][c][v] = unsafe { w[r].mul_add(x, acc[r][c][v]) };
                }
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            for v in 0..vectors {
                // SAFETY: as the load.
                unsafe { acc[r][c][v].store(chains[r][c].0.as_mut_ptr().add(v * L::V::N)) };
            }
        }
    }
}

/// The sum of the chains: halves onto halves.
#[inline(always)]
fn tree(chains: &mut [f32; CHAINS]) -> f32 {
    let mut width = CHAINS / 2;
    while width > 0 {
        for i in 0..width {
            chains[i] += chains[i + width];
        }
        width /= 2;
    }
    chains[0]
}
