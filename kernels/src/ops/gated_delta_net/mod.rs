//! `gated_delta_net`: the gated delta rule (Yang, Kautz, Hatamizadeh: Gated Delta Networks, 2024).
//!
//! Each value head holds a matrix S of `d` keys × `d` values. A token with decay g, write strength β, key k, value v
//! and query q does
//!
//! ```text
//! S ← e^g S;  δ = β (v - Sᵀk);  S ← S + k δᵀ;  o = Sᵀ(scale · q)
//! ```
//!
//! | tensor | shape | |
//! |---|---|---|
//! | q, k | `[d, Hk, T, S]` | L2-normalised; value head h uses key head `h / (Hv/Hk)` |
//! | v | `[d, Hv, T, S]` | |
//! | g, beta | `[Hv, T, S]` | β after the sigmoid |
//! | state | `[d, d, Hv, S]` | value fastest, then key; updated in place |
//! | o | `[d, Hv, T, S]` | |
//!
//! Value columns of a state are independent of one another given k and q: that is how kernels split a head.

mod chunked;
mod columns;
mod cuda;
mod fused_inplace;
mod fused_recurrent;
mod lowered_chunked;
mod lowered_recurrent;
mod panels;
mod reference;
pub(super) mod sweep;
pub(super) mod token;
mod tokens;

use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::variant::{Instance, Reason};
use crate::{Call, Cost, DType, Layout, Op, Params, Variant};

/// The definition.
pub struct GatedDeltaNet;

static REFERENCE: Reference = Reference::new(Op::GatedDeltaNet, &GatedDeltaNet);
static VARIANTS: &[&dyn Variant] = &[
    &tokens::TOKENS,
    &columns::COLUMN_LANES,
    &cuda::REGISTERS,
    &fused_inplace::FUSED_INPLACE,
    &chunked::CHUNKED,
    &fused_recurrent::FUSED_RECURRENT,
    &lowered_chunked::LOWERED_CHUNKED,
    &lowered_recurrent::LOWERED_RECURRENT,
    &REFERENCE,
];

/// Numbers of input tensors.
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const G: usize = 3;
const BETA: usize = 4;
const STATE: usize = 5;

impl OpDef for GatedDeltaNet {
    fn op(&self) -> Op {
        Op::GatedDeltaNet
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["q", "k", "v", "g", "beta", "state"]
    }

    fn updates(&self) -> &'static [usize] {
        &[STATE]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless(matches!(params, Params::DeltaNet { .. }), || format!("parameters are {params:?}"))?;
        for (l, name) in inputs.iter().zip(self.inputs()) {
            ShapeError::unless(l.dtype == DType::F32, || format!("{name} is {}, not F32", l.dtype))?;
        }
        let [d, hk, t, s] = inputs[Q].ne;
        let hv = inputs[V].ne[1];
        ShapeError::unless(hk > 0 && hv.is_multiple_of(hk), || format!("{hv} value heads for {hk} key heads"))?;
        for (i, want) in
            [(K, [d, hk, t, s]), (V, [d, hv, t, s]), (G, [hv, t, s, 1]), (BETA, [hv, t, s, 1]), (STATE, [d, d, hv, s])]
        {
            let have = inputs[i].ne;
            ShapeError::unless(have == want, || format!("{} is {have:?}, not {want:?}", self.inputs()[i]))?;
        }
        Ok(vec![Layout::f32([d, hv, t, s])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let io = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum::<f64>();
        let shape = Shape::of(inst);
        // Decay 1, Sᵀk 2, k δᵀ 2, Sᵀq 2 operations for each element of the state and token.
        let flops = 7.0 * inst.inputs[STATE].elements() as f64 * shape.t as f64;
        Cost { bytes: io + inst.inputs[STATE].bytes() as f64, flops }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::gated_delta_net(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |name: &str, [d, hk, hv, t, s]: [usize; 5], g: f32| {
            // Keys and queries of about unit length, as the L2 norm leaves them.
            let unit = Fill::Normal(1.0 / (d as f32).sqrt());
            let qk = Input { layout: Layout::f32([d, hk, t, s]), fill: unit };
            let inputs = vec![
                qk.clone(),
                qk,
                Input::normal([d, hv, t, s]),
                Input::uniform([hv, t, s, 1], g, 0.0),
                Input::uniform([hv, t, s, 1], 0.0, 1.0),
                Input::normal([d, d, hv, s]),
            ];
            Case::new(name, Params::DeltaNet { scale: 1.0 / (d as f32).sqrt() }, inputs)
        };
        vec![
            case("decode, model's head", [128, 1, 2, 1, 1], -1.5),
            case("prompt, model's head", [128, 1, 2, 35, 2], -1.5),
            case("decode, sequences", [16, 2, 4, 1, 3], -1.5),
            case("odd head size", [12, 1, 2, 3, 2], -1.5),
            case("few tokens, sequences", [48, 1, 3, 5, 2], -1.5),
            case("two chunks and a rest", [32, 1, 2, 37, 1], -0.3),
            case("strong decay: the state fades below what F32 can hold", [16, 1, 1, 40, 1], -60.0),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The dimensions of an instance.
#[derive(Clone, Copy)]
struct Shape {
    /// Width of a head.
    d: usize,
    /// Value heads.
    hv: usize,
    /// Value heads to a key head.
    ratio: usize,
    /// Tokens.
    t: usize,
    /// Sequences.
    s: usize,
}

impl Shape {
    fn of(inst: &Instance) -> Shape {
        let [d, hk, t, s] = inst.inputs[Q].ne;
        let hv = inst.inputs[V].ne[1];
        Shape { d, hv, ratio: hv / hk.max(1), t, s }
    }
}

/// The factor on q.
fn scale(inst: &Instance) -> f32 {
    match inst.params {
        Params::DeltaNet { scale } => scale,
        other => unreachable!("`gated_delta_net` with {other:?}"),
    }
}

/// What the vector kernels ask for: whole vectors of the widest level, side by side.
fn vectors(inst: &Instance) -> Result<(), Reason> {
    let d = inst.inputs[Q].ne[0];
    Reason::unless(d.is_multiple_of(16), || format!("the head size {d} is no multiple of 16"))?;
    for (i, name) in [(Q, "q"), (K, "k"), (V, "v"), (STATE, "state")] {
        Reason::unless(inst.inputs[i].has_contiguous_rows(), || format!("rows of {name} must be contiguous"))?;
    }
    Reason::unless(inst.outputs[0].has_contiguous_rows(), || "rows of o must be contiguous".into())
}
