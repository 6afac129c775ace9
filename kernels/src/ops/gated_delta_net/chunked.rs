//! A chunk of tokens at once, as products of small matrices: the WY form (Yang et al.: Parallelizing Linear
//! Transformers with the Delta Rule, 2024).
//!
//! With S the state before the chunk, D the decays between its tokens and e the decays since its start:
//!
//! ```text
//! A = strictly_lower(β K Kᵀ ∘ D)
//! X = (I + A)⁻¹ β (V - e K S)               what each token writes, solved forwards
//! O = scale (e Q S + lower(Q Kᵀ ∘ D) X)
//! S ← e_last S + Kᵀ (D_last X)
//! ```
//!
//! Applying K to S before the solve takes one triangular solve where the published form takes two. A CPU has no
//! cheaper arithmetic for matrices: this costs about as many operations as the recurrence, and wins only where it uses
//! registers and caches better.

mod intra;
mod panel;
mod tile;

use super::sweep::Slice;
use super::token::Source;
use super::{K, Q, STATE, Shape, V, panels, scale, vectors};
use crate::cpu::Isa;
use crate::math::{Lanes, Level, Task, dispatch};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Op};
use tile::Operand;

/// The variant.
pub struct Chunked(Spec);

/// `chunked`.
pub static CHUNKED: Chunked = Chunked(Spec {
    op: Op::GatedDeltaNet,
    name: "chunked",
    revision: 1,
    backend: Backend::Cpu,
    summary: "chunks of tokens as matrix products in registers, state in cache, heads and slices over the threads",
    tunables: &[
        Tunable { name: "chunk", doc: "tokens a chunk", default: 32, values: &[16, 32, 64] },
        Tunable { name: "slices", doc: "tasks a head, split by values", default: 1, values: &[1, 2, 4] },
    ],
    tolerance: 1e-5,
});

impl Variant for Chunked {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        vectors(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

/// Values of a slice: whole vectors of the widest level.
fn slice_width(d: usize, tunables: &Tunables) -> usize {
    d.div_ceil(tunables.get(1)).next_multiple_of(16)
}

/// Widest panel: two vectors of the widest level.
const MAX_PANEL: usize = 32;

/// Largest chunk.
const MAX_CHUNK: usize = 64;

impl Kernel for Chunked {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let Shape { d, hv, s, .. } = Shape::of(inst);
        hv * s * d.div_ceil(slice_width(d, tunables))
    }

    fn scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let Shape { d, .. } = Shape::of(inst);
        let (chunk, width) = (tunables.get(0), slice_width(d, tunables));
        let padded = chunk.next_multiple_of(MAX_PANEL);
        (d * (width + padded + 2 * chunk) + 2 * chunk * padded + chunk * MAX_PANEL) * size_of::<f32>()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let scratch = call.scratch.as_mut_ptr().cast();
        dispatch(Isa::detect(), Work(call, scratch));
    }
}

struct Work<'a, 'b>(&'a Call<'b>, *mut f32);

/// A worker's scratch, in parts.
#[derive(Clone, Copy)]
struct Scratch {
    /// The slice's state in panels of columns.
    state: *mut f32,
    /// K and Q of the chunk without gaps: in the convolution's output, tokens lie so far apart that they would push one
    /// another out of the cache.
    rows: [*mut f32; 2],
    /// Kᵀ of the chunk in panels of tokens.
    keys: *mut f32,
    /// `-A`, row by row.
    a: *mut f32,
    /// `scale · lower(Q Kᵀ ∘ D)`, row by row.
    p: *mut f32,
    /// X of a panel.
    x: *mut f32,
    /// Elements between rows of `a` and of `p`.
    stride: usize,
}

/// A chunk of a head.
struct Chunk {
    /// First token.
    t: usize,
    /// Tokens.
    n: usize,
    /// Keys and queries, a token a row.
    k: Operand,
    q: Operand,
    /// β of each token.
    beta: [f32; MAX_CHUNK],
    /// `e^g` of each token.
    decay: [f32; MAX_CHUNK],
    /// Decay from the chunk's start to after each token.
    since_start: [f32; MAX_CHUNK],
    /// Decay from after each token to the chunk's end.
    to_end: [f32; MAX_CHUNK],
    /// Factor on q.
    scale: f32,
}

