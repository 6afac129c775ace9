//! One token's two sweeps over a slice of the state, row by row as it lies in memory.

use super::token::Token;
use crate::math::Lanes;

/// A slice of a head's state: all keys of `width` neighbouring values.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Slice {
    /// Value 0 of key 0.
    pub ptr: *mut f32,
    /// Elements from one key to the next.
    pub stride: usize,
    /// Keys, a multiple of four.
    pub keys: usize,
    /// Values, a multiple of 16.
    pub width: usize,
}

/// Keys taken together, so that the sums are loaded and stored once for so many rows.
const ROWS: usize = 4;

/// The delta rule for one token in two sweeps: `Sᵀk` and `Sᵀq` together, then decay and update together. `o` needs no
/// third one, as `Sᵀq` after the update is `e^g Sᵀq + δ (k·q)`.
///
/// # Safety
/// The slice and the token's vectors are live and this worker's own, `sums` has room for `2 * width` elements and
/// nothing else lies there, and the CPU has `V`'s features.
#[inline(always)]
pub(in crate::ops) unsafe fn step<V: Lanes>(s: Slice, token: Token, sums: *mut f32) {
    // SAFETY: by the caller's contract every address below lies inside the slice, the token's vectors or `sums`.
    unsafe {
        let (p, r) = (sums, sums.add(s.width));
        for i in (0..s.keys).step_by(ROWS) {
            let (mut k, mut q) = ([V::splat(0.0); ROWS], [V::splat(0.0); ROWS]);
            for n in 0..ROWS {
                k[n] = V::splat(*token.k.add(i + n));
                q[n] = V::splat(*token.q.add(i + n));
            }
            for j in (0..s.width).step_by(V::N) {
                let (mut a, mut b) = match i {
                    0 => (V::splat(0.0), V::splat(0.0)),
                    _ => (V::load(p.add(j)), V::load(r.add(j))),
                };
                for n in 0..ROWS {
                    let x = V::load(s.ptr.add((i + n) * s.stride + j));
                    a = k[n].mul_add(x, a);
                    b = q[n].mul_add(x, b);
                }
                a.store(p.add(j));
                b.store(r.add(j));
            }
        }
        let (decay, beta, kq) = (V::splat(token.decay), V::splat(token.beta), V::splat(token.kq));
        let scaled_decay = V::splat(token.decay * token.scale);
        for j in (0..s.width).step_by(V::N) {
            let delta = V::load(token.v.add(j)).sub(decay.mul(V::load(p.add(j)))).mul(beta);
            delta.mul_add(kq, scaled_decay.mul(V::load(r.add(j)))).store(token.o.add(j));
            delta.store(p.add(j));
        }
        for i in 0..s.keys {
            let (row, k) = (s.ptr.add(i * s.stride), V::splat(*token.k.add(i)));
            for j in (0..s.width).step_by(V::N) {
                k.mul_add(V::load(p.add(j)), decay.mul(V::load(row.add(j)))).store(row.add(j));
            }
        }
    }
}
