//! Weight rows times activation columns: the four ways of it that `mul_mat`, `mul_mat_id` and the expert ops share.
//!
//! An op says which rows of which matrix meet which columns and where a product goes; a [`Multiply`] computes the
//! products. The ways that read int8 give the same bits as one another, whatever is taken at a time.

mod columns;
pub(super) mod cuda;
mod dequant;
mod dot;
mod experts;
mod float;
mod gemm;
mod prepared;
mod rows8;
mod share;
pub(super) mod tensor;

pub(super) use columns::{Columns, Places};
pub(super) use dequant::Dequant;
pub(super) use dot::Dot;
pub(super) use experts::{Deal, Experts, Piece, group_once};
pub(super) use gemm::{Gemm, GemmAmx, GemmRows8};
pub(super) use prepared::{PANEL, Prepared, worthwhile};
pub(super) use rows8::Rows8;
pub(super) use share::spans;

use crate::cpu::Isa;
use crate::quant::activation_for;
use crate::variant::{Form, Reason, Tunable};
use crate::{DType, Layout, TensorPtr};
use std::ops::Range;

/// From so many columns on, a tile unpacked once for all of them beats packed rows unpacked for every eight (measured on
/// Zen 3; below, the tile's detour through memory costs more than it saves).
const MANY_COLUMNS: usize = 32;
/// The same with AVX-512, by count of instructions.
const MANY_COLUMNS_512: usize = 8;
/// The same for rows as they lie in the file, unpacked for every eight columns.
const SOME_COLUMNS: usize = 12;

/// One matrix of a weight: rows of `k` elements.
#[derive(Clone, Copy)]
pub(super) struct Weight {
    dtype: DType,
    k: usize,
    ptr: *const u8,
    /// Bytes between neighbours of a row (of a block type: between blocks).
    nb0: usize,
    /// Bytes between rows.
    nb1: usize,
}

impl Weight {
    /// Matrix `(i2, i3)` of a tensor.
    ///
    /// # Safety
    /// The index lies inside the tensor, which stays live and unwritten while the result is used.
    pub unsafe fn of(t: &TensorPtr, i2: usize, i3: usize) -> Weight {
        // SAFETY: by the caller's contract.
        let ptr = unsafe { t.row_ptr(0, i2, i3) }.cast_const();
        Weight { dtype: t.layout.dtype, k: t.ne(0), ptr, nb0: t.nb(0), nb1: t.nb(1) }
    }

    fn contiguous_rows(&self) -> bool {
        self.nb0 == self.dtype.block_bytes() || self.k <= self.dtype.block_len()
    }

    /// Bytes of a row without gaps.
    fn row_bytes(&self) -> usize {
        self.k / self.dtype.block_len() * self.dtype.block_bytes()
    }

    /// The bytes of `n` rows from `first` on.
    ///
    /// # Safety
    /// The rows exist, are contiguous, and if `n` is above 1 they follow one another without gaps; see [`Weight::of`].
    unsafe fn rows<'a>(&self, first: usize, n: usize) -> &'a [u8] {
        debug_assert!(self.contiguous_rows() && (n <= 1 || self.nb1 == self.row_bytes()));
        // SAFETY: by the caller's contract the rows are live and lie side by side.
        unsafe { std::slice::from_raw_parts(self.ptr.add(first * self.nb1), n * self.row_bytes()) }
    }

    /// Widens rows to f32, each `dst` row of `k`.
    ///
    /// # Safety
    /// The rows exist; see [`Weight::of`].
    unsafe fn widen(&self, rows: Range<usize>, dst: &mut [f32]) {
        if self.contiguous_rows() {
            for (row, dst) in rows.zip(dst.chunks_exact_mut(self.k)) {
                // SAFETY: by the caller's contract.
                crate::quant::dequantize_row(self.dtype, unsafe { self.rows(row, 1) }, dst);
            }
            return;
        }
        // Rows of a transposed view lie side by side element by element: they are read across.
        let size = self.dtype.block_bytes();
        for i in 0..self.k {
            for (n, row) in rows.clone().enumerate() {
                let mut element = [0.0];
                // SAFETY: the element lies inside the matrix; only plain types have such strides.
                let bytes = unsafe { std::slice::from_raw_parts(self.ptr.add(row * self.nb1 + i * self.nb0), size) };
                crate::quant::dequantize_row(self.dtype, bytes, &mut element);
                dst[n * self.k + i] = element[0];
            }
        }
    }
}

/// A way to multiply.
pub(super) trait Multiply: Sync + 'static {
    /// Name of the variants that use it.
    const NAME: &'static str;
    /// How it works and when it wins.
    const SUMMARY: &'static str;
    /// Largest relative error of a product.
    const TOLERANCE: f32;
    /// Rows computed together: work is dealt in multiples of it.
    const GROUP: usize;
    /// What a row costs beside its columns, in columns: reading it, and unpacking it.
    const FIXED: usize = 4;
    /// Rows a task.
    const ROWS: Tunable;

    /// Whether this machine has the instructions.
    fn here() -> Result<(), Reason> {
        Ok(())
    }

    /// Whether it takes such a weight.
    fn supports(w: &Layout) -> Result<(), Reason>;

    /// Whether it is the best for a weight whose rows meet about so many columns each.
    fn preferred(w: &Layout, columns: usize) -> bool;

    /// How it wants the weight.
    fn weight_form(_w: &Layout) -> Form {
        Form::AsIs
    }

    /// How it wants the activations.
    fn activation_form(w: &Layout, x: &Layout) -> Form {
        match activation_for(w.dtype) {
            Some(to) => Form::Quantised(to),
            None => super::by_rows::rows_or_cont(x),
        }
    }

    /// The level for whose kernels many columns should be prepared once for all workers, if they should
    /// ([`Columns::with_prepared`]).
    fn prepares(_w: &Layout) -> Option<Isa> {
        None
    }

    /// Bytes of scratch for a worker.
    fn scratch(_w: &Layout) -> usize {
        0
    }

    /// Multiplies rows with the columns of `range` and calls `emit(column, first row, products)` with the products of
    /// consecutive rows; each pair of row and column comes once, in no promised order.
    ///
    /// # Safety
    /// The rows exist; the columns are in the form asked for; the scratch has the size asked for, aligned to 64.
    unsafe fn rows(
        w: &Weight,
        rows: Range<usize>,
        x: &Columns<'_>,
        range: Range<usize>,
        scratch: &mut [u8],
        emit: &mut impl FnMut(usize, usize, &[f32]),
    );
}

/// Whether two weights can be multiplied with activations of one form.
pub(super) fn same_activations(a: &Layout, b: &Layout) -> Result<(), Reason> {
    let same = activation_for(a.dtype) == activation_for(b.dtype);
    Reason::unless(same, || format!("{} and {} take different activations", a.dtype, b.dtype))
}

fn block_type(w: &Layout) -> Result<(), Reason> {
    Reason::unless(activation_for(w.dtype).is_some(), || format!("{} weights have no blocks", w.dtype))
}

/// Scratch as f32.
fn as_f32(scratch: &mut [u8]) -> &mut [f32] {
    debug_assert!(scratch.as_ptr().cast::<f32>().is_aligned());
    // SAFETY: scratch is aligned to 64, every bit pattern is an f32, and the length is rounded down to whole elements.
    unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast::<f32>(), scratch.len() / 4) }
}