impl Task for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let Work(call, scratch) = self;
        let Shape { d, hv, ratio, t: tokens, s } = Shape::of(call.inst);
        let (chunk, width) = (call.tunables.get(0), slice_width(d, call.tunables));
        let (stride, slices) = (chunk.next_multiple_of(MAX_PANEL), d.div_ceil(width));
        // SAFETY: the parts lie one after the other in what `scratch` asked for.
        let scratch = unsafe {
            let rows = [scratch.add(d * width), scratch.add(d * (width + chunk))];
            let keys = rows[1].add(d * chunk);
            let a = keys.add(d * stride);
            let p = a.add(chunk * stride);
            Scratch { state: scratch, rows, keys, a, p, x: p.add(chunk * stride), stride }
        };
        let (state, scale) = (call.inputs[STATE], scale(call.inst));
        for task in call.share(hv * s * slices) {
            let (j, h, s) = (task % slices * width, task / slices % hv, task / slices / hv);
            let width = width.min(d - j);
            let source = Source { call, h, s, j, head_k: h / ratio, scale };
            // Rows are contiguous (`supports`), and scratch is this worker's own.
            // SAFETY: indices lie inside the layouts that `infer` checked; no other worker has this slice.
            unsafe {
                let slice = Slice {
                    ptr: state.row_ptr(0, h, s).cast::<f32>().add(j),
                    stride: state.nb(1) / size_of::<f32>(),
                    keys: d,
                    width,
                };
                panels::gather(slice, 2 * L::V::N, scratch.state);
                for t in (0..tokens).step_by(chunk) {
                    let mut c = Chunk::new::<L>(&source, t, chunk.min(tokens - t), d, scratch);
                    intra::products::<L>(&mut c, d, scratch);
                    let mut at = 0;
                    while at < width {
                        let part = scratch.state.add(at * d);
                        if width - at >= 2 * L::V::N {
                            panel::chunk::<L, 2>(&c, &source, at, d, part, scratch);
                            at += 2 * L::V::N;
                        } else {
                            panel::chunk::<L, 1>(&c, &source, at, d, part, scratch);
                            at += L::V::N;
                        }
                    }
                }
                panels::scatter(scratch.state, 2 * L::V::N, slice);
            }
        }
    }
}

impl Chunk {
    /// Tokens `t .. t + n` of a head.
    ///
    /// # Safety
    /// As [`Kernel::run`]; the tokens are there.
    #[inline(always)]
    unsafe fn new<L: Level>(source: &Source<'_, '_>, t: usize, n: usize, d: usize, scratch: Scratch) -> Chunk {
        let Source { call, h, s, head_k, scale, .. } = *source;
        for (input, to) in [K, Q].into_iter().zip(scratch.rows) {
            for i in 0..n {
                // SAFETY: the token is there, and scratch has a row for it.
                unsafe {
                    let row = call.inputs[input].row_ptr(head_k, t + i, s).cast::<f32>();
                    std::ptr::copy_nonoverlapping(row, to.add(i * d), d);
                }
            }
        }
        let empty = [0.0; MAX_CHUNK];
        let [k, q] = scratch.rows.map(|ptr| Operand { ptr, row: d, col: 1 });
        let mut c = Chunk { t, n, k, q, beta: empty, decay: empty, since_start: empty, to_end: empty, scale };
        let mut product = 1.0;
        for i in 0..n {
            // SAFETY: as above.
            let g = unsafe { call.inputs[super::G].get_f32([h, t + i, s, 0]) };
            c.decay[i] = crate::math::exp::<L>(g);
            product *= c.decay[i];
            c.since_start[i] = product;
            // SAFETY: as above.
            c.beta[i] = unsafe { call.inputs[super::BETA].get_f32([h, t + i, s, 0]) };
        }
        c
    }

    /// Row `i` of the value and of the result, from the panel's first column on.
    ///
    /// # Safety
    /// As [`Kernel::run`]; `i` is a token of the chunk.
    #[inline(always)]
    unsafe fn value_and_result(&self, source: &Source<'_, '_>, i: usize, at: usize) -> (*const f32, *mut f32) {
        let Source { call, h, s, j, .. } = *source;
        // SAFETY: indices lie inside the layouts that `infer` checked, the panel inside a row.
        unsafe {
            let v = call.inputs[V].row_ptr(h, self.t + i, s).cast::<f32>().add(j + at);
            let o = call.outputs[0].row_ptr(h, self.t + i, s).cast::<f32>().add(j + at);
            (v.cast_const(), o)
        }
    }
}
