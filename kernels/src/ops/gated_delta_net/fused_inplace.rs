//! The state in place, touched once a token, and a head split by values so that more threads than heads can work.
//!
//! A few tokens sweep the rows as they lie in memory ([`sweep`](super::sweep)): what counts is the stream from
//! memory. More go tile by tile over panels of columns in scratch, a panel staying in the first-level cache for all
//! tokens of a tile ([`tile`]). Keys and queries of a tile are copied too: in the convolution's output, tokens lie so
//! far apart that they would push one another out of the cache.

mod tile;

use super::sweep::{self, Slice};
use super::token::{Source, Token};
use super::{STATE, Shape, panels, scale, vectors};
use crate::cpu::Isa;
use crate::math::{Lanes, Level, Task, dispatch};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Op};
use std::ops::Range;

/// The variant.
pub struct FusedInplace(Spec);

/// `fused_inplace`.
pub static FUSED_INPLACE: FusedInplace = FusedInplace(Spec {
    op: Op::GatedDeltaNet,
    name: "fused_inplace",
    revision: 1,
    backend: Backend::Cpu,
    summary: "state updated in place, one sweep a token, heads and slices of heads split over the threads",
    tunables: &[
        Tunable { name: "slices", doc: "tasks a head, split by values", default: 1, values: &[1, 2, 4, 8] },
        Tunable { name: "tile", doc: "tokens that share a visit to a panel", default: 8, values: &[4, 8, 16, 32] },
    ],
    tolerance: 1e-5,
});

impl Variant for FusedInplace {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        vectors(inst)
    }

    fn preferred(&self, inst: &Instance) -> bool {
        Shape::of(inst).t < CHUNKED_FROM
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

/// Up to so many tokens panels are not worth the copies.
const MAX_SWEEPS: usize = 4;

/// From here on `chunked` is the default. Measured on Zen 3, one thread, 80B shape: 7 % slower at 64 tokens, 5 % faster
/// at 512; the two are close everywhere, so a tuner may find otherwise.
const CHUNKED_FROM: usize = 256;

/// Most tokens of a tile.
const MAX_TILE: usize = 32;

/// Values of a slice: whole vectors of the widest level.
fn slice_width(d: usize, tunables: &Tunables) -> usize {
    d.div_ceil(tunables.get(0)).next_multiple_of(16)
}

impl Kernel for FusedInplace {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let Shape { d, hv, s, .. } = Shape::of(inst);
        hv * s * d.div_ceil(slice_width(d, tunables))
    }

    fn scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let Shape { d, .. } = Shape::of(inst);
        d * (slice_width(d, tunables) + 2 * tunables.get(1)) * size_of::<f32>()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let scratch = call.scratch.as_mut_ptr().cast();
        dispatch(Isa::detect(), Work(call, scratch));
    }
}

struct Work<'a, 'b>(&'a Call<'b>, *mut f32);

impl Task for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let Work(call, scratch) = self;
        let Shape { d, hv, ratio, t: tokens, s } = Shape::of(call.inst);
        let width = slice_width(d, call.tunables);
        let (slices, tile) = (d.div_ceil(width), call.tunables.get(1));
        let (state, scale) = (call.inputs[STATE], scale(call.inst));
        for task in call.share(hv * s * slices) {
            let (j, h, s) = (task % slices * width, task / slices % hv, task / slices / hv);
            // Rows are contiguous (`supports`); scratch has room for the sums and for a block of columns.
            // SAFETY: indices lie inside the layouts that `infer` checked; no other worker has this slice.
            unsafe {
                let slice = Slice {
                    ptr: state.row_ptr(0, h, s).cast::<f32>().add(j),
                    stride: state.nb(1) / size_of::<f32>(),
                    keys: d,
                    width: width.min(d - j),
                };
                let source = Source { call, h, s, j, head_k: h / ratio, scale };
                if tokens <= MAX_SWEEPS {
                    for t in 0..tokens {
                        sweep::step::<L::V>(slice, source.token::<L>(t), scratch);
                    }
                    continue;
                }
                let (wide, vectors) = (tile::VECTORS * L::V::N, scratch.add(d * slice.width));
                panels::gather(slice, wide, scratch);
                for t in (0..tokens).step_by(tile) {
                    let tokens = load::<L>(&source, t..tokens.min(t + tile), d, vectors);
                    let tokens = &tokens.tokens[..tokens.n];
                    for at in (0..slice.width).step_by(wide) {
                        let panel = scratch.add(at * d);
                        match (slice.width - at) / L::V::N {
                            1 => tile::panel::<L::V, 1>(panel, d, at, tokens),
                            2 => tile::panel::<L::V, 2>(panel, d, at, tokens),
                            3 => tile::panel::<L::V, 3>(panel, d, at, tokens),
                            _ => tile::panel::<L::V, { tile::VECTORS }>(panel, d, at, tokens),
                        }
                    }
                }
                panels::scatter(scratch, wide, slice);
            }
        }
    }
}

/// A tile's tokens, no more than [`MAX_TILE`].
struct Tile {
    tokens: [Token; MAX_TILE],
    n: usize,
}

/// Tokens of a tile, with copies of their keys and queries in `vectors`.
///
/// # Safety
/// As [`Kernel::run`]; the tokens are there and at least one; `vectors` has room for two vectors of `d` for each.
#[inline(always)]
unsafe fn load<L: Level>(source: &Source<'_, '_>, range: Range<usize>, d: usize, vectors: *mut f32) -> Tile {
    // SAFETY: promised by the caller.
    unsafe {
        let mut tile = Tile { tokens: [source.token::<L>(range.start); MAX_TILE], n: range.len() };
        for (n, t) in range.enumerate() {
            let (token, k, q) = (source.token::<L>(t), vectors.add(2 * n * d), vectors.add((2 * n + 1) * d));
            std::ptr::copy_nonoverlapping(token.k, k, d);
            std::ptr::copy_nonoverlapping(token.q, q, d);
            tile.tokens[n] = Token { k, q, ..token };
        }
        tile
    }
}
