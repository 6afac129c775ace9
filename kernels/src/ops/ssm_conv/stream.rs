//! The convolution read straight from state and input, vectorised over channels; shared by [`super::direct`] and
//! [`super::fused_silu`].

use super::{STATE, W, X};
use crate::math::{self, Lanes, Level, Task};
use crate::variant::{Call, Instance, Reason, Tunable, Tunables};

/// More taps than this are left to the other variants.
const MAX_TAPS: usize = 8;

/// Tunables of both variants.
pub(super) const TUNABLES: &[Tunable] =
    &[Tunable { name: "block", doc: "channels a task", default: 256, values: &[64, 128, 256, 512, 1024, 2048] }];

/// What both variants ask for.
pub(super) fn supports(inst: &Instance) -> Result<(), Reason> {
    let taps = inst.inputs[W].ne[0];
    Reason::unless(taps <= MAX_TAPS, || format!("{taps} taps are more than {MAX_TAPS}"))?;
    for (l, name) in [(&inst.inputs[X], "x"), (&inst.inputs[STATE], "state"), (&inst.outputs[0], "y")] {
        Reason::unless(l.has_contiguous_rows(), || format!("channels of {name} must lie side by side"))?;
    }
    Ok(())
}

/// Blocks of channels and sequences.
pub(super) fn tasks(inst: &Instance, tunables: &Tunables) -> usize {
    inst.inputs[X].ne[0].div_ceil(tunables.get(0)) * inst.inputs[X].ne[2]
}

/// Scratch: a block's weights, tap by tap.
pub(super) fn scratch(inst: &Instance, tunables: &Tunables) -> usize {
    inst.inputs[W].ne[0] * tunables.get(0) * size_of::<f32>()
}

/// A worker's part.
pub(super) struct Stream<'a, 'b, const SILU: bool> {
    call: &'a Call<'b>,
    scratch: *mut f32,
}

impl<'a, 'b, const SILU: bool> Stream<'a, 'b, SILU> {
    /// # Safety
    /// As [`crate::Kernel::run`], for an instance that [`supports`] took and scratch of the size of [`scratch`].
    pub(super) unsafe fn new(call: &'a mut Call<'b>) -> Self {
        let scratch = call.scratch.as_mut_ptr().cast();
        Stream { call, scratch }
    }
}

impl<const SILU: bool> Task for Stream<'_, '_, SILU> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let Stream { call, scratch } = self;
        let block = call.tunables.get(0);
        let (channels, taps) = (call.inputs[X].ne(0), call.inputs[W].ne(0));
        let blocks = channels.div_ceil(block);
        for task in call.share(blocks * call.inputs[X].ne(2)) {
            let (from, s) = (task % blocks * block, task / blocks);
            let b = Block { call, weights: scratch, stride: block, from, n: block.min(channels - from), s };
            // SAFETY: the block's channels are no other worker's, and `new` vouches for the rest.
            unsafe {
                if taps == 4 {
                    b.run::<L, 4, SILU>();
                } else {
                    b.run::<L, 0, SILU>();
                }
            }
        }
    }
}

/// Neighbouring channels of a sequence.
struct Block<'a, 'b> {
    call: &'a Call<'b>,
    /// Weights of tap k at `k * stride`.
    weights: *mut f32,
    stride: usize,
    from: usize,
    n: usize,
    s: usize,
}

impl Block<'_, '_> {
    /// All tokens, then the state. `TAPS` is 0 where the number is not known to the compiler.
    ///
    /// # Safety
    /// As [`Stream::new`], and no other worker has these channels of this sequence.
    #[inline(always)]
    unsafe fn run<L: Level, const TAPS: usize, const SILU: bool>(&self) {
        let (call, n) = (self.call, self.n);
        let (w, state, y) = (&call.inputs[W], &call.inputs[STATE], &call.outputs[0]);
        let taps = if TAPS == 0 { w.ne(0) } else { TAPS };
        for c in 0..n {
            for k in 0..taps {
                // SAFETY: the index lies inside w; scratch holds `taps * stride` elements.
                unsafe { *self.weights.add(k * self.stride + c) = w.get_f32([k, self.from + c, 0, 0]) }
            }
        }
        let tokens = call.inputs[X].ne(1);
        let mut rows = [std::ptr::null::<f32>(); MAX_TAPS];
        for t in 0..tokens {
            // SAFETY: rows and weights hold `n` channels from their pointers on, and y's are this worker's own.
            unsafe {
                for (k, row) in rows.iter_mut().enumerate().take(taps) {
                    *row = self.column(t + k, taps);
                }
                let out = y.row_ptr(t, self.s, 0).cast::<f32>().add(self.from);
                let mut c = 0;
                while c + L::V::N <= n {
                    let mut sum = L::V::splat(0.0);
                    for (k, row) in rows.iter().enumerate().take(taps) {
                        let w = L::V::load(self.weights.add(k * self.stride + c));
                        sum = w.mul_add(L::V::load(row.add(c)), sum);
                    }
                    sum.store(out.add(c));
                    c += L::V::N;
                }
                for c in c..n {
                    let mut sum = 0.0;
                    for (k, row) in rows.iter().enumerate().take(taps) {
                        sum = L::mul_add(*self.weights.add(k * self.stride + c), *row.add(c), sum);
                    }
                    *out.add(c) = sum;
                }
                if SILU {
                    // The row is still in the first-level cache.
                    for y in std::slice::from_raw_parts_mut(out, n) {
                        *y = math::silu::<L>(*y);
                    }
                }
            }
        }
        // Oldest first: with fewer tokens than the state is long, a column is read before it is written.
        for k in 0..taps - 1 {
            // SAFETY: as above; source and target are the same column only if there is no token.
            unsafe {
                let to = state.row_ptr(k, self.s, 0).cast::<f32>().add(self.from);
                std::ptr::copy(self.column(tokens + k, taps), to, n);
            }
        }
    }

    /// Column `i` of state and input end to end, from the block's first channel on.
    ///
    /// # Safety
    /// As [`Self::run`]; there is a column `i`.
    #[inline(always)]
    unsafe fn column(&self, i: usize, taps: usize) -> *const f32 {
        let (x, state) = (&self.call.inputs[X], &self.call.inputs[STATE]);
        // SAFETY: the column lies inside one of the two.
        unsafe {
            let row = if i < taps - 1 { state.row_ptr(i, self.s, 0) } else { x.row_ptr(i + 1 - taps, self.s, 0) };
            row.cast::<f32>().add(self.from)
        }
    }
}
