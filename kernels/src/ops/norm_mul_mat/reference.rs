//! The definition: the norm's sum of squares and the products' sums in F64.

use super::{FIRST, NORM, X, params, weights};
use crate::Call;
use crate::ops::mul_mat::{dot, weight_row};

/// # Safety
/// As [`crate::Kernel::run`], with one worker.
pub unsafe fn norm_mul_mat(call: &Call<'_>) {
    let (eps, residual) = params(call.inst);
    let (x, norm, n) = (&call.inputs[X], &call.inputs[NORM], weights(call.inst).len());
    for r in 0..x.layout.rows() {
        let [i1, i2, i3] = x.layout.row_index(r);
        // SAFETY: here and below indices lie inside the layouts that `infer` checked.
        let mut row: Vec<f32> = (0..x.ne(0)).map(|i0| unsafe { x.get_f32([i0, i1, i2, i3]) }).collect();
        if residual {
            for (i0, v) in row.iter_mut().enumerate() {
                // SAFETY: as above.
                unsafe {
                    *v += call.inputs[FIRST + n].get_f32([i0, i1, i2, i3]);
                    call.outputs[0].set_f32([i0, i1, i2, i3], *v);
                }
            }
        }
        let squares: f64 = row.iter().map(|&v| f64::from(v).powi(2)).sum();
        let scale = (1.0 / (squares / x.ne(0) as f64 + f64::from(eps)).sqrt()) as f32;
        for (i0, v) in row.iter_mut().enumerate() {
            // SAFETY: as above.
            *v *= scale * unsafe { norm.get_f32([i0, 0, 0, 0]) };
        }
        for (w, y) in call.inputs[FIRST..FIRST + n].iter().zip(&call.outputs[usize::from(residual)..]) {
            for i in 0..w.ne(1) {
                // SAFETY: as above.
                unsafe { y.set_f32([i, i1, i2, i3], dot(&weight_row(w, [i, 0, 0]), |k| row[k])) };
            }
        }
    }
}
