//! `delta_net`: a delta-net layer between its projections.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | qkv | `[C, T, S]` | raw projection, C = 2·Hk·d + Hv·d: q, k, v |
//! | z | `[Hv·d, T, S]` | gate of the output |
//! | ba | `[2·Hv, T, S]` | see [`delta_gates`](super::delta_gates) |
//! | conv_state | `[C, K-1, S]` | updated, see [`ssm_conv`](super::ssm_conv) |
//! | state | `[d, d, Hv, S]` | updated, see [`gated_delta_net`](super::gated_delta_net) |
//! | w_conv | `[K, C]` | |
//! | dt, a | `[Hv]` | |
//! | w_norm | `[d]` | of the gated norm |
//! | o | `[Hv·d, T, S]` | |
//!
//! Convolution and silu; L2 norm of q and k; gates; the delta rule with q scaled by `1/sqrt(d)`; `rms_norm(o) · silu(z)`
//! head by head.

mod cuda;
mod fused;
mod lowered;
pub(super) mod reference;

use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::variant::Instance;
use crate::{Call, Cost, Layout, Op, Params, Variant};

/// The definition.
pub struct DeltaNet;

static REFERENCE: Reference = Reference::new(Op::DeltaNet, &DeltaNet);
static VARIANTS: &[&dyn Variant] = &[&cuda::FUSED, &lowered::LOWERED, &fused::FUSED, &REFERENCE];

/// Numbers of input tensors.
pub(super) const QKV: usize = 0;
pub(super) const Z: usize = 1;
pub(super) const BA: usize = 2;
pub(super) const CONV_STATE: usize = 3;
pub(super) const STATE: usize = 4;
pub(super) const W_CONV: usize = 5;
pub(super) const DT: usize = 6;
pub(super) const A: usize = 7;
pub(super) const W_NORM: usize = 8;

impl OpDef for DeltaNet {
    fn op(&self) -> Op {
        Op::DeltaNet
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["qkv", "z", "ba", "conv_state", "state", "w_conv", "dt", "a", "w_norm"]
    }

    fn updates(&self) -> &'static [usize] {
        &[CONV_STATE, STATE]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        let &Params::DeltaBlock { n_k_heads: hk, head_dim: d, .. } = params else {
            return Err(ShapeError(format!("parameters are {params:?}")));
        };
        let [wide, t, s, _] = inputs[Z].ne;
        let heads_fit = d > 0 && hk > 0 && wide.is_multiple_of(d * hk);
        ShapeError::unless(heads_fit, || format!("z {:?} does not fit {hk} key heads of {d}", inputs[Z].ne))?;
        let (hv, c, taps) = (wide / d, 2 * hk * d + wide, inputs[W_CONV].ne[0]);
        ShapeError::unless(taps > 0, || "w_conv has no taps".into())?;
        for (i, want) in [
            (QKV, [c, t, s, 1]),
            (Z, [wide, t, s, 1]),
            (BA, [2 * hv, t, s, 1]),
            (CONV_STATE, [c, taps - 1, s, 1]),
            (STATE, [d, d, hv, s]),
            (W_CONV, [taps, c, 1, 1]),
            (DT, [hv, 1, 1, 1]),
            (A, [hv, 1, 1, 1]),
            (W_NORM, [d, 1, 1, 1]),
        ] {
            let have = inputs[i].ne;
            ShapeError::unless(have == want, || format!("{} is {have:?}, not {want:?}", self.inputs()[i]))?;
        }
        Ok(vec![Layout::f32([wide, t, s, 1])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let io = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum::<f64>();
        let again = (inst.inputs[STATE].bytes() + inst.inputs[CONV_STATE].bytes()) as f64;
        let delta = 7.0 * (inst.inputs[STATE].elements() * inst.inputs[QKV].ne[1]) as f64;
        let conv = 2.0 * (inst.inputs[W_CONV].ne[0] * inst.inputs[QKV].elements()) as f64;
        Cost { bytes: io + again, flops: delta + conv }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::delta_net(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |name: &str, [d, hk, hv, t, s]: [usize; 5]| {
            let c = 2 * hk * d + hv * d;
            let inputs = vec![
                Input::normal([c, t, s, 1]),
                Input::normal([hv * d, t, s, 1]),
                Input { layout: Layout::f32([2 * hv, t, s, 1]), fill: Fill::Normal(2.0) },
                Input::normal([c, 3, s, 1]),
                Input::normal([d, d, hv, s]),
                Input::normal([4, c, 1, 1]),
                Input::normal([hv, 1, 1, 1]),
                Input::uniform([hv, 1, 1, 1], -4.0, 0.0),
                Input::normal([d, 1, 1, 1]),
            ];
            Case::new(name, Params::DeltaBlock { n_k_heads: hk, head_dim: d, eps: 1e-6 }, inputs)
        };
        vec![
            case("decode, model's head", [128, 1, 2, 1, 1]),
            case("decode, model's heads in two sequences", [128, 4, 8, 1, 2]),
            case("decode, sequences", [16, 2, 4, 1, 3]),
            case("decode, a head that no warp divides", [40, 2, 6, 1, 1]),
            case("prompt, sequences", [16, 2, 2, 9, 2]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// `n_k_heads`, `head_dim` and ε of an instance.
pub(super) fn params(inst: &Instance) -> (usize, usize, f32) {
    match inst.params {
        Params::DeltaBlock { n_k_heads, head_dim, eps } => (n_k_heads, head_dim, eps),
        other => unreachable!("`delta_net` with {other:?}"),
    }
}
