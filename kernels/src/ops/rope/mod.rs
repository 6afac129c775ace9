//! `rope`: rotary position embedding, NEOX pairs. Dimensions `i` and `i + n_rot/2` turn together by
//! `pos · base^(-2i/n_rot)`; dimensions from `n_rot` on pass.

pub(super) mod angles;
mod cuda;
mod reference;
mod serial;
mod threaded;

use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};

/// The definition.
pub struct Rope;

static REFERENCE: Reference = Reference::new(Op::Rope, &Rope);
static VARIANTS: &[&dyn Variant] = &[&cuda::PAIRS_OF_ROW, &threaded::THREADED, &serial::SERIAL, &REFERENCE];

impl OpDef for Rope {
    fn op(&self) -> Op {
        Op::Rope
    }

    /// `x` [head, heads, tokens, sequences], `pos` [tokens, sequences].
    fn inputs(&self) -> &'static [&'static str] {
        &["x", "pos"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let [x, pos] = [inputs[0], inputs[1]];
        let Params::Rope { n_rot, .. } = *params else {
            return Err(ShapeError(format!("wants `Params::Rope`, not {params:?}")));
        };
        ShapeError::unless(x.dtype == DType::F32 && pos.dtype == DType::I32, || {
            format!("x is {} and pos {}, not F32 and I32", x.dtype, pos.dtype)
        })?;
        ShapeError::unless(n_rot.is_multiple_of(2) && n_rot <= x.ne[0], || {
            format!("turns {n_rot} of {} dimensions: not an even part of them", x.ne[0])
        })?;
        ShapeError::unless(pos.ne == [x.ne[2], x.ne[3], 1, 1], || format!("pos is {pos} for the tokens of {x}"))?;
        Ok(vec![Layout::f32(x.ne)])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let (x, n_rot) = (&inst.inputs[0], rotation(&inst.params).0);
        let bytes = 2 * x.bytes() + inst.inputs[1].bytes();
        Cost { bytes: bytes as f64, flops: (3 * n_rot * x.rows()) as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::rope(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |name: &str, n_rot, ne: [usize; 4], top| {
            let pos = Input::i32([ne[2], ne[3], 1, 1], Fill::Positions(top));
            Case::new(name, Params::Rope { n_rot, base: 1e7 }, vec![Input::normal(ne), pos])
        };
        vec![
            case("decode, the model's head", 64, [256, 16, 1, 1], 262_144),
            case("prefill of two sequences", 64, [256, 2, 37, 2], 4096),
            case("all dimensions turn", 8, [8, 3, 5, 2], 100),
            case("an odd head", 6, [11, 1, 4, 1], 100),
            case("nothing turns", 0, [5, 2, 3, 1], 100),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// Dimensions that turn, and the base.
fn rotation(params: &Params) -> (usize, f32) {
    match *params {
        Params::Rope { n_rot, base } => (n_rot, base),
        other => unreachable!("`rope` with {other:?}"),
    }
}
