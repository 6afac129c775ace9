//! The definition in F64: logits, softmax, weighted sum.

use super::{K, POS, Q, V, scale, seen};
use crate::{Call, DType, TensorPtr};
use half::f16;

/// # Safety
/// As [`crate::Kernel::run`].
pub unsafe fn attention(call: &Call<'_>) {
    let (q, k, v, pos) = (&call.inputs[Q], &call.inputs[K], &call.inputs[V], &call.inputs[POS]);
    let y = &call.outputs[0];
    let group = q.ne(1) / k.ne(2);
    let mut logits = Vec::new();
    for row in 0..q.layout.rows() {
        let [h, t, s] = q.layout.row_index(row);
        // SAFETY: every index lies inside its layout, as `infer` made shapes agree, and cells lie below `ne[1]`.
        unsafe {
            let cells = seen(pos.get_i32([t, s, 0, 0]), k.ne(1));
            logits.clear();
            for c in 0..cells {
                let dot: f64 =
                    (0..q.ne(0)).map(|i| f64::from(q.get_f32([i, h, t, s])) * element(k, [i, c, h / group, s])).sum();
                logits.push(dot * f64::from(scale(&call.inst.params)));
            }
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = logits.iter().map(|l| (l - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for i in 0..q.ne(0) {
                let o: f64 = weights.iter().enumerate().map(|(c, w)| w * element(v, [i, c, h / group, s])).sum();
                y.set_f32([i, h, t, s], if cells == 0 { 0.0 } else { (o / sum) as f32 });
            }
        }
    }
}

/// An element of a cache.
///
/// # Safety
/// As [`TensorPtr::row_ptr`].
unsafe fn element(x: &TensorPtr, i: [usize; 4]) -> f64 {
    // SAFETY: the caller gives an index inside the layout.
    unsafe {
        match x.layout.dtype {
            DType::F16 => x.ptr.add(x.layout.offset(i)).cast::<f16>().read().to_f64(),
            _ => f64::from(x.get_f32(i)),
        }
    }
}
