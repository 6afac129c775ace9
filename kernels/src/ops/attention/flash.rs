//! One pass over the cache with a running softmax: no matrix of logits is ever stored.
//!
//! The query heads that share a KV head go over its cells together. A few tokens over many cells are cut by ranges of
//! cells: each leaves maximum, sum and weighted values, and a second phase merges them in their order.

use super::cells::Cells;
use super::geometry::{Geometry, Piece, turn};
use super::tile::Tile;
use super::{K, POS, Q, V, scale, seen};
use crate::cpu::Isa;
use crate::variant::{Body, Call, Form, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, DType, Op, TensorPtr};

/// The variant.
pub struct Flash(Spec);

pub(super) const TUNABLES: &[Tunable] = &[
    Tunable { name: "step", doc: "cells that a task goes over at least", default: 128, values: &[64, 128, 256, 512] },
    Tunable { name: "tile", doc: "tokens of a task", default: 8, values: &[1, 2, 4, 8, 16, 32] },
];

/// `flash`.
pub static FLASH: Flash = Flash(Spec {
    op: Op::Attention,
    name: "flash",
    revision: 1,
    backend: Backend::Cpu,
    summary: "tiles of tokens over ranges of cells with a running softmax; heads that share K read it once",
    tunables: TUNABLES,
    tolerance: 1e-6,
});

impl Variant for Flash {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        let ok = inst.outputs[0].has_contiguous_rows();
        Reason::unless(ok, || "heads of the result must be contiguous".into())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Flash {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        if index != POS && !inst.inputs[index].has_contiguous_rows() { Form::Contiguous } else { Form::AsIs }
    }

    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        Geometry::of(inst, tunables).pieces()
    }

    fn scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let g = Geometry::of(inst, tunables);
        Tile::bytes(g.tile * g.group, g.head)
    }

    fn shared_scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let g = Geometry::of(inst, tunables);
        if g.ranges == 1 { 0 } else { g.rows() * g.ranges * g.partial() * size_of::<f32>() }
    }

    fn phases(&self, inst: &Instance, tunables: &Tunables) -> usize {
        if Geometry::of(inst, tunables).ranges == 1 { 1 } else { 2 }
    }

    fn reads_at_first(&self) -> bool {
        true
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let g = Geometry::of(call.inst, call.tunables);
        if call.phase == 0 {
            let pieces = g.pieces();
            for n in 0..pieces.div_ceil(call.nth) {
                let i = turn(n, call.ith, call.nth);
                if i < pieces {
                    // SAFETY: the contract is the same; no other worker has this piece.
                    unsafe { attend(call, &g, g.piece(i)) };
                }
            }
        } else {
            for row in call.share(g.rows()) {
                // SAFETY: a barrier lies behind us, so all partial results are there; no other worker has this row.
                unsafe { merge(call, &g, row) };
            }
        }
    }
}

/// A cache's cells of one head.
///
/// # Safety
/// The head is one of the cache's.
unsafe fn cells(cache: &TensorPtr, kv_head: usize, seq: usize) -> Cells {
    // SAFETY: the caller's contract; cell 0 is inside the layout, or the layout has no cell and none is read.
    let ptr = unsafe { cache.row_ptr(0, kv_head, seq) };
    Cells { ptr, stride: cache.nb(1), f16: cache.layout.dtype == DType::F16 }
}

