//! Several tokens over one block of columns that stays in the first-level cache.
//!
//! While a token's update is written, the next token's `Sᵀk` and `Sᵀq` are summed: one pass over the block a token.
//! The decay is kept apart, S = Γ·S̃, which leaves three multiply-adds an element instead of four operations; Γ is
//! worked in only when it leaves the range in which S̃ is safe.

use super::super::sweep::Slice;
use super::super::token::{Source, Token};
use crate::math::{Lanes, Level};

/// Vectors side by side: with their sums, deltas and the factors of a row they fill the sixteen registers of AVX2.
const VECTORS: usize = 4;

/// Most columns of a block: [`VECTORS`] of the widest level.
pub(super) const MAX_COLUMNS: usize = 16 * VECTORS;

/// Γ outside of this is worked into the block. Far from both ends of F32, so S̃ and δ/Γ neither overflow nor go
/// subnormal where S and δ do not.
const GAMMA: std::ops::RangeInclusive<f32> = 1e-10..=1e10;

/// Does the tokens' updates to a slice, block by block.
///
/// # Safety
/// As [`super::sweep::step`] for each token; `scratch` has room for `keys * MAX_COLUMNS` elements; `tokens` > 0.
#[inline(always)]
pub(super) unsafe fn tokens<L: Level>(s: Slice, tokens: usize, source: &Source<'_, '_>, scratch: *mut f32) {
    let n = L::V::N;
    let mut j = 0;
    while j < s.width {
        let left = s.width - j;
        // SAFETY: the block's columns lie inside the slice.
        unsafe {
            if left >= VECTORS * n {
                block::<L, VECTORS>(s, j, tokens, source, scratch);
                j += VECTORS * n;
            } else if left >= 2 * n {
                block::<L, 2>(s, j, tokens, source, scratch);
                j += 2 * n;
            } else {
                block::<L, 1>(s, j, tokens, source, scratch);
                j += n;
            }
        }
    }
}

/// Columns `j .. j + M * V::N` of the slice.
///
/// # Safety
/// As [`tokens`], and the columns lie inside the slice.
#[inline(always)]
unsafe fn block<L: Level, const M: usize>(
    s: Slice,
    j: usize,
    tokens: usize,
    source: &Source<'_, '_>,
    scratch: *mut f32,
) {
    let n = L::V::N;
    // SAFETY: by the caller's contract every address below lies inside the slice, the tokens' vectors or scratch.
    unsafe {
        let mut now = source.token::<L>(0);
        let mut p = [L::V::splat(0.0); M];
        let mut r = [L::V::splat(0.0); M];
        for i in 0..s.keys {
            let (row, copy) = (s.ptr.add(i * s.stride + j), scratch.add(i * M * n));
            let (k, q) = (L::V::splat(*now.k.add(i)), L::V::splat(*now.q.add(i)));
            for m in 0..M {
                let x = L::V::load(row.add(m * n));
                x.store(copy.add(m * n));
                p[m] = k.mul_add(x, p[m]);
                r[m] = q.mul_add(x, r[m]);
            }
        }
        let mut gamma = 1.0;
        for t in 1..tokens {
            let next = source.token::<L>(t);
            gamma *= now.decay;
            let delta = deltas::<L::V, M>(now, j, gamma, p, r);
            if GAMMA.contains(&gamma) {
                let (mut scaled, factor) = (delta, L::V::splat(1.0 / gamma));
                for x in &mut scaled {
                    *x = x.mul(factor);
                }
                (p, r) = update::<L::V, M, false>(scratch, s.keys, now.k, next, 1.0, scaled);
            } else {
                (p, r) = update::<L::V, M, true>(scratch, s.keys, now.k, next, gamma, delta);
                gamma = 1.0;
            }
            now = next;
        }
        gamma *= now.decay;
        let delta = deltas::<L::V, M>(now, j, gamma, p, r);
        let gamma = L::V::splat(gamma);
        for i in 0..s.keys {
            let (row, copy) = (s.ptr.add(i * s.stride + j), scratch.add(i * M * n));
            let k = L::V::splat(*now.k.add(i));
            for (m, &delta) in delta.iter().enumerate() {
                let x = L::V::load(copy.add(m * n));
                k.mul_add(delta, gamma.mul(x)).store(row.add(m * n));
            }
        }
    }
}

/// δ of a token from its sums over S̃, and its result.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn deltas<V: Lanes, const M: usize>(token: Token, j: usize, gamma: f32, p: [V; M], r: [V; M]) -> [V; M] {
    let mut delta = p;
    // SAFETY: as `block`.
    unsafe {
        let (beta, kq) = (V::splat(token.beta), V::splat(token.kq));
        let (gamma, scaled) = (V::splat(gamma), V::splat(gamma * token.scale));
        for m in 0..M {
            let at = j + m * V::N;
            delta[m] = V::load(token.v.add(at)).sub(gamma.mul(p[m])).mul(beta);
            delta[m].mul_add(kq, scaled.mul(r[m])).store(token.o.add(at));
        }
    }
    delta
}

/// `S̃ ← S̃ + k δᵀ`, or `factor · S̃ + k δᵀ` if `RESCALE`, and the next token's sums.
///
/// # Safety
/// As [`block`].
#[inline(always)]
unsafe fn update<V: Lanes, const M: usize, const RESCALE: bool>(
    scratch: *mut f32,
    keys: usize,
    k: *const f32,
    next: Token,
    factor: f32,
    delta: [V; M],
) -> ([V; M], [V; M]) {
    // SAFETY: as `block`.
    unsafe {
        let mut p = [V::splat(0.0); M];
        let mut r = [V::splat(0.0); M];
        for i in 0..keys {
            let copy = scratch.add(i * M * V::N);
            let (k, next_k, next_q) = (V::splat(*k.add(i)), V::splat(*next.k.add(i)), V::splat(*next.q.add(i)));
            for m in 0..M {
                let mut x = V::load(copy.add(m * V::N));
                if RESCALE {
                    x = x.mul(V::splat(factor));
                }
                x = k.mul_add(delta[m], x);
                x.store(copy.add(m * V::N));
                p[m] = next_k.mul_add(x, p[m]);
                r[m] = next_q.mul_add(x, r[m]);
            }
        }
        (p, r)
    }
}
