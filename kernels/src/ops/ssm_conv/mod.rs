//! `ssm_conv`: the causal convolution in front of the delta rule, over a state that holds what came before.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | x | `[C, T, S]` | raw inputs |
//! | state | `[C, K-1, S]` | the last K-1 raw inputs, oldest first; updated |
//! | w | `[K, C]` | tap K-1 meets the current token |
//! | y | `[C, T, S]` | through silu if asked |

mod concat_first;
mod cuda;
mod direct;
mod from_state;
mod fused_silu;
mod reference;
mod stream;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::variant::Instance;
use crate::{Call, Cost, DType, Layout, Op, Params, Variant};

/// The definition.
pub struct SsmConv;

static REFERENCE: Reference = Reference::new(Op::SsmConv, &SsmConv);
static VARIANTS: &[&dyn Variant] = &[
    &cuda::CHANNELS,
    &fused_silu::FUSED_SILU,
    &direct::DIRECT,
    &from_state::FROM_STATE,
    &concat_first::CONCAT_FIRST,
    &REFERENCE,
];

/// Numbers of input tensors.
const X: usize = 0;
const STATE: usize = 1;
const W: usize = 2;

impl OpDef for SsmConv {
    fn op(&self) -> Op {
        Op::SsmConv
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x", "state", "w"]
    }

    fn updates(&self) -> &'static [usize] {
        &[STATE]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless(matches!(params, Params::Conv { .. }), || format!("parameters are {params:?}"))?;
        for (l, name) in inputs.iter().zip(self.inputs()) {
            ShapeError::unless(l.dtype == DType::F32, || format!("{name} is {}, not F32", l.dtype))?;
        }
        let ([c, t, s, one], w) = (inputs[X].ne, inputs[W].ne);
        ShapeError::unless(one == 1 && w[0] > 0 && w == [w[0], c, 1, 1], || {
            format!("w is {w:?} for x {:?}", inputs[X].ne)
        })?;
        let want = [c, w[0] - 1, s, 1];
        ShapeError::unless(inputs[STATE].ne == want, || format!("state is {:?}, not {want:?}", inputs[STATE].ne))?;
        Ok(vec![Layout::f32([c, t, s, 1])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let io = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum::<f64>();
        let flops = 2.0 * (inst.inputs[W].ne[0] * inst.outputs[0].elements()) as f64;
        Cost { bytes: io + inst.inputs[STATE].bytes() as f64, flops }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::ssm_conv(call) }
    }

    fn cases(&self) -> Vec<Case> {
        // Fewer tokens than the state is long, as many, and more.
        let shapes = [[4, 1100, 1, 1], [4, 36, 2, 2], [4, 19, 3, 1], [4, 8, 9, 2], [3, 20, 5, 1]];
        shapes
            .into_iter()
            .flat_map(|[k, c, t, s]| {
                [false, true].map(|silu| {
                    let inputs =
                        vec![Input::normal([c, t, s, 1]), Input::normal([c, k - 1, s, 1]), Input::normal([k, c, 1, 1])];
                    let name = format!("{k} taps, {c} channels, {t} tokens, {s} sequences, silu {silu}");
                    Case::new(name, Params::Conv { silu }, inputs)
                })
            })
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// Whether the result goes through silu.
fn silu(inst: &Instance) -> bool {
    match inst.params {
        Params::Conv { silu } => silu,
        other => unreachable!("`ssm_conv` with {other:?}"),
    }
}
