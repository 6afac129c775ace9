//! `cont`: a copy into a given layout (ggml's `cont`, `cpy` and `dup`). Converts F32 to F16 and back where the output
//! asks for it.
//!
//! The history's worst bug lived here: a copy that took the by-rows path when only `ne[0]` matched, so that a `cont`
//! that also reshaped wrote rows to the wrong place. Here shapes are equal by definition; strides are anything.

mod cuda;
mod reference;
mod serial;
mod threaded;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, DType, Layout, Op, Params, Variant};

/// The definition.
pub struct Cont;

static REFERENCE: Reference = Reference::new(Op::Cont, &Cont);
static VARIANTS: &[&dyn Variant] = &[&cuda::ELEMENTS, &threaded::THREADED, &serial::SERIAL, &REFERENCE];

impl OpDef for Cont {
    fn op(&self) -> Op {
        Op::Cont
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let t = inputs[0].dtype;
        ShapeError::unless(matches!(t, DType::F32 | DType::F16 | DType::I32), || format!("cannot copy {t}"))?;
        Ok(vec![Layout::contiguous(t, inputs[0].ne)])
    }

    fn output_type_ok(&self, inferred: DType, actual: DType) -> bool {
        inferred == actual || matches!((inferred, actual), (DType::F32, DType::F16) | (DType::F16, DType::F32))
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::cont(call) }
    }

    fn cases(&self) -> Vec<Case> {
        [[1, 1, 1, 1], [7, 3, 2, 2], [128, 16, 5, 1], [3, 200, 1, 2], [64, 64, 4, 1]]
            .into_iter()
            .map(|ne| Case::new(format!("{ne:?}"), Params::None, vec![Input::normal(ne)]))
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}
