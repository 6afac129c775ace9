//! What the products on tensor cores share: the source, and the halves that activations become.

use crate::cuda::TENSOR;
use crate::ops::multiply::cuda::BLOCKS;
use crate::{DType, Layout};

/// Sources before the kernel's own.
pub(in crate::ops) const TILES: [&str; 3] = [BLOCKS, TENSOR, include_str!("tensor.cuh")];

/// Rows of weights and threads of a thread block.
pub(in crate::ops) const ROWS: usize = 128;

/// From so many columns on, tiles beat rows that are read anew for every few columns.
pub(in crate::ops) const MANY: usize = 9;

/// Error bound: halves with sums in single precision; for F32 two halves each, and the sums of tensor cores.
pub(in crate::ops) const TOLERANCE: f32 = crate::variant::HALF_PRODUCTS;

/// Elements of a row of halves.
pub(in crate::ops) fn padded(k: usize) -> usize {
    k.next_multiple_of(32)
}

/// Bytes of `rows` rows of activations as halves for this weight, with their factors.
pub(in crate::ops) fn halves(w: &Layout, rows: usize) -> usize {
    let parts = if w.dtype == DType::F32 { 2 } else { 1 };
    (rows * (padded(w.ne[0]) * parts * size_of::<u16>() + size_of::<f32>())).next_multiple_of(64)
}
