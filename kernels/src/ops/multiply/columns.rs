//! Where activation columns lie, and where products go.

use super::Prepared;
use crate::TensorPtr;
use crate::quant;

/// Rows of a tensor numbered along dimensions 1 and 2, or those that an index names.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Places<'a> {
    base: *mut u8,
    inner: usize,
    nb: [usize; 2],
    count: usize,
    index: Option<&'a [u32]>,
}

impl<'a> Places<'a> {
    /// The rows of planes `first .. first + planes` at `i3`.
    ///
    /// # Safety
    /// The planes exist, and their memory is live while the result is used.
    pub unsafe fn planes(t: &TensorPtr, first: usize, planes: usize, i3: usize) -> Places<'a> {
        let inner = t.ne(1).max(1);
        // SAFETY: by the caller's contract.
        let base = unsafe { t.row_ptr(0, first, i3) };
        Places { base, inner, nb: [t.nb(1), t.nb(2)], count: t.ne(1) * planes, index: None }
    }

    /// Place `n` is number `index[n]` of these.
    pub fn indexed(self, index: &'a [u32]) -> Places<'a> {
        Places { index: Some(index), ..self }
    }

    /// Address of place `n`.
    ///
    /// # Safety
    /// It exists.
    #[inline(always)]
    pub unsafe fn at(&self, n: usize) -> *mut u8 {
        let n = self.index.map_or(n, |index| index[n] as usize);
        debug_assert!(n < self.count);
        let (i, o) = if n < self.inner { (n, 0) } else { (n % self.inner, n / self.inner) };
        // SAFETY: by the caller's contract.
        unsafe { self.base.add(i * self.nb[0] + o * self.nb[1]) }
    }
}

/// Activation columns: rows of a tensor, each without gaps.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Columns<'a> {
    places: Places<'a>,
    bytes: usize,
    /// The rows follow one another without gaps.
    dense: bool,
    prepared: Option<Prepared>,
}

impl<'a> Columns<'a> {
    /// The rows of planes `first .. first + planes` of `x` at `i3`.
    ///
    /// # Safety
    /// As [`Places::planes`], and nobody writes them meanwhile.
    pub unsafe fn planes(x: &TensorPtr, first: usize, planes: usize, i3: usize) -> Columns<'a> {
        debug_assert!(x.layout.has_contiguous_rows());
        let bytes = x.layout.dtype.row_bytes(x.ne(0)).unwrap_or(0);
        // SAFETY: by the caller's contract.
        let places = unsafe { Places::planes(x, first, planes, i3) };
        Columns { places, bytes, dense: x.layout.is_contiguous(), prepared: None }
    }

    /// Column `n` is number `index[n]` of these.
    pub fn indexed(self, index: &'a [u32]) -> Columns<'a> {
        Columns { places: self.places.indexed(index), prepared: None, ..self }
    }

    /// These columns, which are also there as tiles take them.
    ///
    /// # Safety
    /// All of them were packed, for the level that multiplies them, and nobody writes them while the result is used.
    pub unsafe fn with_prepared(self, prepared: Prepared) -> Columns<'a> {
        Columns { prepared: Some(prepared), ..self }
    }

    /// As tiles take them, if they were prepared.
    pub fn prepared(&self) -> Option<Prepared> {
        self.prepared
    }

    /// The bytes of column `n`.
    ///
    /// # Safety
    /// The column exists.
    #[inline(always)]
    pub unsafe fn bytes(&self, n: usize) -> &'a [u8] {
        // SAFETY: by the caller's contract and that of `planes`.
        unsafe { std::slice::from_raw_parts(self.places.at(n), self.bytes) }
    }

    /// Column `n` as F32.
    ///
    /// # Safety
    /// As [`Self::bytes`]; the columns are F32.
    #[inline(always)]
    pub unsafe fn f32(&self, n: usize) -> &'a [f32] {
        // SAFETY: by the caller's contract and that of `planes`; tensors of F32 are aligned as such.
        unsafe { std::slice::from_raw_parts(self.places.at(n).cast::<f32>(), self.bytes / 4) }
    }

    /// As tiles take them.
    ///
    /// # Safety
    /// The columns are quantised, so the planner made them without gaps.
    pub unsafe fn quantised(&self) -> quant::Columns<'a> {
        debug_assert!(self.dense);
        // SAFETY: `count` rows of `bytes` each lie side by side from the base on, by the contract of `planes`.
        let data = unsafe { std::slice::from_raw_parts(self.places.base, self.places.count * self.bytes) };
        match self.places.index {
            None => quant::Columns::all(data, self.bytes),
            Some(index) => quant::Columns::gathered(data, self.bytes, index),
        }
    }
}
