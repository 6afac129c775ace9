//! A token as a slice of a head sees it.

use super::{BETA, G, K, Q, V};
use crate::Call;
use crate::math::{self, Lanes, Level};

/// What a token brings to a slice.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Token {
    /// The key.
    pub k: *const f32,
    /// The query.
    pub q: *const f32,
    /// The slice's part of the value.
    pub v: *const f32,
    /// The slice's part of the result.
    pub o: *mut f32,
    /// `e^g`.
    pub decay: f32,
    /// β.
    pub beta: f32,
    /// `scale · k·q`.
    pub kq: f32,
    /// Factor on q.
    pub scale: f32,
}

/// Where a slice's tokens come from. A struct and no closure: closures are not compiled for the level.
pub(super) struct Source<'a, 'b> {
    /// Everything else.
    pub call: &'a Call<'b>,
    /// Value head.
    pub h: usize,
    /// Its key head.
    pub head_k: usize,
    /// Sequence.
    pub s: usize,
    /// First value of the slice.
    pub j: usize,
    /// Factor on q.
    pub scale: f32,
}

impl Source<'_, '_> {
    /// What token `t` brings.
    ///
    /// # Safety
    /// As [`crate::Kernel::run`]; `t` is a token, rows are contiguous.
    #[inline(always)]
    pub unsafe fn token<L: Level>(&self, t: usize) -> Token {
        let Source { call, h, head_k, s, j, scale } = *self;
        // SAFETY: indices lie inside the layouts that `infer` checked, and the slice inside a row.
        unsafe {
            let (q, k) = (call.inputs[Q].row_f32(head_k, t, s), call.inputs[K].row_f32(head_k, t, s));
            Token {
                k: k.as_ptr(),
                q: q.as_ptr(),
                v: call.inputs[V].row_f32(h, t, s).as_ptr().add(j),
                o: call.outputs[0].row_ptr(h, t, s).cast::<f32>().add(j),
                decay: math::exp::<L>(call.inputs[G].get_f32([h, t, s, 0])),
                beta: call.inputs[BETA].get_f32([h, t, s, 0]),
                kq: scale * dot::<L::V>(k, q),
                scale,
            }
        }
    }
}

/// `Σ x y`, in an order that depends on the vector's width alone. Lengths are the same multiple of 16.
///
/// # Safety
/// The CPU has the features of `V`.
#[inline(always)]
pub(in crate::ops) unsafe fn dot<V: Lanes>(x: &[f32], y: &[f32]) -> f32 {
    // SAFETY: chunks hold whole vectors.
    unsafe {
        let mut sums = [V::splat(0.0); 4];
        let (xs, ys) = (x.chunks_exact(4 * V::N), y.chunks_exact(4 * V::N));
        let rest = xs.remainder().chunks_exact(V::N).zip(ys.remainder().chunks_exact(V::N));
        for (x, y) in xs.zip(ys) {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(x.as_ptr().add(n * V::N)).mul_add(V::load(y.as_ptr().add(n * V::N)), *sum);
            }
        }
        for (x, y) in rest {
            sums[0] = V::load(x.as_ptr()).mul_add(V::load(y.as_ptr()), sums[0]);
        }
        let [a, b, c, d] = V::sum4(sums);
        (a + b) + (c + d)
    }
}
