//! Where a kernel finds its elements: a layout and an address.

use crate::{DType, Layout};

/// A strided view of memory that a plan or a test has bound. Copies of it alias.
///
/// Holding one proves nothing; kernels get theirs from [`crate::exec`] or [`crate::check`], which have checked that
/// `ptr .. ptr + layout.span()` is live, and that what one worker writes no other touches between two barriers.
#[derive(Clone, Copy, Debug)]
pub struct TensorPtr {
    /// First element.
    pub ptr: *mut u8,
    /// Shape and strides.
    pub layout: Layout,
}

// SAFETY: a TensorPtr is an address; whoever dereferences it answers for the access (see `Kernel::run`).
unsafe impl Send for TensorPtr {}
// SAFETY: as above.
unsafe impl Sync for TensorPtr {}

impl TensorPtr {
    /// Elements along dimension `d`.
    #[inline(always)]
    pub fn ne(&self, d: usize) -> usize {
        self.layout.ne[d]
    }

    /// Bytes between neighbours along dimension `d`.
    #[inline(always)]
    pub fn nb(&self, d: usize) -> usize {
        self.layout.nb[d]
    }

    /// Address of the element `(0, i1, i2, i3)`.
    ///
    /// # Safety
    /// The index lies inside the layout, and the view is bound to live memory.
    #[inline(always)]
    pub unsafe fn row_ptr(&self, i1: usize, i2: usize, i3: usize) -> *mut u8 {
        let nb = &self.layout.nb;
        // SAFETY: the caller gives an index inside the layout, whose span is live.
        unsafe { self.ptr.add(i1 * nb[1] + i2 * nb[2] + i3 * nb[3]) }
    }

    /// A row of F32 as a slice.
    ///
    /// # Safety
    /// As [`Self::row_ptr`]; the type is F32, rows are contiguous, and nobody writes the row while the slice lives.
    #[inline(always)]
    pub unsafe fn row_f32<'a>(&self, i1: usize, i2: usize, i3: usize) -> &'a [f32] {
        debug_assert!(self.layout.dtype == DType::F32 && self.layout.has_contiguous_rows());
        // SAFETY: by the caller's contract the row is live, F32, contiguous and not written meanwhile.
        unsafe { std::slice::from_raw_parts(self.row_ptr(i1, i2, i3).cast::<f32>(), self.layout.ne[0]) }
    }

    /// A row of F32 as a mutable slice.
    ///
    /// # Safety
    /// As [`Self::row_f32`], and this worker is the only one that touches the row while the slice lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn row_f32_mut<'a>(&self, i1: usize, i2: usize, i3: usize) -> &'a mut [f32] {
        debug_assert!(self.layout.dtype == DType::F32 && self.layout.has_contiguous_rows());
        // SAFETY: by the caller's contract the row is live, F32, contiguous and this worker's own.
        unsafe { std::slice::from_raw_parts_mut(self.row_ptr(i1, i2, i3).cast::<f32>(), self.layout.ne[0]) }
    }

    /// A row's bytes (any type with contiguous rows).
    ///
    /// # Safety
    /// As [`Self::row_ptr`], rows are contiguous, and nobody writes the row while the slice lives.
    #[inline(always)]
    pub unsafe fn row_bytes<'a>(&self, i1: usize, i2: usize, i3: usize) -> &'a [u8] {
        debug_assert!(self.layout.has_contiguous_rows());
        let n = self.layout.ne[0] / self.layout.dtype.block_len() * self.layout.dtype.block_bytes();
        // SAFETY: by the caller's contract the row is live, contiguous and not written meanwhile.
        unsafe { std::slice::from_raw_parts(self.row_ptr(i1, i2, i3), n) }
    }

    /// Byte offset of an element of a type without blocks; [`Layout::offset`] would divide by the block's length.
    #[inline(always)]
    fn plain_offset(&self, i: [usize; 4]) -> usize {
        let nb = &self.layout.nb;
        i[0] * nb[0] + i[1] * nb[1] + i[2] * nb[2] + i[3] * nb[3]
    }

    /// Reads one F32 element at any strides.
    ///
    /// # Safety
    /// As [`Self::row_ptr`]; the type is F32.
    #[inline(always)]
    pub unsafe fn get_f32(&self, i: [usize; 4]) -> f32 {
        // SAFETY: by the caller's contract the element is live and F32.
        unsafe { self.ptr.add(self.plain_offset(i)).cast::<f32>().read() }
    }

    /// Writes one F32 element at any strides.
    ///
    /// # Safety
    /// As [`Self::get_f32`], and this worker is the only one that touches the element.
    #[inline(always)]
    pub unsafe fn set_f32(&self, i: [usize; 4], v: f32) {
        // SAFETY: by the caller's contract the element is live, F32 and this worker's own.
        unsafe { self.ptr.add(self.plain_offset(i)).cast::<f32>().write(v) }
    }

    /// Reads one I32 element at any strides.
    ///
    /// # Safety
    /// As [`Self::row_ptr`]; the type is I32.
    #[inline(always)]
    pub unsafe fn get_i32(&self, i: [usize; 4]) -> i32 {
        // SAFETY: by the caller's contract the element is live and I32.
        unsafe { self.ptr.add(self.plain_offset(i)).cast::<i32>().read() }
    }

    /// Writes one I32 element at any strides.
    ///
    /// # Safety
    /// As [`Self::get_i32`], and this worker is the only one that touches the element.
    #[inline(always)]
    pub unsafe fn set_i32(&self, i: [usize; 4], v: i32) {
        // SAFETY: by the caller's contract the element is live, I32 and this worker's own.
        unsafe { self.ptr.add(self.plain_offset(i)).cast::<i32>().write(v) }
    }
}
