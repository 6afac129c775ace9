//! `transfer`: a storage's bytes from one backend's memory to the other's.
//!
//! The planner puts it between nodes that were placed on different backends; a model's graph has none. It has no
//! outputs: its input is the same storage afterwards, with its bytes on both sides.

use super::{Case, OpDef, ShapeError};
use crate::variant::{Body, Call, Instance, Reason, Spec, Variant};
use crate::{Backend, Cost, Layout, Op, Params};

/// The definition.
pub struct Transfer;

impl OpDef for Transfer {
    fn op(&self) -> Op {
        Op::Transfer
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, params: &Params, _inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless(matches!(params, Params::Transfer { .. }), || "takes a backend".into())?;
        Ok(Vec::new())
    }

    fn cost(&self, inst: &Instance) -> Cost {
        Cost { bytes: inst.inputs.iter().map(|l| l.span() as f64).sum(), flops: 0.0 }
    }

    /// Nothing: where there is one memory, its bytes are there already.
    unsafe fn reference(&self, _call: &Call<'_>) {}

    fn cases(&self) -> Vec<Case> {
        Vec::new()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The only way: the device's own copy, in the order of its stream.
struct Copy(Spec);

static VARIANTS: &[&dyn Variant] = &[&COPY];

static COPY: Copy = Copy(Spec {
    op: Op::Transfer,
    name: "copy",
    revision: 1,
    backend: Backend::Cuda,
    summary: "a copy between host and device, in order with the device's kernels",
    tunables: &[],
    tolerance: 0.0,
});

impl Variant for Copy {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, _inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Transfer
    }
}
