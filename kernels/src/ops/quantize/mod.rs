//! `quantize`: activations as int8 blocks, for the weights that are multiplied so. The planner puts it before them.

mod blocks;
mod cuda;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::quant::quantize_row;
use crate::{Call, DType, Layout, Op, Params, Variant};
use blocks::Blocks;

/// The definition.
pub struct Quantize;

static REFERENCE: Reference = Reference::new(Op::Quantize, &Quantize);
static THREADED: Blocks = Blocks::threaded();
static SERIAL: Blocks = Blocks::serial();
static VARIANTS: &[&dyn Variant] = &[&cuda::WARP_BLOCK, &THREADED, &SERIAL, &REFERENCE];

impl OpDef for Quantize {
    fn op(&self) -> Op {
        Op::Quantize
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        let &Params::Quantize { to } = params else {
            return Err(ShapeError(format!("{params:?} names no type")));
        };
        let ok = matches!(to, DType::Q8_K | DType::Q8_A) && to.row_bytes(inputs[0].ne[0]).is_some();
        ShapeError::unless(ok, || format!("{} does not become {to}", inputs[0]))?;
        Ok(vec![Layout::contiguous(to, inputs[0].ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for r in 0..x.layout.rows() {
            let [i1, i2, i3] = x.layout.row_index(r);
            // SAFETY: the index lies inside both layouts; the result is contiguous.
            unsafe {
                let row: Vec<f32> = (0..x.ne(0)).map(|i0| x.get_f32([i0, i1, i2, i3])).collect();
                let to = std::slice::from_raw_parts_mut(y.row_ptr(i1, i2, i3), y.nb(1));
                quantize_row(y.layout.dtype, &row, to);
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |to, ne| Case::new(format!("{to} {ne:?}"), Params::Quantize { to }, vec![Input::normal(ne)]);
        vec![
            case(DType::Q8_K, [2048, 1, 1, 1]),
            case(DType::Q8_K, [512, 3, 2, 2]),
            case(DType::Q8_A, [32, 7, 1, 1]),
            case(DType::Q8_A, [1056, 2, 3, 1]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}
