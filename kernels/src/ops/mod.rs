//! The ops: one folder each. `mod.rs` there defines the op (inputs, outputs, bounds, test cases), `reference.rs` is the
//! readable scalar truth, and every other file is a variant.
//!
//! To add a variant: write its file, and name its static in the op's `VARIANTS`. The list in the workbench, its tests
//! (`deltascope check` and the suite run over all registered variants), its tuning space and its docs follow from that.

mod by_rows;
mod copy;
mod def;
mod multiply;
mod reference;
mod row_warps;
mod runs;

pub use def::{Case, Fill, Input, OpDef, ShapeError};
pub use reference::Reference;

use crate::{Backend, Op, Variant};
use std::sync::OnceLock;

/// Every op: one line each.
static DEFS: &[&dyn OpDef] = &[
    &attention::Attention,
    &attention_block::AttentionBlock,
    &binary::Binary::<binary::Add>::DEF,
    &binary::Binary::<binary::Div>::DEF,
    &binary::Binary::<binary::Mul>::DEF,
    &binary::Binary::<binary::Sub>::DEF,
    &binary::Binary::<gating::SigmoidMul>::DEF,
    &binary::Binary::<gating::Swiglu>::DEF,
    &concat::Concat,
    &cont::Cont,
    &conv_shift::ConvShift,
    &conv_taps::ConvTaps,
    &cumsum::Cumsum,
    &delta_gates::DeltaGates,
    &delta_heads::DeltaHeads,
    &delta_net::DeltaNet,
    &gated_delta_net::GatedDeltaNet,
    &get_rows::GetRows,
    &moe::MoeDown,
    &moe::MoeFfn,
    &moe::MoeRouter,
    &moe::MoeTopk,
    &moe::MoeUpGate,
    &mul_mat::MulMat,
    &mul_mat_id::MulMatId,
    &norm_mul_mat::NormMulMat,
    &norms::AddRmsNorm,
    &norms::GatedNorm,
    &norms::L2Norm,
    &norms::RmsNorm,
    &quantize::Quantize,
    &ranking::Argsort,
    &ranking::Candidates,
    &ranking::TopK,
    &repeat::Repeat,
    &rope::Rope,
    &scale::Scale,
    &set_rows::SetRows,
    &softmax::Softmax,
    &solve_tri::SolveTri,
    &ssm_conv::SsmConv,
    &sum_rows::SumRows,
    &tri::Tri,
    &unary::Unary::<unary::Exp>::DEF,
    &unary::Unary::<unary::Neg>::DEF,
    &unary::Unary::<unary::Sigmoid>::DEF,
    &unary::Unary::<unary::Silu>::DEF,
    &unary::Unary::<unary::Softplus>::DEF,
];

/// What only the planner puts into a plan: nothing that a model's graph has, or that is checked or tuned by itself.
static PLANNED: &[&dyn OpDef] = &[&transfer::Transfer];

/// The definition of an op.
///
/// # Panics
/// If the op is missing from the lists above, which a test rules out.
pub fn def(op: Op) -> &'static dyn OpDef {
    static BY_OP: OnceLock<Vec<Option<&'static dyn OpDef>>> = OnceLock::new();
    let find = |&o: &Op| DEFS.iter().chain(PLANNED).copied().find(|d| d.op() == o);
    let all = BY_OP.get_or_init(|| Op::ALL.iter().map(find).collect());
    all[op as usize].unwrap_or_else(|| panic!("{op} is not registered"))
}

/// Every op of models' graphs and of lowerings.
pub fn all() -> impl Iterator<Item = Op> {
    DEFS.iter().map(|d| d.op())
}

/// An op's variants on all backends, in order of preference: the first that supports an instance is its default.
pub fn variants(op: Op) -> &'static [&'static dyn Variant] {
    def(op).variants()
}

/// A variant by name: a kernel of the backend, or a lowering.
pub fn variant(op: Op, backend: Backend, name: &str) -> Option<&'static dyn Variant> {
    variants(op).iter().copied().find(|v| v.serves(backend) && v.spec().name == name)
}

pub mod attention;
pub mod attention_block;
pub mod binary;
pub mod concat;
pub mod cont;
pub mod conv_shift;
pub mod conv_taps;
pub mod cumsum;
pub mod delta_gates;
pub mod delta_heads;
pub mod delta_net;
pub mod gated_delta_net;
pub mod gating;
pub mod get_rows;
pub mod moe;
pub mod mul_mat;
pub mod mul_mat_id;
pub mod norm_mul_mat;
pub mod norms;
pub mod quantize;
pub mod ranking;
pub mod repeat;
pub mod rope;
pub mod scale;
pub mod set_rows;
pub mod softmax;
pub mod solve_tri;
pub mod ssm_conv;
pub mod sum_rows;
pub mod transfer;
pub mod tri;
pub mod unary;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::suite;
    use std::collections::HashSet;

    /// Every variant of every op against its reference: cases × strides × aliasing × tunables × threads.
    #[test]
    fn every_variant_passes_its_ops_suite() {
        let mut failures = Vec::new();
        for op in all() {
            for v in variants(op).iter().filter(|v| v.spec().backend == Backend::Cpu && v.here().is_ok()) {
                let report = suite(*v, &[1, 2, 3, 5], 7);
                assert!(report.runs > 0, "{op} {}: nothing ran: {:?}", v.spec().name, report.declined);
                failures.extend(report.failures.iter().take(3).map(|f| format!("{op} {}: {f:?}", v.spec().name)));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    /// The worked example in ARCHITECTURE.md is code that is compiled and tested here.
    #[test]
    fn the_architecture_page_shows_the_variant_as_it_is() {
        let page = include_str!("../../../ARCHITECTURE.md");
        assert!(page.contains(include_str!("scale/serial.rs")), "ARCHITECTURE.md shows another scale/serial.rs");
        let line = include_str!("scale/mod.rs").lines().find(|l| l.starts_with("static VARIANTS")).unwrap();
        assert!(page.contains(line), "ARCHITECTURE.md registers it otherwise: {line}");
    }

    #[test]
    fn names_are_unique_and_every_op_has_its_reference() {
        for op in all() {
            let mut names = HashSet::new();
            for v in variants(op) {
                assert_eq!(v.spec().op, op);
                for backend in [Backend::Cpu, Backend::Cuda].into_iter().filter(|&b| v.serves(b)) {
                    assert!(names.insert((backend, v.spec().name)), "{op}: two variants {}", v.spec().name);
                }
                assert!(v.spec().revision > 0);
            }
            assert!(names.contains(&(Backend::Cpu, "reference")), "{op} has no reference");
        }
    }
}
