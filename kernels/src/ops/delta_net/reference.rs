//! The whole block, sequence by sequence, in F64.

use super::{A, BA, CONV_STATE, DT, QKV, STATE, W_CONV, W_NORM, Z, params};
use crate::Call;

/// # Safety
/// As [`crate::Kernel::run`], with one worker.
pub unsafe fn delta_net(call: &Call<'_>) {
    for s in 0..call.inputs[QKV].ne(2) {
        // SAFETY: the contract is the same.
        unsafe {
            let u = convolve(call, s);
            shift(call, s);
            heads(call, &u, s);
        }
    }
}

/// The block without its last step: the convolution's state stays as it was.
///
/// # Safety
/// As [`delta_net`].
pub unsafe fn delta_heads(call: &Call<'_>) {
    for s in 0..call.inputs[QKV].ne(2) {
        // SAFETY: the contract is the same.
        unsafe { heads(call, &convolve(call, s), s) }
    }
}

/// # Safety
/// As [`delta_net`].
unsafe fn heads(call: &Call<'_>, u: &[Vec<f64>], s: usize) {
    for h in 0..call.inputs[STATE].ne(2) {
        // SAFETY: the contract is the same.
        unsafe { head(call, u, h, s) }
    }
}

/// An element in F64.
///
/// # Safety
/// The index lies inside the input, which is live.
unsafe fn get(call: &Call<'_>, input: usize, i: [usize; 4]) -> f64 {
    // SAFETY: promised by the caller.
    f64::from(unsafe { call.inputs[input].get_f32(i) })
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// Convolution and silu of a sequence, `[T][C]`.
///
/// # Safety
/// As [`delta_net`].
unsafe fn convolve(call: &Call<'_>, s: usize) -> Vec<Vec<f64>> {
    let [channels, tokens, ..] = call.inputs[QKV].layout.ne;
    let taps = call.inputs[W_CONV].ne(0);
    let mut u = vec![vec![0.0; channels]; tokens];
    for c in 0..channels {
        // SAFETY: indices lie inside the layouts that `infer` checked.
        unsafe {
            let past = (0..taps - 1).map(|k| get(call, CONV_STATE, [c, k, s, 0]));
            let all: Vec<f64> = past.chain((0..tokens).map(|t| get(call, QKV, [c, t, s, 0]))).collect();
            for (t, u) in u.iter_mut().enumerate() {
                u[c] = silu((0..taps).map(|k| get(call, W_CONV, [k, c, 0, 0]) * all[t + k]).sum());
            }
        }
    }
    u
}

/// The convolution's state moves on.
///
/// # Safety
/// As [`delta_net`].
unsafe fn shift(call: &Call<'_>, s: usize) {
    let [channels, tokens, ..] = call.inputs[QKV].layout.ne;
    let past = call.inputs[CONV_STATE].ne(1);
    for c in 0..channels {
        for k in 0..past {
            // SAFETY: indices lie inside the layouts; a column is read before it is written.
            unsafe {
                let from = tokens + k;
                let x = if from < past {
                    get(call, CONV_STATE, [c, from, s, 0])
                } else {
                    get(call, QKV, [c, from - past, s, 0])
                };
                call.inputs[CONV_STATE].set_f32([c, k, s, 0], x as f32);
            }
        }
    }
}

/// Norms, gates, delta rule and gated norm of a value head.
///
/// # Safety
/// As [`delta_net`]; `u` is the convolved sequence.
unsafe fn head(call: &Call<'_>, u: &[Vec<f64>], h: usize, s: usize) {
    let (hk, d, eps) = params(call.inst);
    let ratio = call.inputs[STATE].ne(2) / hk;
    let (key, eps) = (h / ratio, f64::from(eps));
    let unit = |x: &[f64]| {
        let norm = (x.iter().map(|x| x * x).sum::<f64>() + eps).sqrt();
        x.iter().map(|x| x / norm).collect::<Vec<f64>>()
    };
    // SAFETY: here and below indices lie inside the layouts that `infer` checked; one worker touches state and output.
    let at = |input: usize, i: [usize; 4]| unsafe { get(call, input, i) };
    let mut state: Vec<f64> = (0..d * d).map(|n| at(STATE, [n % d, n / d, h, s])).collect();
    for (t, u) in u.iter().enumerate() {
        let (q, k) = (unit(&u[key * d..][..d]), unit(&u[(hk + key) * d..][..d]));
        let v = &u[(2 * hk + h) * d..][..d];
        // A key head's group holds the b of its value heads, then their a.
        let b = key * 2 * ratio + h % ratio;
        let beta = 1.0 / (1.0 + (-at(BA, [b, t, s, 0])).exp());
        let step = (at(BA, [b + ratio, t, s, 0]) + at(DT, [h, 0, 0, 0])).exp().ln_1p();
        let decay = (at(A, [h, 0, 0, 0]) * step).exp();
        state.iter_mut().for_each(|x| *x *= decay);
        let mut o = vec![0.0; d];
        for j in 0..d {
            let recalled: f64 = (0..d).map(|i| state[i * d + j] * k[i]).sum();
            let delta = beta * (v[j] - recalled);
            (0..d).for_each(|i| state[i * d + j] += k[i] * delta);
            o[j] = (0..d).map(|i| state[i * d + j] * q[i]).sum::<f64>() / (d as f64).sqrt();
        }
        let rms = (o.iter().map(|x| x * x).sum::<f64>() / d as f64 + eps).sqrt();
        for (j, o) in o.iter().enumerate() {
            let y = o / rms * at(W_NORM, [j, 0, 0, 0]) * silu(at(Z, [h * d + j, t, s, 0]));
            // SAFETY: as above.
            unsafe { call.outputs[0].set_f32([h * d + j, t, s, 0], y as f32) }
        }
    }
    for (n, &x) in state.iter().enumerate() {
        // SAFETY: as above.
        unsafe { call.inputs[STATE].set_f32([n % d, n / d, h, s], x as f32) }
    }
}
