//! The definition in F64.

use super::{b_index, ratio};
use crate::Call;

/// # Safety
/// As [`crate::Kernel::run`], with one worker.
pub unsafe fn delta_gates(call: &Call<'_>) {
    let ratio = ratio(call.inst);
    let (ba, dt, a) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
    let (g, beta) = (&call.outputs[0], &call.outputs[1]);
    let [heads, tokens, sequences, _] = g.layout.ne;
    for s in 0..sequences {
        for t in 0..tokens {
            for h in 0..heads {
                let i = b_index(h, ratio);
                // SAFETY: indices lie inside the layouts that `infer` checked; one worker writes.
                unsafe {
                    let b = f64::from(ba.get_f32([i, t, s, 0]));
                    let x = f64::from(ba.get_f32([i + ratio, t, s, 0])) + f64::from(dt.get_f32([h, 0, 0, 0]));
                    let softplus = if x > 20.0 { x } else { x.exp().ln_1p() };
                    g.set_f32([h, t, s, 0], (f64::from(a.get_f32([h, 0, 0, 0])) * softplus) as f32);
                    beta.set_f32([h, t, s, 0], (1.0 / (1.0 + (-b).exp())) as f32);
                }
            }
        }
    }
}
