//! `argsort`: the indices of a row's elements, the largest first.

use super::{cuda, index, key, keys, rank_rows};
use crate::math::Level;
use crate::ops::by_rows::{ByRows, RowOp};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Instance, Layout, Op, Params, Variant};
use std::ops::Range;

/// The definition.
pub struct Argsort;

static THREADED: ByRows<Argsort> = ByRows::threaded("threaded", "rows split over the threads");
static SERIAL: ByRows<Argsort> = ByRows::serial();
static REFERENCE: Reference = Reference::new(Op::Argsort, &Argsort);
static VARIANTS: &[&dyn Variant] = &[&cuda::BITONIC, &THREADED, &SERIAL, &REFERENCE];

impl OpDef for Argsort {
    fn op(&self) -> Op {
        Op::Argsort
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        ShapeError::unless(i32::try_from(inputs[0].ne[0]).is_ok(), || format!("rows of {} are too long", inputs[0]))?;
        Ok(vec![Layout::i32(inputs[0].ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { rank_rows(&call.inputs[0], &call.outputs[0]) }
    }

    fn cases(&self) -> Vec<Case> {
        [[1, 1, 1, 1], [7, 3, 2, 2], [512, 3, 1, 1], [33, 4, 2, 1]]
            .into_iter()
            .map(|ne| Case::new(format!("{ne:?}"), Params::None, vec![Input::normal(ne)]))
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

impl RowOp for Argsort {
    const OP: Op = Op::Argsort;
    const TOLERANCE: f32 = 0.0;
    const ANY_STRIDES: bool = true;

    fn scratch(inst: &Instance) -> usize {
        inst.inputs[0].ne[0] * size_of::<u64>()
    }

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let keys = keys(call.scratch, x.ne(0));
        for row in rows {
            let [i1, i2, i3] = x.layout.row_index(row);
            for (i0, k) in keys.iter_mut().enumerate() {
                // SAFETY: the index lies inside x.
                *k = key(unsafe { x.get_f32([i0, i1, i2, i3]) }, i0);
            }
            keys.sort_unstable();
            for (i0, &k) in keys.iter().enumerate() {
                // SAFETY: y has x's shape, and the row is this worker's own.
                unsafe { y.set_i32([i0, i1, i2, i3], index(k)) }
            }
        }
    }
}
