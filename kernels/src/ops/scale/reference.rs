//! The definition, element by element.

use super::factor;
use crate::Call;

/// # Safety
/// As [`crate::Kernel::run`].
pub unsafe fn scale(call: &Call<'_>) {
    let (x, y, f) = (&call.inputs[0], &call.outputs[0], factor(call));
    for row in 0..x.layout.rows() {
        let [i1, i2, i3] = x.layout.row_index(row);
        for i0 in 0..x.ne(0) {
            // SAFETY: the index lies inside both layouts, which have one shape.
            unsafe { y.set_f32([i0, i1, i2, i3], x.get_f32([i0, i1, i2, i3]) * f) }
        }
    }
}
