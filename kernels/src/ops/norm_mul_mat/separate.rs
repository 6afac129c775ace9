//! The norm, with the sum if there is one, then each product: steps of their own.

use super::{FIRST, NORM, TOLERANCE, X, params, weights};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Spec, always};
use crate::{Backend, Op, Params};

/// `separate`.
pub static SEPARATE: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::NormMulMat,
        name: "separate",
        revision: 1,
        backend: Backend::Cpu,
        summary: "add_rms_norm or rms_norm, then a mul_mat for each matrix",
        tunables: &[],
        tolerance: TOLERANCE,
    },
    supports: always,
    lower,
};

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
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
