//! `get_rows`: rows of a table of any type by index, widened to F32: token embeddings, and chosen experts' weights.

mod cuda;
mod rows;

use super::mul_mat::{check_weight, weight_row};
use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};
use rows::Rows;

/// The definition.
pub struct GetRows;

static REFERENCE: Reference = Reference::new(Op::GetRows, &GetRows);
static THREADED: Rows = Rows::threaded();
static SERIAL: Rows = Rows::serial();
static VARIANTS: &[&dyn Variant] = &[&cuda::BLOCK_ROW, &THREADED, &SERIAL, &REFERENCE];

impl OpDef for GetRows {
    fn op(&self) -> Op {
        Op::GetRows
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["table", "ids"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (table, ids) = (&inputs[0], &inputs[1]);
        check_weight(table)?;
        let ok = ids.dtype == DType::I32 && ids.ne[1] == table.ne[2] && table.ne[3] * ids.ne[2] * ids.ne[3] == 1;
        ShapeError::unless(ok, || format!("ids {ids} do not name rows of {table}"))?;
        Ok(vec![Layout::f32([table.ne[0], ids.ne[0], ids.ne[1], 1])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let (table, y) = (&inst.inputs[0], &inst.outputs[0]);
        let read = y.rows() * table.dtype.row_bytes(table.ne[0]).unwrap_or(0);
        Cost { bytes: (read + inst.inputs[1].bytes() + y.bytes()) as f64, flops: y.elements() as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (table, ids, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        for b in 0..ids.ne(1) {
            for i in 0..ids.ne(0) {
                // SAFETY: the index lies inside ids, and the row inside the table.
                let row = unsafe { weight_row(table, [row_of(call, i, b), b, 0]) };
                for (i0, &v) in row.iter().enumerate() {
                    // SAFETY: the index lies inside y.
                    unsafe { y.set_f32([i0, i, b, 0], v) };
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |dtype: DType, table: [usize; 4], ids: [usize; 4]| {
            let ids = Input::i32(ids, Fill::Ids(table[1] as i32));
            Case::new(format!("{dtype} {table:?}"), Params::None, vec![Input::weight(dtype, table), ids])
        };
        vec![
            case(DType::Q4_K, [512, 37, 1, 1], [5, 1, 1, 1]),
            case(DType::Q8_0, [64, 9, 3, 1], [4, 3, 1, 1]),
            case(DType::F16, [33, 9, 1, 1], [1, 1, 1, 1]),
            case(DType::F32, [1, 16, 7, 1], [4, 7, 1, 1]),
            case(DType::F32, [40, 6, 2, 1], [3, 2, 1, 1]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// Row of the table that id `(i, b)` names.
///
/// # Safety
/// The index lies inside ids.
///
/// # Panics
/// If the id is no row of the table: whoever makes ids checks them.
unsafe fn row_of(call: &Call<'_>, i: usize, b: usize) -> usize {
    // SAFETY: by the caller's contract.
    let id = unsafe { call.inputs[1].get_i32([i, b, 0, 0]) };
    let rows = call.inputs[0].ne(1);
    assert!((0..rows as i64).contains(&i64::from(id)), "row {id} of a table of {rows}");
    id as usize
}
