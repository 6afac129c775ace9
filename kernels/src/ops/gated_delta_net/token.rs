//! A token as a slice of a head sees it.

use super::{BETA, G, K, Q, V};
use crate::Call;
use crate::math::{self, Level};

/// What a token brings to a slice.
#[derive(Clone, Copy)]
pub(super) struct Token {
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
                kq: scale * math::dot::<L>(k, q),
                scale,
            }
        }
    }
}
