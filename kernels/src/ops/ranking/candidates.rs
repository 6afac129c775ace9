//! `candidates`: the k largest elements of a row, the largest first, and their indices. Of a vocabulary's logits all that
//! a sampler has to see, if it keeps no more than k tokens.

use super::{candidates_cuda, index, rank_rows, top_k};
use crate::math::Level;
use crate::ops::by_rows::{ByRows, RowOp};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Instance, Layout, Op, Params, Variant};
use std::ops::Range;

/// The definition.
pub struct Candidates;

static PARTIAL: ByRows<Candidates> =
    ByRows::threaded("partial", "keeps the k largest so far in order, rows split over the threads");
static REFERENCE: Reference = Reference::new(Op::Candidates, &Candidates);
static VARIANTS: &[&dyn Variant] = &[&candidates_cuda::SLICES, &PARTIAL, &REFERENCE];

impl OpDef for Candidates {
    fn op(&self) -> Op {
        Op::Candidates
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let ids = top_k::shape(params, inputs)?;
        Ok(vec![ids, Layout::f32(ids.ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, ids, values) = (&call.inputs[0], &call.outputs[0], &call.outputs[1]);
        // SAFETY: the contract is the same.
        unsafe { rank_rows(x, ids) }
        for row in 0..ids.layout.rows() {
            let [i1, i2, i3] = ids.layout.row_index(row);
            for k in 0..ids.ne(0) {
                // SAFETY: the index lies inside both outputs, and what was just written there inside x.
                unsafe {
                    let at = ids.get_i32([k, i1, i2, i3]) as usize;
                    values.set_f32([k, i1, i2, i3], x.get_f32([at, i1, i2, i3]));
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        [(1, [1, 1, 1, 1]), (3, [7, 3, 2, 2]), (1, [2500, 2, 1, 1]), (10, [1024, 1, 1, 1]), (64, [2100, 2, 1, 1])]
            .into_iter()
            .map(|(k, ne)| Case::new(format!("{k} of {ne:?}"), Params::TopK { k }, vec![Input::normal(ne)]))
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

impl RowOp for Candidates {
    const OP: Op = Op::Candidates;
    const TOLERANCE: f32 = 0.0;
    const ANY_STRIDES: bool = true;

    fn scratch(inst: &Instance) -> usize {
        inst.outputs[0].ne[0] * size_of::<u64>()
    }

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, ids, values) = (&call.inputs[0], &call.outputs[0], &call.outputs[1]);
        for row in rows {
            let [i1, i2, i3] = x.layout.row_index(row);
            // SAFETY: x has the row.
            let best = unsafe { top_k::best(x, [i1, i2, i3], ids.ne(0), call.scratch) };
            for (k, &key) in best.iter().enumerate() {
                let at = index(key);
                // SAFETY: the outputs have a row of k for each of x's, this one is this worker's; the key is of x.
                unsafe {
                    ids.set_i32([k, i1, i2, i3], at);
                    values.set_f32([k, i1, i2, i3], x.get_f32([at as usize, i1, i2, i3]));
                }
            }
        }
    }
}
