//! The definition, pair by pair.

use super::angles::{frequency, turn};
use super::rotation;
use crate::Call;

/// # Safety
/// As [`crate::Kernel::run`].
pub unsafe fn rope(call: &Call<'_>) {
    let (x, pos, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
    let (n_rot, base) = rotation(&call.inst.params);
    let half = n_rot / 2;
    for row in 0..x.layout.rows() {
        let [h, t, s] = x.layout.row_index(row);
        // SAFETY: indices lie inside the layouts, which `infer` made agree.
        unsafe {
            let p = pos.get_i32([t, s, 0, 0]);
            for i in 0..half {
                let (cos, sin) = turn(p, frequency(i, n_rot, base));
                let (a, b) = (x.get_f32([i, h, t, s]), x.get_f32([i + half, h, t, s]));
                y.set_f32([i, h, t, s], a * cos - b * sin);
                y.set_f32([i + half, h, t, s], b * cos + a * sin);
            }
            for i in n_rot..x.ne(0) {
                y.set_f32([i, h, t, s], x.get_f32([i, h, t, s]));
            }
        }
    }
}
