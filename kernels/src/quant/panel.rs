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

    fn get(&self, i: usize) -> &'a [u8] {
        let at = self.index.map_or(i, |index| index[i] as usize);
        &self.data[at * self.stride..(at + 1) * self.stride]
    }
}

/// Packed columns.
pub struct Panel {
    pub(super) isa: Isa,
    /// The type of the weights that it was packed for.
    pub(super) weight: DType,
    pub(super) n: usize,
    /// Which columns it holds.
    pub(super) range: Range<usize>,
    /// For the vector kernels: as `x86::panel` lays them out.
    pub(super) lines: Vec<Line>,
    /// For the scalar kernels: the columns as they were.
    pub(super) raw: Vec<u8>,
}

impl Panel {
    /// An empty panel for kernels of this level.
    pub fn new(isa: Isa) -> Panel {
        Panel { isa, weight: DType::Q8_0, n: 0, range: 0..0, lines: Vec::new(), raw: Vec::new() }
    }

    /// Fills the panel with the columns in `range`, of `n` activations each, for weights of type `weight`. Allocates only
    /// if it grows.
    ///
    /// # Panics
    /// If `weight` is no block type, or a column is no row of `n` activations of its type or does not exist.
    pub fn pack(&mut self, weight: DType, columns: Columns<'_>, range: Range<usize>, n: usize) {
        let Some(activation) = activation_for(weight) else { panic!("{weight} is no block type") };
        check_row(activation, columns.stride, n);
        assert!(range.end <= columns.len(), "column {} of {}", range.end, columns.len());
        (self.weight, self.n, self.range) = (weight, n, range.clone());
        self.raw.clear();
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = self.isa.avx2() {
            let form = x86::tile::form_of(self.isa, weight);
            let (count, per_chunk) = (range.len(), x86::panel::lines_of(form));
            let bytes = CHUNK / activation.block_len() * activation.block_bytes();
            // Stale lines are overwritten, or lie past the end of a last chunk that is not full.
            let spare = if self.isa.amx().is_some() { x86::gemm_amx::SPARE } else { 0 };
            self.lines.resize((n.div_ceil(CHUNK) * count + spare) * per_chunk, Line([0; 64]));
            for (i, column) in range.enumerate() {
                for (chunk, blocks) in columns.get(column).chunks(bytes).enumerate() {
                    let to = &mut self.lines[(chunk * count + i) * per_chunk..][..per_chunk];
                    x86::panel::pack_chunk(token, weight, form, blocks, to);
                }
            }
            return;
        }
        range.for_each(|column| self.raw.extend_from_slice(columns.get(column)));
    }
}
