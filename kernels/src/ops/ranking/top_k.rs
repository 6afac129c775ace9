//! `top_k`: the indices of a row's k largest elements, the largest first.

use super::{cuda, index, key, keys, lowered, rank_rows};
use crate::math::Level;
use crate::ops::by_rows::{ByRows, RowOp};
use crate::ops::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Instance, Layout, Op, Params, TensorPtr, Variant};
use std::ops::Range;

/// The definition.
pub struct TopK;

static PARTIAL: ByRows<TopK> =
    ByRows::threaded("partial", "keeps the k largest so far in order, rows split over the threads");
static REFERENCE: Reference = Reference::new(Op::TopK, &TopK);
static VARIANTS: &[&dyn Variant] = &[&cuda::ROUNDS, &PARTIAL, &lowered::ARGSORT, &REFERENCE];

impl OpDef for TopK {
    fn op(&self) -> Op {
        Op::TopK
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        Ok(vec![shape(params, inputs)?])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { rank_rows(&call.inputs[0], &call.outputs[0]) }
    }

    fn cases(&self) -> Vec<Case> {
        [(1, [1, 1, 1, 1]), (3, [7, 3, 2, 2]), (10, [512, 5, 1, 1]), (4, [16, 9, 1, 1]), (33, [33, 2, 1, 1])]
            .into_iter()
            .map(|(k, ne)| Case::new(format!("{k} of {ne:?}"), Params::TopK { k }, vec![Input::normal(ne)]))
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

impl RowOp for TopK {
    const OP: Op = Op::TopK;
    const TOLERANCE: f32 = 0.0;
    const ANY_STRIDES: bool = true;

    fn scratch(inst: &Instance) -> usize {
        inst.outputs[0].ne[0] * size_of::<u64>()
    }

    #[inline(always)]
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        for row in rows {
            let [i1, i2, i3] = x.layout.row_index(row);
            // SAFETY: x has the row.
            let best = unsafe { best(x, [i1, i2, i3], y.ne(0), call.scratch) };
            for (i0, &k) in best.iter().enumerate() {
                // SAFETY: y has a row of k for each of x's, and the row is this worker's own.
                unsafe { y.set_i32([i0, i1, i2, i3], index(k)) }
            }
        }
    }
}

/// The indices of the k first of each row.
pub(super) fn shape(params: &Params, inputs: &[Layout]) -> Result<Layout, ShapeError> {
    let Params::TopK { k } = *params else {
        return Err(ShapeError(format!("ranking with {params:?}")));
    };
    ShapeError::unless_f32(inputs)?;
    let [n, n1, n2, n3] = inputs[0].ne;
    ShapeError::unless((1..=n).contains(&k), || format!("there are no {k} largest of {n}"))?;
    ShapeError::unless(i32::try_from(n).is_ok(), || format!("rows of {} are too long", inputs[0]))?;
    Ok(Layout::i32([k, n1, n2, n3]))
}

/// Keys of the k first elements of a row, in order; `scratch` holds them.
///
/// # Safety
/// The row exists, is live F32 and nobody writes it meanwhile.
#[inline(always)]
pub(in crate::ops) unsafe fn best<'s>(
    x: &TensorPtr,
    [i1, i2, i3]: [usize; 3],
    k: usize,
    scratch: &'s mut [u8],
) -> &'s [u64] {
    let best = keys(scratch, k);
    best.fill(u64::MAX);
    for i0 in 0..x.ne(0) {
        // SAFETY: the index lies inside x.
        insert(best, key(unsafe { x.get_f32([i0, i1, i2, i3]) }, i0));
    }
    best
}

/// Puts a key in its place among the best, if it belongs there; the last one falls out.
#[inline(always)]
fn insert(best: &mut [u64], key: u64) {
    let mut i = best.len() - 1;
    if key >= best[i] {
        return;
    }
    while i > 0 && key < best[i - 1] {
        best[i] = best[i - 1];
        i -= 1;
    }
    best[i] = key;
}
