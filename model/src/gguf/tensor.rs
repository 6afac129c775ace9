//! A tensor of a file: name, type, shape and bytes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use deltascope_kernels::DType;

use super::source::Source;

/// A line of the tensor table. It keeps its file mapped, so it can outlive the [`GgufFile`](super::GgufFile).
#[derive(Clone)]
pub struct TensorInfo {
    name: String,
    dtype: DType,
    n_dims: usize,
    ne: [usize; 4],
    source: Arc<Source>,
    range: Range<usize>,
}

impl TensorInfo {
    /// `range` must lie inside `source`, and be as long as shape and type say.
    pub(super) fn new(
        name: &str,
        dtype: DType,
        n_dims: usize,
        ne: [usize; 4],
        source: Arc<Source>,
        range: Range<usize>,
    ) -> TensorInfo {
        TensorInfo { name: name.to_owned(), dtype, n_dims, ne, source, range }
    }

    /// Name, as `blk.3.attn_q.weight`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Element or block type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Elements in each dimension, `ne[0]` the contiguous one; unused dimensions are 1, none is 0.
    pub fn ne(&self) -> [usize; 4] {
        self.ne
    }

    /// The dimensions that the file lists.
    pub fn dims(&self) -> &[usize] {
        &self.ne[..self.n_dims]
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.ne.iter().product()
    }

    /// Bytes of a row of `ne[0]` elements.
    pub fn row_bytes(&self) -> usize {
        self.range.len() / (self.elements() / self.ne[0])
    }

    /// Where the data lies in its file, in bytes.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The data: rows one after another, in memory aligned to the file's alignment (at least 8).
    pub fn data(&self) -> &[u8] {
        &self.source.bytes()[self.range.clone()]
    }
}

impl fmt::Debug for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?} at {:?}", self.name, self.dtype, self.dims(), self.range)
    }
}
