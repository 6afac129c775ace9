//! `scale`: `x * factor`. In this model's first port a state of 548k elements in one row went through it each token.

mod blocked;
mod cuda;
mod reference;
mod rows;
mod serial;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Layout, Op, Params, Variant};

/// The definition.
pub struct Scale;

static REFERENCE: Reference = Reference::new(Op::Scale, &Scale);
static VARIANTS: &[&dyn Variant] = &[&cuda::ELEMENTS, &blocked::BLOCKED, &rows::ROWS, &serial::SERIAL, &REFERENCE];

impl OpDef for Scale {
    fn op(&self) -> Op {
        Op::Scale
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless(inputs[0].dtype == crate::DType::F32, || format!("x is {}, not F32", inputs[0].dtype))?;
        Ok(vec![Layout::f32(inputs[0].ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::scale(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let p = Params::Scale { factor: 0.088_388_35 };
        [[1, 1, 1, 1], [7, 3, 2, 2], [128, 16, 5, 1], [5000, 1, 1, 1], [33, 2, 3, 2]]
            .into_iter()
            .map(|ne| Case::new(format!("{ne:?}"), p, vec![Input::normal(ne)]))
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The factor of a call.
fn factor(call: &Call<'_>) -> f32 {
    match call.inst.params {
        Params::Scale { factor } => factor,
        other => unreachable!("`scale` with {other:?}"),
    }
}
