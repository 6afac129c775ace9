//! `conv_taps`: the causal convolution over an input that holds its own past (ggml's `ssm_conv`).
//!
//! `xs [T+K-1, C, S]`, time fastest, `w [K, C]` → `y [C, T, S]`: `y[c, t] = Σ_k w[k, c] · xs[t + k, c]`.

mod cuda;
mod reference;
mod serial;
mod threaded;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::variant::Instance;
use crate::{Call, Cost, DType, Layout, Op, Params, Variant};

/// The definition.
pub struct ConvTaps;

static REFERENCE: Reference = Reference::new(Op::ConvTaps, &ConvTaps);
static VARIANTS: &[&dyn Variant] = &[&cuda::ELEMENTS, &threaded::THREADED, &serial::SERIAL, &REFERENCE];

impl OpDef for ConvTaps {
    fn op(&self) -> Op {
        Op::ConvTaps
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["xs", "w"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        for (l, name) in inputs.iter().zip(self.inputs()) {
            ShapeError::unless(l.dtype == DType::F32, || format!("{name} is {}, not F32", l.dtype))?;
        }
        let ([time, c, s, one], w) = (inputs[0].ne, inputs[1].ne);
        ShapeError::unless(w[0] > 0 && w == [w[0], c, 1, 1] && one == 1, || {
            format!("w is {w:?} for xs {:?}", inputs[0].ne)
        })?;
        ShapeError::unless(time >= w[0], || format!("{time} columns do not hold {} taps", w[0]))?;
        Ok(vec![Layout::f32([c, time + 1 - w[0], s, 1])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let bytes = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum();
        Cost { bytes, flops: 2.0 * (inst.inputs[1].ne[0] * inst.outputs[0].elements()) as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::conv_taps(call) }
    }

    fn cases(&self) -> Vec<Case> {
        [[4, 40, 1, 1], [4, 7, 6, 2], [2, 33, 3, 1], [1, 5, 2, 2]]
            .into_iter()
            .map(|[k, c, t, s]| {
                let inputs = vec![Input::normal([t + k - 1, c, s, 1]), Input::normal([k, c, 1, 1])];
                Case::new(format!("{k} taps, {c} channels, {t} tokens, {s} sequences"), Params::None, inputs)
            })
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The convolution of some channels, element by element.
///
/// # Safety
/// As [`crate::Kernel::run`]; no other worker has these channels.
unsafe fn channels(call: &Call<'_>, channels: std::ops::Range<usize>) {
    let (xs, w, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
    for s in 0..y.ne(2) {
        for t in 0..y.ne(1) {
            for c in channels.clone() {
                let mut sum = 0.0;
                for k in 0..w.ne(0) {
                    // SAFETY: indices lie inside the layouts that `infer` checked.
                    unsafe { sum += w.get_f32([k, c, 0, 0]) * xs.get_f32([t + k, c, s, 0]) }
                }
                // SAFETY: as above, and the channel is this worker's own.
                unsafe { y.set_f32([c, t, s, 0], sum) }
            }
        }
    }
}
