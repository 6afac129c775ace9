//! The definition, channel by channel, in F64.

use super::{STATE, W, X, silu};
use crate::Call;

/// # Safety
/// As [`crate::Kernel::run`], with one worker.
pub unsafe fn ssm_conv(call: &Call<'_>) {
    let [channels, tokens, sequences, _] = call.inputs[X].layout.ne;
    let taps = call.inputs[W].ne(0);
    // SAFETY: indices lie inside the layouts that `infer` checked; one worker touches state and output.
    let get = |input: usize, i: [usize; 4]| f64::from(unsafe { call.inputs[input].get_f32(i) });
    for s in 0..sequences {
        for c in 0..channels {
            let past = (0..taps - 1).map(|k| get(STATE, [c, k, s, 0]));
            let all: Vec<f64> = past.chain((0..tokens).map(|t| get(X, [c, t, s, 0]))).collect();
            for t in 0..tokens {
                let u: f64 = (0..taps).map(|k| get(W, [k, c, 0, 0]) * all[t + k]).sum();
                let y = if silu(call.inst) { u / (1.0 + (-u).exp()) } else { u };
                // SAFETY: as `get`.
                unsafe { call.outputs[0].set_f32([c, t, s, 0], y as f32) }
            }
            for k in 0..taps - 1 {
                // SAFETY: as `get`.
                unsafe { call.inputs[STATE].set_f32([c, k, s, 0], all[tokens + k] as f32) }
            }
        }
    }
}
