//! `softmax` of `scale * x` along dimension 0. Causal: x is `[n_kv, T, H, S]`, `pos` `[T, S]`, and cells beyond a token's
//! position have weight 0. A row that sees no cell is all zeros.

mod cuda;
mod rows;

use super::by_rows::ByRows;
use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::{Call, DType, Layout, Op, Params, Variant};

/// The definition.
pub struct Softmax;

static THREADED: ByRows<rows::Rows> = ByRows::threaded("threaded", "rows split over the threads, in vectors");
static SERIAL: ByRows<rows::Rows> = ByRows::serial();
static REFERENCE: Reference = Reference::new(Op::Softmax, &Softmax);
static VARIANTS: &[&dyn Variant] = &[&cuda::BLOCK_ROW, &THREADED, &SERIAL, &REFERENCE];

impl OpDef for Softmax {
    fn op(&self) -> Op {
        Op::Softmax
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x", "pos?"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let x = &inputs[0];
        ShapeError::unless_f32(&inputs[..1])?;
        let Params::Softmax { causal, .. } = *params else {
            return Err(ShapeError(format!("softmax with {params:?}")));
        };
        ShapeError::unless(causal == (inputs.len() == 2), || {
            "positions belong to a causal softmax and only to it".into()
        })?;
        if let Some(pos) = inputs.get(1) {
            let fits = pos.dtype == DType::I32 && pos.ne == [x.ne[1], x.ne[3], 1, 1];
            ShapeError::unless(fits, || format!("pos {pos} does not fit x {x}"))?;
        }
        Ok(vec![Layout::f32(x.ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, y, scale) = (&call.inputs[0], &call.outputs[0], scale(call));
        for row in 0..x.layout.rows() {
            let [i1, i2, i3] = x.layout.row_index(row);
            // SAFETY: the indices lie inside both layouts, which have one shape.
            unsafe {
                let n = visible(call, [i1, i2, i3]);
                let logit = |i0| x.get_f32([i0, i1, i2, i3]) * scale;
                let top = (0..n).map(logit).fold(f32::NEG_INFINITY, f32::max);
                let sum: f64 = (0..n).map(|i0| f64::from((logit(i0) - top).exp())).sum();
                for i0 in 0..x.ne(0) {
                    let v = if i0 < n { (f64::from((logit(i0) - top).exp()) / sum) as f32 } else { 0.0 };
                    y.set_f32([i0, i1, i2, i3], v);
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let plain = Params::Softmax { scale: 1.0, causal: false };
        let causal = Params::Softmax { scale: 0.0625, causal: true };
        let over = |ne: [usize; 4]| Case::new(format!("{ne:?}"), plain, vec![Input::uniform(ne, -20.0, 20.0)]);
        let masked = |ne: [usize; 4], top| {
            let pos = Input::i32([ne[1], ne[3], 1, 1], Fill::Positions(top));
            Case::new(format!("causal {ne:?}"), causal, vec![Input::uniform(ne, -100.0, 100.0), pos])
        };
        vec![
            over([1, 1, 1, 1]),
            over([7, 3, 2, 2]),
            over([512, 5, 1, 1]),
            masked([40, 7, 3, 2], 40),
            masked([256, 1, 16, 1], 256),
            // Positions beyond the cells there are: all are seen.
            masked([20, 3, 2, 2], 1000),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The factor of a call.
fn scale(call: &Call<'_>) -> f32 {
    match call.inst.params {
        Params::Softmax { scale, .. } => scale,
        other => unreachable!("`softmax` with {other:?}"),
    }
}

/// How many cells row `(t, head, s)` sees.
///
/// # Safety
/// As [`crate::Kernel::run`]; the index lies inside x.
unsafe fn visible(call: &Call<'_>, [t, _, s]: [usize; 3]) -> usize {
    let n = call.inputs[0].ne(0);
    call.inputs.get(1).map_or(n, |pos| {
        // SAFETY: `pos` has a position for each token and sequence (`infer`).
        let last = unsafe { pos.get_i32([t, s, 0, 0]) };
        usize::try_from(i64::from(last) + 1).map_or(0, |seen| seen.min(n))
    })
}
