//! What the products on a GPU share: the source that unpacks blocks, and how many lanes share a row.

use crate::cuda::Macro;
use crate::quant::activation_for;
use crate::variant::{Form, Reason, Tunable, Tunables};
use crate::{DType, Layout};

/// Source: weights unpacked 32 at a time, int8 products by `dp4a`.
pub(in crate::ops) const BLOCKS: &str = include_str!("blocks.cuh");

/// Source: a column in shared memory for rows that are read once.
pub(in crate::ops) const STAGED: &str = include_str!("staged.cuh");

/// Source: rows that are on their way while the column is made. Wants [`crate::cuda::TENSOR`], [`BLOCKS`] and [`STAGED`].
pub(in crate::ops) const STREAMED: &str = include_str!("streamed.cuh");

/// Bytes that rows of such a weight can be copied by, 0 if by none. Weights start at multiples of 16.
pub(in crate::ops) fn grain(w: &Layout) -> usize {
    let row = w.ne[0] / w.dtype.block_len() * w.dtype.block_bytes();
    let fits = |bytes: &usize| [row, w.nb[1], w.nb[2]].iter().all(|n| n.is_multiple_of(*bytes));
    [16, 8, 4].into_iter().find(fits).unwrap_or(0)
}

/// Warps of a thread block that shares a column.
pub(in crate::ops) const STAGED_WARPS: Tunable =
    Tunable { name: "warps", doc: "warps a thread block", default: 4, values: &[2, 4, 8] };

/// Rows that a piece of the column is used for.
pub(in crate::ops) const PER: Tunable =
    Tunable { name: "rows", doc: "rows that a piece of the column is used for", default: 2, values: &[1, 2, 4] };

/// Whether columns of `k` elements fit shared memory as blocks.
pub(in crate::ops) fn staged(w: &Layout, k: usize) -> Result<(), Reason> {
    Reason::unless(w.dtype.is_quantised(), || format!("{} is no block type", w.dtype))?;
    Reason::unless((1..=32 * 1024).contains(&k), || format!("columns of {k} elements"))
}

/// Warps of a thread block.
pub(in crate::ops) const WARPS: Tunable =
    Tunable { name: "warps", doc: "warps a thread block", default: 4, values: &[1, 2, 4, 8] };

/// How weights of a type want their activations.
pub(in crate::ops) fn activation_form(w: &Layout) -> Form {
    activation_for(w.dtype).map_or(Form::AsIs, Form::Quantised)
}

/// Error bound of a product: int8 activations or single precision.
pub(in crate::ops) const TOLERANCE: f32 = 1.5e-2;

/// Lanes that share a row: a short one leaves some of a warp's lanes for other rows.
pub(in crate::ops) fn lanes(w: &Layout) -> usize {
    let pieces = if w.dtype.is_quantised() { w.ne[0] / 32 } else { w.ne[0].div_ceil(4) };
    pieces.next_power_of_two().clamp(4, 32)
}

/// A type as the sources name it.
pub(in crate::ops) fn type_macro(name: &'static str, dtype: DType) -> Macro {
    (name, dtype.name().to_owned())
}

/// Source: a row of F32 that a block sums, norms and quantises for itself. Comes after [`STAGED`].
pub(in crate::ops) const COLUMN: &str = concat!(include_str!("../quantize/codes.cuh"), include_str!("column.cuh"));

/// Source: stripes of rows times such a column. Comes after [`crate::cuda::TENSOR`] and [`COLUMN`].
pub(in crate::ops) const GEMV: &str = include_str!("gemv.cuh");

/// What products of stripes leave to a profile.
pub(in crate::ops) const STRIPES: &[Tunable] = &[
    Tunable { name: "warps", doc: "warps a thread block", default: 8, values: &[4, 8, 16] },
    Tunable { name: "rows", doc: "rows that a warp takes at a time", default: 1, values: &[1, 2, 4] },
    Tunable { name: "blocks", doc: "thread blocks at most", default: 264, values: &[66, 132, 264, 396, 528, 1056] },
    Tunable {
        name: "room",
        doc: "kilobytes of shared memory a thread block for rows on their way; 0: registers",
        default: 64,
        values: &[0, 20, 28, 40, 52, 64, 80, 104, 120, 160],
    },
];

/// Multiprocessors of the GPUs that defaults are for.
const MULTIPROCESSORS: usize = 132;

/// Thread blocks that a multiprocessor should have registers for: twice as many as it gets, as the next kernel's are to start
/// beside them. No more than its threads allow, nor so many that a thread has less than 64 registers.
/// Where rows are on their way to registers instead, there are none to spare.
pub(in crate::ops) fn beside(room: usize, blocks: usize, warps: usize) -> usize {
    if room == 0 { 1 } else { (2 * blocks.div_ceil(MULTIPROCESSORS)).min(32 / warps).max(1) }
}

/// Bytes of a warp's room: no more than its longest stripe of any of these weights takes, which have so many blocks each.
pub(in crate::ops) fn stripe_room(weights: &[(&Layout, usize)], tunables: &Tunables) -> usize {
    let (warps, together) = (tunables.get(0), tunables.get(1));
    let row = |w: &Layout| w.ne[0] / w.dtype.block_len() * w.dtype.block_bytes();
    let dense = |w: &Layout| w.nb[1] == row(w) && w.nb[1..].iter().all(|nb| nb.is_multiple_of(16));
    if !weights.iter().all(|(w, _)| dense(w)) {
        return 0;
    }
    let longest = |&(w, blocks): &(&Layout, usize)| {
        let step = if w.dtype.is_quantised() { together } else { 1 } * (32 / stripe_lanes(w));
        w.ne[1].div_ceil(step).div_ceil(warps * blocks) * step * row(w)
    };
    let most = weights.iter().map(longest).max().unwrap_or(0);
    (tunables.get(3) * 1024 / warps).min(most).next_multiple_of(16)
}

/// Whether rows can be taken in pieces by `gemv.cuh`.
pub(in crate::ops) fn in_stripes(w: &Layout) -> Result<(), Reason> {
    let (k, size) = (w.ne[0], w.dtype.block_bytes());
    Reason::unless((1..=8192).contains(&k), || format!("columns of {k} elements"))?;
    // Rows without gaps start at multiples of 16 bytes, as they are read.
    let whole = w.dtype.is_quantised() || k.is_multiple_of(32) && w.nb[..2] == [size, k * size];
    Reason::unless(whole, || format!("rows of {w:?} are apart or not in whole pieces"))
}

/// Lanes that share a row of a stripe: `Gemv::SPAN`.
pub(in crate::ops) fn stripe_lanes(w: &Layout) -> usize {
    let pieces = if w.dtype.is_quantised() { w.ne[0] / 32 } else { w.ne[0] * w.dtype.block_bytes() / 16 };
    pieces.next_power_of_two().clamp(4, 32)
}
