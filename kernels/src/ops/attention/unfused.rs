//! Attention as the graph that it was before one pass over the cache replaced it: all logits, softmax, a transposed copy
//! of V, and the product with it.
//!
//! Weights of cells that a token does not see are 0, and 0 times what those cells hold must be 0: they must be finite, as
//! in a cache that began as zeros.

use super::{K, POS, Q, V};
use crate::graph::{GraphBuilder, ValueId};
use crate::variant::{Instance, LoweringVariant, Spec, always};
use crate::{Backend, Op, Params};

/// `unfused`.
pub static UNFUSED: LoweringVariant = LoweringVariant {
    spec: Spec {
        op: Op::Attention,
        name: "unfused",
        revision: 1,
        backend: Backend::Cpu,
        summary: "mul_mat, softmax, cont of V transposed, mul_mat: every cell of the view, all logits in memory",
        tunables: &[],
        tolerance: 2e-6,
    },
    supports: always,
    lower,
};

/// Heads before tokens and back.
const HEADS_OUT: [usize; 4] = [0, 2, 1, 3];

fn lower(inst: &Instance, inputs: &[ValueId], outputs: &[ValueId], b: &mut GraphBuilder<'_>) {
    let q = b.permute(inputs[Q], HEADS_OUT);
    let logits = b.one("qk", Op::MulMat, Params::None, &[inputs[K], q]);
    // In place: nobody else wants the logits.
    b.node_into("softmax", Op::Softmax, inst.params, &[logits, inputs[POS]], &[logits]);
    let v = b.transpose(inputs[V]);
    let v = b.one("v_transposed", Op::Cont, Params::None, &[v]);
    let out = b.permute(outputs[0], HEADS_OUT);
    b.node_into("weighted", Op::MulMat, Params::None, &[v, logits], &[out]);
}
