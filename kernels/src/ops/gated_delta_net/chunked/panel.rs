//! What a chunk does with a panel of the state's columns.

use super::super::token::Source;
use super::tile::{Operand, ROWS, multiply};
use super::{Chunk, Scratch};
use crate::math::{Lanes, Level};

/// X, O and the new S of the panel at column `at` of the slice.
///
/// # Safety
/// As [`crate::Kernel::run`] for the source's slice; `state` is the panel, `scratch` has the chunk's triangles.
#[inline(always)]
pub(super) unsafe fn chunk<L: Level, const M: usize>(
    c: &Chunk,
    source: &Source<'_, '_>,
    at: usize,
    d: usize,
    state: *mut f32,
    scratch: Scratch,
) {
    let whole = c.n - c.n % ROWS;
    // SAFETY: rows are tokens of the chunk; the panel has `d` rows and X `n`.
    unsafe {
        for i in (0..whole).step_by(ROWS) {
            solve::<L, ROWS, M>(c, source, at, d, state, scratch, i);
        }
        for i in whole..c.n {
            solve::<L, 1, M>(c, source, at, d, state, scratch, i);
        }
        for i in (0..whole).step_by(ROWS) {
            result::<L, ROWS, M>(c, source, at, d, state, scratch, i);
        }
        for i in whole..c.n {
            result::<L, 1, M>(c, source, at, d, state, scratch, i);
        }
        carry::<L, M>(c, d, state, scratch);
    }
}

/// X of tokens `i .. i + R`; those before are solved.
///
/// # Safety
/// As [`chunk`].
#[inline(always)]
unsafe fn solve<L: Level, const R: usize, const M: usize>(
    c: &Chunk,
    source: &Source<'_, '_>,
    at: usize,
    d: usize,
    state: *const f32,
    scratch: Scratch,
    i: usize,
) {
    // SAFETY: as `chunk`.
    unsafe {
        let mut x = multiply::<L::V, R, M>([[L::V::splat(0.0); M]; R], c.k.rows_from(i), state, d);
        for (r, x) in x.iter_mut().enumerate() {
            let (v, _) = c.value_and_result(source, i + r, at);
            let (beta, decay) = (L::V::splat(c.beta[i + r]), L::V::splat(-c.since_start[i + r]));
            for (m, x) in x.iter_mut().enumerate() {
                *x = decay.mul_add(*x, L::V::load(v.add(m * L::V::N))).mul(beta);
            }
        }
        let a = Operand { ptr: scratch.a.add(i * scratch.stride), row: scratch.stride, col: 1 };
        x = multiply::<L::V, R, M>(x, a, scratch.x, i);
        // Within the block each token still owes what the block's earlier ones wrote.
        for r in 1..R {
            for e in 0..r {
                let a = L::V::splat(*a.ptr.add(r * a.row + i + e));
                let earlier = x[e];
                for (x, earlier) in x[r].iter_mut().zip(earlier) {
                    *x = a.mul_add(earlier, *x);
                }
            }
        }
        for (r, x) in x.iter().enumerate() {
            for (m, x) in x.iter().enumerate() {
                x.store(scratch.x.add(((i + r) * M + m) * L::V::N));
            }
        }
    }
}

/// O of tokens `i .. i + R`.
///
/// # Safety
/// As [`chunk`]; X is solved.
#[inline(always)]
unsafe fn result<L: Level, const R: usize, const M: usize>(
    c: &Chunk,
    source: &Source<'_, '_>,
    at: usize,
    d: usize,
    state: *const f32,
    scratch: Scratch,
    i: usize,
) {
    // SAFETY: as `chunk`.
    unsafe {
        let mut o = multiply::<L::V, R, M>([[L::V::splat(0.0); M]; R], c.q.rows_from(i), state, d);
        for (r, o) in o.iter_mut().enumerate() {
            let decay = L::V::splat(c.scale * c.since_start[i + r]);
            for o in o {
                *o = o.mul(decay);
            }
        }
        let p = Operand { ptr: scratch.p.add(i * scratch.stride), row: scratch.stride, col: 1 };
        o = multiply::<L::V, R, M>(o, p, scratch.x, i + R);
        for (r, o) in o.iter().enumerate() {
            let (_, to) = c.value_and_result(source, i + r, at);
            for (m, o) in o.iter().enumerate() {
                o.store(to.add(m * L::V::N));
            }
        }
    }
}

/// The state after the chunk.
///
/// # Safety
/// As [`chunk`]; X is solved and no longer needed as it is.
#[inline(always)]
unsafe fn carry<L: Level, const M: usize>(c: &Chunk, d: usize, state: *mut f32, scratch: Scratch) {
    // SAFETY: as `chunk`; `d` is a multiple of the tile's rows (`vectors`).
    unsafe {
        for t in 0..c.n {
            let decay = L::V::splat(c.to_end[t]);
            for m in 0..M {
                let x = scratch.x.add((t * M + m) * L::V::N);
                L::V::load(x).mul(decay).store(x);
            }
        }
        let decay = L::V::splat(c.since_start[c.n - 1]);
        // Keys are the rows here, tokens the columns.
        let keys = Operand { ptr: c.k.ptr, row: c.k.col, col: c.k.row };
        for i in (0..d).step_by(ROWS) {
            let mut s = [[L::V::splat(0.0); M]; ROWS];
            for (r, s) in s.iter_mut().enumerate() {
                for (m, s) in s.iter_mut().enumerate() {
                    *s = L::V::load(state.add(((i + r) * M + m) * L::V::N)).mul(decay);
                }
            }
            let s = multiply::<L::V, ROWS, M>(s, keys.rows_from(i), scratch.x, c.n);
            for (r, s) in s.iter().enumerate() {
                for (m, s) in s.iter().enumerate() {
                    s.store(state.add(((i + r) * M + m) * L::V::N));
                }
            }
        }
    }
}
