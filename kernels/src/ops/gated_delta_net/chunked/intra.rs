//! What the tokens of a chunk have to do with one another: the two triangles, independent of the state.

use super::tile::{Operand, ROWS, multiply};
use super::{Chunk, Scratch};
use crate::math::{Lanes, Level};

/// Decays below this are nothing; as subnormals they would slow down what multiplies them.
const NOTHING: f32 = 1e-30;

/// Fills `scratch.a` with `-β K Kᵀ ∘ D` below the diagonal and `scratch.p` with `scale · Q Kᵀ ∘ D` up to it, and sets
/// `to_end`.
///
/// # Safety
/// The chunk's keys and queries are live, scratch is this worker's own and made for this chunk and `d`.
#[inline(always)]
pub(super) unsafe fn products<L: Level>(c: &mut Chunk, d: usize, scratch: Scratch) {
    let wide = 2 * L::V::N;
    // SAFETY: the panels cover `stride` tokens, of which `n` are there; rows and panels lie inside `a` and `p`.
    unsafe {
        transpose(c.k, c.n, d, wide, scratch.keys);
        let mut i = 0;
        while i < c.n {
            let rows = if c.n - i >= ROWS { ROWS } else { 1 };
            for panel in 0..(i + rows).div_ceil(wide) {
                let (keys, at) = (scratch.keys.add(panel * wide * d), i * scratch.stride + panel * wide);
                for (from, to) in [(c.k, scratch.a), (c.q, scratch.p)] {
                    if rows == ROWS {
                        tile::<L, ROWS>(from.rows_from(i), keys, d, to.add(at), scratch.stride);
                    } else {
                        tile::<L, 1>(from.rows_from(i), keys, d, to.add(at), scratch.stride);
                    }
                }
            }
            for r in i..i + rows {
                decay(c, r, i + rows, scratch);
            }
            i += rows;
        }
    }
}

/// Panels of `wide` tokens, each key by key; zeros where there is no token.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn transpose(k: Operand, n: usize, d: usize, wide: usize, to: *mut f32) {
    for panel in 0..n.div_ceil(wide) {
        for c in 0..wide {
            let t = panel * wide + c;
            for i in 0..d {
                // SAFETY: the token is there; the place lies inside the panel.
                unsafe {
                    let x = if t < n { *k.ptr.add(t * k.row + i * k.col) } else { 0.0 };
                    *to.add((panel * d + i) * wide + c) = x;
                }
            }
        }
    }
}

/// # Safety
/// As [`multiply`]; `to` has `R` rows of two vectors, `stride` apart.
#[inline(always)]
unsafe fn tile<L: Level, const R: usize>(a: Operand, keys: *const f32, d: usize, to: *mut f32, stride: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        let acc = multiply::<L::V, R, 2>([[L::V::splat(0.0); 2]; R], a, keys, d);
        for (r, acc) in acc.iter().enumerate() {
            acc[0].store(to.add(r * stride));
            acc[1].store(to.add(r * stride + L::V::N));
        }
    }
}

/// Row `i` of both triangles by its decays, zeros above the diagonal up to column `end`. D is a product of factors, so
/// its row follows from the row before; differences of long sums would cost digits.
///
/// # Safety
/// As [`products`]; rows before `i` are done.
#[inline(always)]
unsafe fn decay(c: &mut Chunk, i: usize, end: usize, scratch: Scratch) {
    // SAFETY: rows of `a` and `p` have `stride` elements, at least `end`.
    let (a, p) = unsafe {
        let row = |m: *mut f32| std::slice::from_raw_parts_mut(m.add(i * scratch.stride), end);
        (row(scratch.a), row(scratch.p))
    };
    for ((d, a), p) in c.to_end[..i].iter_mut().zip(a.iter_mut()).zip(p.iter_mut()) {
        let x = *d * c.decay[i];
        *d = if x < NOTHING { 0.0 } else { x };
        *a *= -c.beta[i] * *d;
        *p *= c.scale * *d;
    }
    c.to_end[i] = 1.0;
    p[i] *= c.scale;
    p[i + 1..].fill(0.0);
    a[i..].fill(0.0);
}
