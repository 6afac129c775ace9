//! Strided shapes: what a tensor looks like, apart from where it lies.

use crate::DType;
use std::fmt;

/// Shape and strides of a tensor of up to four dimensions, `ne[0]` fastest by custom (not by rule: any view is legal).
///
/// `nb[i]` is the distance in bytes between neighbours along dimension `i`. For a block type `nb[0]` is the size of a
/// block and `ne[0]` counts weights, so a row of `ne[0]` weights takes `nb[0] * ne[0] / block_len` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Element type.
    pub dtype: DType,
    /// Elements along each dimension.
    pub ne: [usize; 4],
    /// Bytes between neighbours along each dimension.
    pub nb: [usize; 4],
}

impl Layout {
    /// A contiguous tensor. Missing trailing dimensions are 1.
    ///
    /// # Panics
    /// If `ne[0]` is no whole number of blocks: shapes from files are checked where they are read.
    pub fn contiguous(dtype: DType, ne: [usize; 4]) -> Layout {
        let row = dtype.row_bytes(ne[0]).expect("row length is a whole number of blocks");
        let nb1 = row;
        let nb2 = nb1 * ne[1];
        Layout { dtype, ne, nb: [dtype.block_bytes(), nb1, nb2, nb2 * ne[2]] }
    }

    /// A contiguous F32 tensor.
    pub fn f32(ne: [usize; 4]) -> Layout {
        Layout::contiguous(DType::F32, ne)
    }

    /// A contiguous I32 tensor.
    pub fn i32(ne: [usize; 4]) -> Layout {
        Layout::contiguous(DType::I32, ne)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.ne.iter().product()
    }

    /// Number of rows: everything but dimension 0.
    pub fn rows(&self) -> usize {
        self.ne[1] * self.ne[2] * self.ne[3]
    }

    /// Bytes of the elements themselves, without gaps.
    pub fn bytes(&self) -> usize {
        self.dtype.row_bytes(self.ne[0]).unwrap_or(0) * self.rows()
    }

    /// One past the last byte that this layout reaches from its start; 0 if it has no element.
    pub fn span(&self) -> usize {
        if self.elements() == 0 {
            return 0;
        }
        let blocks = self.ne[0] / self.dtype.block_len();
        let far: usize = (blocks - 1) * self.nb[0] + (1..4).map(|d| (self.ne[d] - 1) * self.nb[d]).sum::<usize>();
        far + self.dtype.block_bytes()
    }

    /// True if the elements of each row lie side by side.
    pub fn has_contiguous_rows(&self) -> bool {
        self.nb[0] == self.dtype.block_bytes() || self.ne[0] <= self.dtype.block_len()
    }

    /// True if the elements lie side by side in the order of the dimensions. Strides of dimensions of one are ignored.
    pub fn is_contiguous(&self) -> bool {
        let dense = Layout::contiguous(self.dtype, self.ne);
        self.has_contiguous_rows() && (1..4).all(|d| self.ne[d] == 1 || self.nb[d] == dense.nb[d])
    }

    /// The same elements with dimension `i` of the result being dimension `axes[i]` of this one.
    pub fn permuted(&self, axes: [usize; 4]) -> Layout {
        Layout { dtype: self.dtype, ne: axes.map(|a| self.ne[a]), nb: axes.map(|a| self.nb[a]) }
    }

    /// Byte offset of the element at an index.
    pub fn offset(&self, i: [usize; 4]) -> usize {
        i[0] / self.dtype.block_len() * self.nb[0] + i[1] * self.nb[1] + i[2] * self.nb[2] + i[3] * self.nb[3]
    }

    /// Splits a row number (0 … `rows()`) into the indices of dimensions 1, 2 and 3.
    pub fn row_index(&self, row: usize) -> [usize; 3] {
        let i1 = row % self.ne[1];
        let rest = row / self.ne[1];
        [i1, rest % self.ne[2], rest / self.ne[2]]
    }
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if !self.is_contiguous() {
            write!(f, " strides {:?}", self.nb)?;
        }
        Ok(())
    }
}

impl fmt::Display for Layout {
    /// `F32 [128, 32, 7]`: trailing ones are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = (1..4).rev().find(|&d| self.ne[d] != 1).unwrap_or(0);
        write!(f, "{} {:?}", self.dtype, &self.ne[..=last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguity_ignores_dimensions_of_one() {
        let mut l = Layout::f32([8, 1, 3, 1]);
        l.nb[1] = 999;
        assert!(l.is_contiguous());
        assert!(!l.permuted([2, 1, 0, 3]).is_contiguous());
    }

    #[test]
    fn span_reaches_the_last_element() {
        let l = Layout::contiguous(DType::Q4_K, [512, 3, 1, 1]);
        assert_eq!(l.span(), 2 * 144 * 3);
        assert_eq!(Layout::f32([4, 4, 1, 1]).permuted([1, 0, 2, 3]).span(), 64);
        assert_eq!(Layout::f32([0, 4, 1, 1]).span(), 0);
    }
}
