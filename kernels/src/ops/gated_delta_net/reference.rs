//! The definition, token by token, in F64.

use super::{BETA, G, K, Q, STATE, Shape, V, scale};
use crate::Call;

/// # Safety
/// As [`crate::Kernel::run`], with one worker.
pub unsafe fn gated_delta_net(call: &Call<'_>) {
    let shape = Shape::of(call.inst);
    for s in 0..shape.s {
        for h in 0..shape.hv {
            // SAFETY: the contract is the same.
            unsafe { head(call, shape, h, s) }
        }
    }
}

/// One value head of one sequence.
///
/// # Safety
/// As [`gated_delta_net`].
unsafe fn head(call: &Call<'_>, Shape { d, ratio, t, .. }: Shape, h: usize, s: usize) {
    // SAFETY: indices lie inside the layouts that `infer` checked; one worker touches state and output.
    let get = |input: usize, i: [usize; 4]| f64::from(unsafe { call.inputs[input].get_f32(i) });
    let scale = f64::from(scale(call.inst));
    let mut state: Vec<f64> = (0..d * d).map(|n| get(STATE, [n % d, n / d, h, s])).collect();
    for t in 0..t {
        let q: Vec<f64> = (0..d).map(|i| get(Q, [i, h / ratio, t, s]) * scale).collect();
        let k: Vec<f64> = (0..d).map(|i| get(K, [i, h / ratio, t, s])).collect();
        let (decay, beta) = (get(G, [h, t, s, 0]).exp(), get(BETA, [h, t, s, 0]));
        state.iter_mut().for_each(|x| *x *= decay);
        for j in 0..d {
            let recalled: f64 = (0..d).map(|i| state[i * d + j] * k[i]).sum();
            let delta = beta * (get(V, [j, h, t, s]) - recalled);
            (0..d).for_each(|i| state[i * d + j] += k[i] * delta);
            let o: f64 = (0..d).map(|i| state[i * d + j] * q[i]).sum();
            // SAFETY: as `get`.
            unsafe { call.outputs[0].set_f32([j, h, t, s], o as f32) }
        }
    }
    for (n, &x) in state.iter().enumerate() {
        // SAFETY: as `get`.
        unsafe { call.inputs[STATE].set_f32([n % d, n / d, h, s], x as f32) }
    }
}
