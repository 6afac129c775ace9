//! The activations of prefill, laid out as the kernels of tiles read them.
//!
//! Chunks of 256 activations follow one another, in each of them the columns: a tile's chunk stays in the first cache
//! level while the columns stream past it, and gathered columns (the tokens of an expert) stream like any others. A
//! panel is packed once and meets many tiles.

use std::ops::Range;

use super::tile::Line;
use super::{activation_for, check_row};
use crate::DType;
use crate::cpu::Isa;

#[cfg(target_arch = "x86_64")]
use super::x86;

/// Activations of a chunk.
pub(super) const CHUNK: usize = 256;

/// Quantised activation columns: rows of a buffer, all of them or those that an index names.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    data: &'a [u8],
    stride: usize,
    index: Option<&'a [u32]>,
}

impl<'a> Columns<'a> {
    /// Every column of a buffer that holds one each `stride` bytes.
    ///
    /// # Panics
    /// If `stride` is zero or the buffer is no whole number of strides.
    pub fn all(data: &'a [u8], stride: usize) -> Columns<'a> {
        assert!(stride > 0 && data.len().is_multiple_of(stride), "the buffer is no whole number of columns");
        Columns { data, stride, index: None }
    }

    /// Column `i` is column `index[i]` of the buffer.
    ///
    /// # Panics
    /// As [`Columns::all`]; an index past the end panics when it is used.
    pub fn gathered(data: &'a [u8], stride: usize, index: &'a [u32]) -> Columns<'a> {
        Columns { index: Some(index), ..Columns::all(data, stride) }
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.index.map_or(self.data.len() / self.stride, <[u32]>::len)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Column `i`.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn get(&self, i: usize) -> &'a [u8] {
        let at = self.index.map_or(i, |index| index[i] as usize);
        &self.data[at * self.stride..(at + 1) * self.stride]
    }
}

/// Packed columns, in a worker's own memory or in some that workers share.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    pub(super) shape: Shape,
    /// What the caller calls its first column.
    first: usize,
    /// Which of its columns are meant: the first of them, and how many.
    pub(super) part: (usize, usize),
    pub(super) lines: &'a [Line],
}

/// What a panel is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The level whose kernels read it.
    pub isa: Isa,
    /// The type of the weights.
    pub weight: DType,
    /// Weights of a row.
    pub n: usize,
    /// Columns.
    pub columns: usize,
}

impl Shape {
    /// Bytes of such a panel.
    ///
    /// # Panics
    /// If `weight` is no block type.
    pub fn bytes(&self) -> usize {
        64 * self.lines()
    }

    /// The type of the activations.
    fn activation(&self) -> DType {
        let Some(activation) = activation_for(self.weight) else { panic!("{} is no block type", self.weight) };
        activation
    }

    /// Lines of a column as it was: that is how scalar kernels take it.
    pub(super) fn raw_lines(&self) -> usize {
        self.activation().row_bytes(self.n).unwrap_or(0).div_ceil(64)
    }

    fn lines(&self) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.isa.avx2().is_some() {
            let spare = if self.isa.amx().is_some() { x86::gemm_amx::SPARE } else { 0 };
            let per_chunk = x86::panel::lines_of(x86::tile::form_of(self.isa, self.weight));
            return (self.n.div_ceil(CHUNK) * self.columns + spare) * per_chunk;
        }
        self.columns * self.raw_lines()
    }

    /// Packs one column of the panel at `to`: number `i` of its columns.
    ///
    /// # Safety
    /// `to` is writable for [`Self::bytes`], aligned to 64, and nobody else touches what belongs to this column.
    ///
    /// # Panics
    /// If the column is no row of so many activations of the type, or not one of the panel's.
    pub unsafe fn pack(&self, i: usize, column: &[u8], to: *mut u8) {
        assert!(i < self.columns, "column {i} of {}", self.columns);
        check_row(self.activation(), column.len(), self.n);
        let to = to.cast::<Line>();
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = self.isa.avx2() {
            let form = x86::tile::form_of(self.isa, self.weight);
            let per_chunk = x86::panel::lines_of(form);
            let bytes = CHUNK / self.activation().block_len() * self.activation().block_bytes();
            for (chunk, blocks) in column.chunks(bytes).enumerate() {
                // SAFETY: by the caller's contract; the lines are inside the panel, as `lines` counts them.
                let to = unsafe {
                    let at = to.add((chunk * self.columns + i) * per_chunk);
                    std::slice::from_raw_parts_mut(at, per_chunk)
                };
                x86::panel::pack_chunk(token, self.weight, form, blocks, to);
            }
            return;
        }
        // SAFETY: by the caller's contract; a column has as many lines as it needs.
        unsafe { std::ptr::copy_nonoverlapping(column.as_ptr(), to.add(i * self.raw_lines()).cast(), column.len()) }
    }
}

impl<'a> Panel<'a> {
    /// The panel at `lines`, whose first column the caller calls `first`.
    ///
    /// # Safety
    /// There are [`Shape::bytes`] initialised bytes, aligned to 64, that nobody writes while the result is used.
    pub unsafe fn of(shape: Shape, first: usize, lines: *const u8) -> Panel<'a> {
        // SAFETY: by the caller's contract.
        let lines = unsafe { std::slice::from_raw_parts(lines.cast::<Line>(), shape.lines()) };
        Panel { shape, first, part: (0, shape.columns), lines }
    }

    /// The same panel, but of its columns only those in `range`.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn part(self, range: Range<usize>) -> Panel<'a> {
        assert!(
            range.start <= range.end && range.end <= self.shape.columns,
            "columns {range:?} of {}",
            self.shape.columns
        );
        Panel { part: (range.start, range.len()), ..self }
    }

    /// Number of columns that are meant.
    pub(super) fn count(&self) -> usize {
        self.part.1
    }

    /// What the caller calls them.
    pub(super) fn names(&self) -> Range<usize> {
        self.first + self.part.0..self.first + self.part.0 + self.part.1
    }
}

/// A worker's own memory for panels, one after the other.
pub struct PanelBuffer {
    isa: Isa,
    lines: Vec<Line>,
}

impl PanelBuffer {
    /// Memory for panels for kernels of this level.
    pub fn new(isa: Isa) -> PanelBuffer {
        PanelBuffer { isa, lines: Vec::new() }
    }

    /// Packs the columns in `range`, of `n` activations each, for weights of type `weight`. Allocates only to grow.
    ///
    /// # Panics
    /// If `weight` is no block type, or a column is no row of `n` activations of its type or does not exist.
    pub fn pack(&mut self, weight: DType, columns: Columns<'_>, range: Range<usize>, n: usize) -> Panel<'_> {
        let shape = Shape { isa: self.isa, weight, n, columns: range.len() };
        assert!(range.end <= columns.len(), "column {} of {}", range.end, columns.len());
        // Stale lines are overwritten, or lie past the end of a last chunk that is not full.
        self.lines.resize(shape.lines(), Line([0; 64]));
        for (i, column) in range.clone().enumerate() {
            // SAFETY: the lines are this buffer's, as many as the shape needs.
            unsafe { shape.pack(i, columns.get(column), self.lines.as_mut_ptr().cast()) };
        }
        Panel { shape, first: range.start, part: (0, shape.columns), lines: &self.lines }
    }
}
