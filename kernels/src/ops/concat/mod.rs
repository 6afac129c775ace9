//! `concat`: a and b end to end along a dimension. In this model's first port the convolution's state and input went
//! through it element by element (ik_llama.cpp#1266: 7.25 → 10.5 t/s with rows).

mod by_rows;
mod cuda;

use super::by_rows::ByRows;
use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, DType, Layout, Op, Params, Variant};

/// The definition.
pub struct Concat;

static BY_ROWS: ByRows<by_rows::Rows> =
    ByRows::threaded("by_rows", "rows copied whole where they are contiguous, split over the threads");
static PER_ELEMENT: Reference =
    Reference::named(Op::Concat, "per_element", "one thread finds each element's source anew", &Concat);
static REFERENCE: Reference = Reference::new(Op::Concat, &Concat);
static VARIANTS: &[&dyn Variant] = &[&cuda::ELEMENTS, &BY_ROWS, &PER_ELEMENT, &REFERENCE];

impl OpDef for Concat {
    fn op(&self) -> Op {
        Op::Concat
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["a", "b"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let Params::Concat { dim: dim @ 0..4 } = *params else {
            return Err(ShapeError(format!("concat with {params:?}")));
        };
        let (a, b) = (&inputs[0], &inputs[1]);
        let fits = a.dtype == b.dtype && (0..4).all(|d| d == dim || a.ne[d] == b.ne[d]);
        ShapeError::unless(fits, || format!("{a} and {b} do not fit along dimension {dim}"))?;
        ShapeError::unless(matches!(a.dtype, DType::F32 | DType::I32), || format!("cannot join {}", a.dtype))?;
        let mut ne = a.ne;
        ne[dim] += b.ne[dim];
        Ok(vec![Layout::contiguous(a.dtype, ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (a, b, y, dim) = (&call.inputs[0], &call.inputs[1], &call.outputs[0], dim(call));
        for row in 0..y.layout.rows() {
            let [i1, i2, i3] = y.layout.row_index(row);
            for i0 in 0..y.ne(0) {
                let at = [i0, i1, i2, i3];
                let (from, index) = if at[dim] < a.ne(dim) {
                    (a, at)
                } else {
                    let mut index = at;
                    index[dim] -= a.ne(dim);
                    (b, index)
                };
                // SAFETY: the index lies inside y and, less a's length beyond a, inside b; both have four bytes.
                unsafe { y.set_i32(at, from.get_i32(index)) }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |dim: usize, a: [usize; 4], n: usize| {
            let mut b = a;
            b[dim] = n;
            let inputs = vec![Input::normal(a), Input::normal(b)];
            Case::new(format!("{a:?} and {n} along {dim}"), Params::Concat { dim }, inputs)
        };
        vec![
            case(0, [1, 1, 1, 1], 1),
            case(0, [3, 100, 2, 1], 1),
            case(0, [3, 33, 2, 2], 7),
            case(1, [7, 3, 2, 2], 2),
            case(2, [128, 5, 3, 1], 1),
            case(3, [5, 3, 2, 1], 2),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The dimension of a call.
fn dim(call: &Call<'_>) -> usize {
    match call.inst.params {
        Params::Concat { dim } => dim,
        other => unreachable!("`concat` with {other:?}"),
    }
}
