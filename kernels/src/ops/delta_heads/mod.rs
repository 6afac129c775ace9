//! `delta_heads`: a delta-net layer between its projections, head by head, with the inputs and the result of
//! [`super::delta_net`]. The convolution's state is read and left as it was ([`super::conv_shift`]
//! moves it on): heads share the channels of their key head, so none can know when the others have read them.

mod fused;

use super::delta_net::{self, DeltaNet, STATE};
use super::{Case, OpDef, Reference, ShapeError};
use crate::variant::{Instance, Reason};
use crate::{Call, Cost, Layout, Op, Params, Variant};

/// The definition.
pub struct DeltaHeads;

static REFERENCE: Reference = Reference::new(Op::DeltaHeads, &DeltaHeads);
static VARIANTS: &[&dyn Variant] = &[&fused::FUSED, &REFERENCE];

impl OpDef for DeltaHeads {
    fn op(&self) -> Op {
        Op::DeltaHeads
    }

    fn inputs(&self) -> &'static [&'static str] {
        DeltaNet.inputs()
    }

    fn updates(&self) -> &'static [usize] {
        &[STATE]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        DeltaNet.infer(params, inputs)
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let all = DeltaNet.cost(inst);
        Cost { bytes: all.bytes - inst.inputs[delta_net::CONV_STATE].bytes() as f64, ..all }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { delta_net::reference::delta_heads(call) }
    }

    fn cases(&self) -> Vec<Case> {
        DeltaNet.cases()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// What `fused` asks of an instance, which `delta_net`'s variant on top of it asks too.
pub(super) fn by_head(inst: &Instance) -> Result<(), Reason> {
    fused::supports(inst)
}
