//! Products with a gate: `swiglu`, `silu(gate) * up`, and `sigmoid_mul`, `x * sigmoid(gate)`. The second input is
//! repeated to the first one's shape, as in [`super::binary`].

mod separate;

use super::Reference;
use super::binary::{Binary, ByRuns, Function, cuda};
use crate::cuda::CudaVariant;
use crate::math::{self, Level};
use crate::{Op, Variant};

/// `silu(gate) * up`.
pub struct Swiglu;
/// `x * sigmoid(gate)`.
pub struct SigmoidMul;

impl Function for Swiglu {
    const OP: Op = Op::Swiglu;
    const INPUTS: &'static [&'static str] = &["gate", "up"];
    const TOLERANCE: f32 = 3e-7;
    const CUDA: &'static str = "(silu(a)*(b))";

    fn scalar(gate: f32, up: f32) -> f32 {
        gate / (1.0 + (-gate).exp()) * up
    }

    #[inline(always)]
    fn vector<L: Level>(gate: f32, up: f32) -> f32 {
        math::silu::<L>(gate) * up
    }

    fn variants() -> &'static [&'static dyn Variant] {
        static FUSED: ByRuns<Swiglu> = ByRuns::blocks("fused");
        static REFERENCE: Reference = Reference::new(Op::Swiglu, &Binary::<Swiglu>::DEF);
        static CUDA: CudaVariant = cuda::elements::<Swiglu>();
        static ALL: &[&dyn Variant] = &[&CUDA, &FUSED, &separate::SWIGLU, &REFERENCE];
        ALL
    }
}

impl Function for SigmoidMul {
    const OP: Op = Op::SigmoidMul;
    const INPUTS: &'static [&'static str] = &["x", "gate"];
    const TOLERANCE: f32 = 3e-7;
    const CUDA: &'static str = "((a)/(1.0f+expf(-(b))))";

    fn scalar(x: f32, gate: f32) -> f32 {
        x / (1.0 + (-gate).exp())
    }

    #[inline(always)]
    fn vector<L: Level>(x: f32, gate: f32) -> f32 {
        x / (1.0 + math::exp::<L>(-gate))
    }

    fn variants() -> &'static [&'static dyn Variant] {
        static FUSED: ByRuns<SigmoidMul> = ByRuns::blocks("fused");
        static REFERENCE: Reference = Reference::new(Op::SigmoidMul, &Binary::<SigmoidMul>::DEF);
        static CUDA: CudaVariant = cuda::elements::<SigmoidMul>();
        static ALL: &[&dyn Variant] = &[&CUDA, &FUSED, &separate::SIGMOID_MUL, &REFERENCE];
        ALL
    }
}
