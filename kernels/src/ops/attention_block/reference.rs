//! The whole block in F64: all tokens into the caches, then each looks at what it sees.

use super::{GATE, K, K_CACHE, POS, Q, V, V_CACHE, W_K_NORM, W_Q_NORM, constants};
use crate::ops::attention::seen;
use crate::ops::rope::angles::{frequency, turn};
use crate::ops::set_rows::cell;
use crate::{Call, DType, TensorPtr};
use half::f16;

/// # Safety
/// As [`crate::Kernel::run`], with one worker.
pub unsafe fn attention_block(call: &Call<'_>) {
    let [_, heads, tokens, sequences] = call.inputs[Q].layout.ne;
    for s in 0..sequences {
        // SAFETY: the contract is the same; indices lie inside the layouts that `infer` checked.
        unsafe {
            for t in 0..tokens {
                (0..call.inputs[K].ne(1)).for_each(|h| store(call, h, t, s));
            }
            for t in 0..tokens {
                (0..heads).for_each(|h| head(call, h, t, s));
            }
        }
    }
}

/// Norm and rotation of a row of q or k.
///
/// # Safety
/// As [`attention_block`]; the row exists.
unsafe fn turned(call: &Call<'_>, (x, w): (usize, usize), [h, t, s]: [usize; 3]) -> Vec<f64> {
    let (c, d) = (constants(call.inst), call.inputs[x].ne(0));
    // SAFETY: by the caller's contract; weights have an element for each of a row, `pos` one for each token.
    let (row, w, pos): (Vec<f64>, Vec<f64>, i32) = unsafe {
        (
            (0..d).map(|i| f64::from(call.inputs[x].get_f32([i, h, t, s]))).collect(),
            (0..d).map(|i| f64::from(call.inputs[w].get_f32([i, 0, 0, 0]))).collect(),
            call.inputs[POS].get_i32([t, s, 0, 0]),
        )
    };
    let rms = (row.iter().map(|x| x * x).sum::<f64>() / d as f64 + f64::from(c.eps)).sqrt();
    let mut y: Vec<f64> = row.iter().zip(&w).map(|(x, w)| x / rms * w).collect();
    for i in 0..c.n_rot / 2 {
        let (cos, sin) = turn(pos, frequency(i, c.n_rot, c.base));
        let (cos, sin, a, b) = (f64::from(cos), f64::from(sin), y[i], y[i + c.n_rot / 2]);
        y[i] = a * cos - b * sin;
        y[i + c.n_rot / 2] = b * cos + a * sin;
    }
    y
}

/// A token's key and value into the caches, if they have its cell.
///
/// # Safety
/// As [`attention_block`].
unsafe fn store(call: &Call<'_>, h: usize, t: usize, s: usize) {
    // SAFETY: as in `turned`; the cell is one of the caches'.
    unsafe {
        let Some(c) = cell(call.inputs[POS].get_i32([t, s, 0, 0]), call.inputs[K_CACHE].ne(1)) else { return };
        for (i, k) in turned(call, (K, W_K_NORM), [h, t, s]).into_iter().enumerate() {
            write(&call.inputs[K_CACHE], [i, c, h, s], k as f32);
            write(&call.inputs[V_CACHE], [i, c, h, s], call.inputs[V].get_f32([i, h, t, s]));
        }
    }
}

/// Attention and gate of a query head.
///
/// # Safety
/// As [`attention_block`].
unsafe fn head(call: &Call<'_>, h: usize, t: usize, s: usize) {
    let (c, kv) = (constants(call.inst), h / (call.inputs[Q].ne(1) / call.inputs[K].ne(1)));
    // SAFETY: as in `turned`; cells below `n_kv` are the caches'.
    unsafe {
        let q = turned(call, (Q, W_Q_NORM), [h, t, s]);
        let cells = seen(call.inputs[POS].get_i32([t, s, 0, 0]), c.n_kv);
        let logit = |n: usize| {
            let dot: f64 = q.iter().enumerate().map(|(i, q)| q * read(&call.inputs[K_CACHE], [i, n, kv, s])).sum();
            dot * f64::from(c.scale)
        };
        let logits: Vec<f64> = (0..cells).map(logit).collect();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = logits.iter().map(|l| (l - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for i in 0..q.len() {
            let o: f64 = weights.iter().enumerate().map(|(n, w)| w * read(&call.inputs[V_CACHE], [i, n, kv, s])).sum();
            let gate = f64::from(call.inputs[GATE].get_f32([i, h, t, s]));
            let y = if cells == 0 { 0.0 } else { o / sum / (1.0 + (-gate).exp()) };
            call.outputs[0].set_f32([i, h, t, s], y as f32);
        }
    }
}

/// An element of a cache.
///
/// # Safety
/// As [`TensorPtr::row_ptr`].
unsafe fn read(x: &TensorPtr, i: [usize; 4]) -> f64 {
    // SAFETY: the caller gives an index inside the layout.
    unsafe {
        match x.layout.dtype {
            DType::F16 => x.ptr.add(x.layout.offset(i)).cast::<f16>().read().to_f64(),
            _ => f64::from(x.get_f32(i)),
        }
    }
}

/// The same, written.
///
/// # Safety
/// As [`TensorPtr::row_ptr`], and nobody else has the element.
unsafe fn write(x: &TensorPtr, i: [usize; 4], v: f32) {
    // SAFETY: the caller gives an index inside the layout.
    unsafe {
        match x.layout.dtype {
            DType::F16 => x.ptr.add(x.layout.offset(i)).cast::<f16>().write(f16::from_f32(v)),
            _ => x.set_f32(i, v),
        }
    }
}