/// Computes a piece: into the output if it is all there is to its rows, or else into the shared scratch.
///
/// # Safety
/// As [`Kernel::run`]; no other worker has the piece.
unsafe fn attend(call: &mut Call<'_>, g: &Geometry, piece: Piece) {
    let (q, k, v, pos) = (&call.inputs[Q], &call.inputs[K], &call.inputs[V], &call.inputs[POS]);
    let (first, cells_in_view) = (piece.range * g.range, k.ne(1));
    let row_of = |r: usize| (piece.kv_head * g.group + r % g.group, piece.token + r / g.group);
    let rows = piece.tokens * g.group;
    let factor = scale(&call.inst.params);
    let mut tile = Tile::new(call.scratch, rows, g.head);
    let mut end = first;
    for r in 0..rows {
        let (h, t) = row_of(r);
        // SAFETY: head, token and sequence are among q's, and `pos` has an element for each token.
        let (query, p) = unsafe { (q.row_f32(h, t, piece.seq), pos.get_i32([t, piece.seq, 0, 0])) };
        for (scaled, x) in tile.q[r * g.head..][..g.head].iter_mut().zip(query) {
            *scaled = x * factor;
        }
        let n = seen(p, cells_in_view);
        tile.set_seen(r, n);
        end = end.max(n.min(first + g.range));
    }
    // Some row sees the last of the cells, so they were written before.
    // SAFETY: KV head and sequence are among the caches', and `seen` stops at the end of the view.
    unsafe {
        let (k, v) = (cells(k, piece.kv_head, piece.seq), cells(v, piece.kv_head, piece.seq));
        tile.attend(Isa::detect(), k, v, first, end);
    }
    for r in 0..rows {
        let (h, t) = row_of(r);
        let (max, sum) = tile.max_and_sum(r);
        let values = &tile.acc[r * g.head..][..g.head];
        if g.ranges == 1 {
            // SAFETY: the output has q's shape and contiguous rows (`supports`); this piece alone has the row.
            let y = unsafe { call.outputs[0].row_f32_mut(h, t, piece.seq) };
            let share = if sum > 0.0 { 1.0 / sum } else { 0.0 };
            for (y, x) in y.iter_mut().zip(values) {
                *y = x * share;
            }
        } else {
            // SAFETY: row and range are among those that `shared_scratch` counted; this piece alone has them.
            let to = unsafe { partial_mut(call.shared, g, g.row(h, t, piece.seq), piece.range) };
            (to[0], to[1]) = (max, sum);
            to[16..][..g.head].copy_from_slice(values);
        }
    }
}

/// Where a row's result of a range lies in the shared scratch, which is aligned to a cache line.
///
/// # Safety
/// `shared` has the bytes that [`Kernel::shared_scratch`] asked for, the row and the range are among those of `g`, and
/// nobody else touches them.
unsafe fn partial_mut<'a>(shared: *mut u8, g: &Geometry, row: usize, range: usize) -> &'a mut [f32] {
    // SAFETY: the caller's contract.
    unsafe {
        let at = shared.cast::<f32>().add((row * g.ranges + range) * g.partial());
        std::slice::from_raw_parts_mut(at, g.partial())
    }
}

/// Adds up a row's partial results, range by range.
///
/// # Safety
/// As [`Kernel::run`]; all partial results are there, and no other worker has the row.
unsafe fn merge(call: &Call<'_>, g: &Geometry, row: usize) {
    let out = &call.outputs[0];
    let [h, t, s] = out.layout.row_index(row);
    // SAFETY: the row is one of the output's, contiguous (`supports`) and this worker's own.
    let y = unsafe { out.row_f32_mut(h, t, s) };
    // SAFETY: row and range are among those of `g`, phase 0 wrote them, and this worker alone reads this row's.
    let part = |range| -> &[f32] { unsafe { partial_mut(call.shared, g, row, range) } };
    let max = (0..g.ranges).map(|r| part(r)[0]).fold(f32::MIN, f32::max);
    y.fill(0.0);
    let mut sum = 0.0;
    for r in 0..g.ranges {
        let part = part(r);
        if part[1] > 0.0 {
            let weight = (part[0] - max).exp();
            sum += weight * part[1];
            for (y, x) in y.iter_mut().zip(&part[16..]) {
                *y += weight * x;
            }
        }
    }
    if sum > 0.0 {
        let share = 1.0 / sum;
        y.iter_mut().for_each(|y| *y *= share);
    }
}
