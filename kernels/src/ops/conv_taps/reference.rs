//! The definition, summed in F64.

use crate::Call;

/// # Safety
/// As [`crate::Kernel::run`], with one worker.
pub unsafe fn conv_taps(call: &Call<'_>) {
    let (xs, w, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
    let [channels, tokens, sequences, _] = y.layout.ne;
    for s in 0..sequences {
        for c in 0..channels {
            for t in 0..tokens {
                // SAFETY: indices lie inside the layouts that `infer` checked; one worker writes.
                unsafe {
                    let tap = |k| f64::from(w.get_f32([k, c, 0, 0])) * f64::from(xs.get_f32([t + k, c, s, 0]));
                    y.set_f32([c, t, s, 0], (0..w.ne(0)).map(tap).sum::<f64>() as f32);
                }
            }
        }
    }
}
