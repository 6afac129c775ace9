//! A product of a few rows and a panel of columns in registers.

use crate::math::Lanes;

/// Rows of a tile: with two vectors of columns eight accumulators, what hides the latency of a multiply-add.
pub(super) const ROWS: usize = 4;

/// A matrix whose elements are taken one by one.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    /// Element (0, 0).
    pub ptr: *const f32,
    /// Elements from one row to the next.
    pub row: usize,
    /// Elements from one column to the next.
    pub col: usize,
}

impl Operand {
    /// The matrix from row `i` on.
    ///
    /// # Safety
    /// There is a row `i`.
    #[inline(always)]
    pub unsafe fn rows_from(self, i: usize) -> Operand {
        // SAFETY: promised by the caller.
        Operand { ptr: unsafe { self.ptr.add(i * self.row) }, ..self }
    }
}

/// `acc + a · b`: `R` rows of a, `k` columns; b is a panel of `k` rows, each of `M` vectors, without gaps.
///
/// # Safety
/// The elements are live; the CPU has the features of `V`.
#[inline(always)]
pub(super) unsafe fn multiply<V: Lanes, const R: usize, const M: usize>(
    mut acc: [[V; M]; R],
    a: Operand,
    b: *const f32,
    k: usize,
) -> [[V; M]; R] {
    for l in 0..k {
        // SAFETY: promised by the caller.
        unsafe {
            let mut row = [V::splat(0.0); M];
            for (m, x) in row.iter_mut().enumerate() {
                *x = V::load(b.add((l * M + m) * V::N));
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = V::splat(*a.ptr.add(r * a.row + l * a.col));
                for m in 0..M {
                    acc[m] = x.mul_add(row[m], acc[m]);
                }
            }
        }
    }
    acc
}
