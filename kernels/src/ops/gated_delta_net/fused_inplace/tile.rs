//! The tokens of a tile over one panel of columns that stays in the first-level cache.
//!
//! While a token's update is written, the next token's `Sᵀk` and `Sᵀq` are summed: one pass over the panel a token.
//! The decay is kept apart, S = Γ·S̃, which leaves three multiply-adds an element instead of four operations; Γ is
//! worked in at the end of a tile, or before when it leaves the range in which S̃ is safe.

use super::super::token::Token;
use crate::math::Lanes;

/// Vectors side by side: with their sums, deltas and the factors of a row they fill the sixteen registers of AVX2.
pub(super) const VECTORS: usize = 4;

/// Γ outside of this is worked into the panel. Far from both ends of F32, so S̃ and δ/Γ neither overflow nor go
/// subnormal where S and δ do not.
const GAMMA: std::ops::RangeInclusive<f32> = 1e-10..=1e10;

/// Updates the panel of `M` vectors at column `j` of the slice by each token.
///
/// # Safety
/// As [`super::super::sweep::step`] for each token; the panel has `keys` rows without gaps; the CPU has the features
/// of `V`.
#[inline(always)]
pub(super) unsafe fn panel<V: Lanes, const M: usize>(panel: *mut f32, keys: usize, j: usize, tokens: &[Token]) {
    let Some((&first, rest)) = tokens.split_first() else { return };
    // SAFETY: by the caller's contract every address below lies inside the panel or the tokens' vectors.
    unsafe {
        let mut now = first;
        let mut p = [V::splat(0.0); M];
        let mut r = [V::splat(0.0); M];
        for i in 0..keys {
            let row = panel.add(i * M * V::N);
            let (k, q) = (V::splat(*now.k.add(i)), V::splat(*now.q.add(i)));
            for m in 0..M {
                let x = V::load(row.add(m * V::N));
                p[m] = k.mul_add(x, p[m]);
                r[m] = q.mul_add(x, r[m]);
            }
        }
        let mut gamma = 1.0;
        for &next in rest {
            gamma *= now.decay;
            let mut delta = deltas::<V, M>(now, j, gamma, p, r);
            if GAMMA.contains(&gamma) {
                let factor = V::splat(1.0 / gamma);
                for x in &mut delta {
                    *x = x.mul(factor);
                }
                (p, r) = update::<V, M, false>(panel, keys, now.k, next, 1.0, delta);
            } else {
                (p, r) = update::<V, M, true>(panel, keys, now.k, next, gamma, delta);
                gamma = 1.0;
            }
            now = next;
        }
        gamma *= now.decay;
        let delta = deltas::<V, M>(now, j, gamma, p, r);
        let gamma = V::splat(gamma);
        for i in 0..keys {
            let (row, k) = (panel.add(i * M * V::N), V::splat(*now.k.add(i)));
            for (m, &delta) in delta.iter().enumerate() {
                let x = V::load(row.add(m * V::N));
                k.mul_add(delta, gamma.mul(x)).store(row.add(m * V::N));
            }
        }
    }
}

/// δ of a token from its sums over S̃, and its result.
///
/// # Safety
/// As [`panel`].
#[inline(always)]
unsafe fn deltas<V: Lanes, const M: usize>(token: Token, j: usize, gamma: f32, p: [V; M], r: [V; M]) -> [V; M] {
    let mut delta = p;
    // SAFETY: as `panel`.
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
/// As [`panel`].
#[inline(always)]
unsafe fn update<V: Lanes, const M: usize, const RESCALE: bool>(
    panel: *mut f32,
    keys: usize,
    k: *const f32,
    next: Token,
    factor: f32,
    delta: [V; M],
) -> ([V; M], [V; M]) {
    // SAFETY: as `panel`.
    unsafe {
        let mut p = [V::splat(0.0); M];
        let mut r = [V::splat(0.0); M];
        for i in 0..keys {
            let row = panel.add(i * M * V::N);
            let (k, next_k, next_q) = (V::splat(*k.add(i)), V::splat(*next.k.add(i)), V::splat(*next.q.add(i)));
            for m in 0..M {
                let mut x = V::load(row.add(m * V::N));
                if RESCALE {
                    x = x.mul(V::splat(factor));
                }
                x = k.mul_add(delta[m], x);
                x.store(row.add(m * V::N));
                p[m] = next_k.mul_add(x, p[m]);
                r[m] = next_q.mul_add(x, r[m]);
            }
        }
        (p, r)
    }
}
