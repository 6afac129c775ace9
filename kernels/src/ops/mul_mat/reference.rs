//! The definition: dequantised weights, sums in f64.

use crate::quant::dequantize_row;
use crate::{Call, TensorPtr};

/// # Safety
/// As [`crate::Kernel::run`].
pub unsafe fn mul_mat(call: &Call<'_>) {
    let (w, x, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
    let (r2, r3) = (x.ne(2) / w.ne(2), x.ne(3) / w.ne(3));
    for i3 in 0..x.ne(3) {
        for i2 in 0..x.ne(2) {
            for n in 0..w.ne(1) {
                // SAFETY: planes of w are shared by r2 × r3 planes of x, as checked.
                let row = unsafe { weight_row(w, [n, i2 / r2, i3 / r3]) };
                for t in 0..x.ne(1) {
                    let at = |k: usize| [k, t, i2, i3];
                    // SAFETY: the indices lie inside x and y.
                    unsafe { y.set_f32([n, t, i2, i3], dot(&row, |k| x.get_f32(at(k)))) };
                }
            }
        }
    }
}

/// `row . x` in f64.
pub fn dot(row: &[f32], x: impl Fn(usize) -> f32) -> f32 {
    row.iter().enumerate().map(|(k, &w)| f64::from(w) * f64::from(x(k))).sum::<f64>() as f32
}

/// A row of a weight of any type and strides, widened.
///
/// # Safety
/// The index lies inside the tensor, which is live.
pub unsafe fn weight_row(w: &TensorPtr, [i1, i2, i3]: [usize; 3]) -> Vec<f32> {
    let mut row = vec![0.0; w.ne(0)];
    let (len, bytes) = (w.layout.dtype.block_len(), w.layout.dtype.block_bytes());
    for (b, block) in row.chunks_mut(len).enumerate() {
        // SAFETY: the block lies inside the tensor.
        let src = unsafe { std::slice::from_raw_parts(w.ptr.add(w.layout.offset([b * len, i1, i2, i3])), bytes) };
        dequantize_row(w.layout.dtype, src, block);
    }
    row
}
