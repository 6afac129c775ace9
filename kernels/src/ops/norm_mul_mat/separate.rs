//! The norm, with the sum if there is one, then each product: steps of their own.

use super::{FIRST, NORM, TOLERANCE, X, params, weights};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Body, Instance, Lowering, Reason, Spec, Variant};
use crate::{Backend, Op, Params};

/// The variant.
pub struct Separate(Spec);

/// `separate`.
pub static SEPARATE: Separate = Separate(Spec {
    op: Op::NormMulMat,
    name: "separate",
    revision: 1,
    backend: Backend::Cpu,
    summary: "add_rms_norm or rms_norm, then a mul_mat for each matrix",
    tunables: &[],
    tolerance: TOLERANCE,
});

impl Variant for Separate {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, _inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Lowering(self)
    }
}

impl Lowering for Separate {
    fn lower(&self, inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
        let (eps, residual) = params(inst);
        let norm = Params::Norm { eps };
        let n = weights(inst).len();
        let (normed, products) = if residual {
            let normed = b.temp(inst.outputs[0]);
            let parts = [inputs[X], inputs[FIRST + n], inputs[NORM]];
            b.node_into("norm", Op::AddRmsNorm, norm, &parts, &[outputs[0], normed]);
            (normed, &outputs[1..])
        } else {
            (b.one("norm", Op::RmsNorm, norm, &inputs[..FIRST]), outputs)
        };
        for (i, (&w, &y)) in inputs[FIRST..FIRST + n].iter().zip(products).enumerate() {
            b.node_into(&format!("w{}", i + 1), Op::MulMat, Params::None, &[w, normed], &[y]);
        }
    }
}
