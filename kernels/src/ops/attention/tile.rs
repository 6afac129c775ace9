//! A tile of query rows against a range of cells, block by block, with a running softmax.

use super::cells::{Cells, accumulate, logits};
use super::softmax::{LANES, Row, Running, step};
use crate::cpu::Isa;
use crate::math::{Lanes, Level, Task, dispatch};

/// Cells of a block: a block of V stays in the first-level cache while the rows pass over it.
pub(super) const BLOCK: usize = 64;

/// A tile's memory, a piece of a worker's scratch.
#[derive(Debug)]
pub(super) struct Tile<'a> {
    /// Queries, already scaled: `rows * head`.
    pub q: &'a mut [f32],
    /// Weighted sums of V: `rows * head`.
    pub acc: &'a mut [f32],
    /// A block's logits, then weights: cell by cell, all groups of rows.
    scores: &'a mut [Row],
    /// By groups of rows.
    running: &'a mut [Running],
    factor: &'a mut [f32],
    rows: usize,
    head: usize,
}

/// Bytes of a part, so that the next begins at a cache line.
const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(64)
}

impl<'a> Tile<'a> {
    /// Bytes that a tile of so many rows takes.
    pub fn bytes(rows: usize, head: usize) -> usize {
        let groups = rows.div_ceil(LANES);
        2 * padded(rows * head * size_of::<f32>())
            + padded(BLOCK * groups * size_of::<Row>())
            + padded(groups * size_of::<Running>())
            + padded(groups * size_of::<Row>())
    }

    /// Lays a tile out in scratch.
    ///
    /// # Panics
    /// If the scratch is smaller than [`Self::bytes`] says.
    pub fn new(scratch: &'a mut [u8], rows: usize, head: usize) -> Tile<'a> {
        assert!(scratch.len() >= Tile::bytes(rows, head) && scratch.as_ptr().addr().is_multiple_of(64));
        let groups = rows.div_ceil(LANES);
        let mut rest = scratch;
        Tile {
            q: part(&mut rest, rows * head, 0.0),
            acc: part(&mut rest, rows * head, 0.0),
            scores: part(&mut rest, BLOCK * groups, [0.0; LANES]),
            running: part(&mut rest, groups, Running::START),
            factor: part(&mut rest, groups * LANES, 0.0),
            rows,
            head,
        }
    }

    /// Row `r` sees the cells `0 .. n`.
    pub fn set_seen(&mut self, r: usize, n: usize) {
        self.running[r / LANES].seen[r % LANES] = u32::try_from(n).unwrap_or(u32::MAX);
    }

    /// Largest logit and sum of row `r`; the sum is 0 if the row has seen no cell.
    pub fn max_and_sum(&self, r: usize) -> (f32, f32) {
        let g = &self.running[r / LANES];
        (g.max[r % LANES], g.sum[r % LANES])
    }

    /// Goes over the cells `from .. to`; `k` and `v` begin at cell 0.
    ///
    /// # Safety
    /// The cells `from .. to` of `k` and `v` are live, `head` elements each, and nobody writes them meanwhile.
    pub unsafe fn attend(&mut self, isa: Isa, k: Cells, v: Cells, from: usize, to: usize) {
        // Where a head is no multiple of AVX-512's vectors, it may be one of AVX2's.
        let isa = match (isa.avx512_vnni(), isa.avx2()) {
            (Some(_), Some(avx2)) if !self.head.is_multiple_of(16) => Isa::Avx2(avx2),
            _ => isa,
        };
        dispatch(isa, Attend { tile: self, k, v, from, to });
    }
}

/// Cuts `n` elements off the front of `rest`, up to the next cache line, and sets them to `value`.
fn part<'a, T: Copy>(rest: &mut &'a mut [u8], n: usize, value: T) -> &'a mut [T] {
    let (front, back) = std::mem::take(rest).split_at_mut(padded(n * size_of::<T>()));
    *rest = back;
    let p = front.as_mut_ptr().cast::<T>();
    for i in 0..n {
        // SAFETY: `front` has room for `n` elements and is aligned to a cache line.
        unsafe { p.add(i).write(value) };
    }
    // SAFETY: all `n` elements were written just now, and `front` is borrowed for `'a`.
    unsafe { std::slice::from_raw_parts_mut(p, n) }
}

/// [`Tile::attend`] at a level.
struct Attend<'t, 'a> {
    tile: &'t mut Tile<'a>,
    k: Cells,
    v: Cells,
    from: usize,
    to: usize,
}

impl Task for Attend<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        if self.tile.head.is_multiple_of(L::V::N) { self.blocks::<L, L::V>() } else { self.blocks::<L, f32>() }
    }
}

impl Attend<'_, '_> {
    #[inline(always)]
    fn blocks<L: Level, V: Lanes>(self) {
        let Attend { tile, k, v, from, to } = self;
        let (rows, head) = (tile.rows, tile.head);
        let groups = tile.running.len();
        let width = groups * LANES;
        let mut c = from;
        while c < to {
            let n = BLOCK.min(to - c);
            let s = tile.scores.as_mut_ptr().cast::<f32>();
            // SAFETY: `attend` was given these cells; scores have room for a block, and queries for all rows.
            unsafe {
                let (q, k) = (tile.q.as_ptr(), k.from(c));
                if k.f16 {
                    logits::<V, true>(q, rows, head, k, n, s, width);
                } else {
                    logits::<V, false>(q, rows, head, k, n, s, width);
                }
            }
            for (g, running) in tile.running.iter_mut().enumerate() {
                step::<L>(running, &mut tile.scores[..n * groups], g, groups, c);
                tile.factor[g * LANES..][..LANES].copy_from_slice(&running.factor);
            }
            let p = tile.scores.as_ptr().cast::<f32>();
            // SAFETY: as above; sums and factors have room for all rows.
            unsafe {
                let (acc, factor, v) = (tile.acc.as_mut_ptr(), tile.factor.as_ptr(), v.from(c));
                if v.f16 {
                    accumulate::<V, true>(acc, factor, rows, head, v, n, p, width);
                } else {
                    accumulate::<V, false>(acc, factor, rows, head, v, n, p, width);
                }
            }
            c += n;
        }
    }
}
