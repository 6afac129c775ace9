//! `delta_gates`: decay and write strength of the delta rule from the projection `ba`.
//!
//! `beta = sigmoid(b)` and `g = a · softplus(a_in + dt)`, where `ba` holds for each key head the b of its value heads
//! and then their a. `ba [2·Hv, T, S]`, `dt [Hv]`, `a [Hv]` (negative, so g ≤ 0) → `g [Hv, T, S]`, `beta [Hv, T, S]`.

mod cuda;
mod fused;
mod reference;
mod separate;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::variant::Instance;
use crate::{Call, DType, Layout, Op, Params, Variant};

/// The definition.
pub struct DeltaGates;

static REFERENCE: Reference = Reference::new(Op::DeltaGates, &DeltaGates);
static VARIANTS: &[&dyn Variant] = &[&cuda::ELEMENTS, &fused::FUSED, &separate::SEPARATE, &REFERENCE];

impl OpDef for DeltaGates {
    fn op(&self) -> Op {
        Op::DeltaGates
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["ba", "dt", "a"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let &Params::Gates { n_k_heads } = params else {
            return Err(ShapeError(format!("parameters are {params:?}")));
        };
        for (l, name) in inputs.iter().zip(self.inputs()) {
            ShapeError::unless(l.dtype == DType::F32, || format!("{name} is {}, not F32", l.dtype))?;
        }
        let [n, t, s, one] = inputs[0].ne;
        ShapeError::unless(one == 1 && n_k_heads > 0 && n.is_multiple_of(2 * n_k_heads), || {
            format!("ba is {:?} for {n_k_heads} key heads", inputs[0].ne)
        })?;
        for (l, name) in inputs.iter().zip(self.inputs()).skip(1) {
            ShapeError::unless(l.ne == [n / 2, 1, 1, 1], || format!("{name} is {:?}, not [{}]", l.ne, n / 2))?;
        }
        Ok(vec![Layout::f32([n / 2, t, s, 1]); 2])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::delta_gates(call) }
    }

    fn cases(&self) -> Vec<Case> {
        [("model's decode", 16, 32, 1, 1), ("one value head to a key head", 3, 3, 4, 2), ("ragged", 5, 75, 3, 2)]
            .into_iter()
            .map(|(name, n_k_heads, hv, t, s)| {
                let inputs = vec![
                    Input { layout: Layout::f32([2 * hv, t, s, 1]), fill: super::Fill::Normal(4.0) },
                    Input::normal([hv, 1, 1, 1]),
                    Input::uniform([hv, 1, 1, 1], -16.0, 0.0),
                ];
                Case::new(name, Params::Gates { n_k_heads }, inputs)
            })
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// Value heads to a key head.
fn ratio(inst: &Instance) -> usize {
    match inst.params {
        Params::Gates { n_k_heads } => inst.inputs[0].ne[0] / (2 * n_k_heads),
        other => unreachable!("`delta_gates` with {other:?}"),
    }
}

/// Where value head `h`'s b lies in a row of `ba`; its a lies `ratio` further.
fn b_index(h: usize, ratio: usize) -> usize {
    h / ratio * 2 * ratio + h % ratio
}
