//! Functions of two elements: `add`, `sub`, `mul`, `div`, and what [`super::gating`] adds. b is repeated to a's shape:
//! each `b.ne[d]` divides `a.ne[d]`. Any strides; in place on a allowed.

mod by_element;
mod by_runs;
pub(super) mod cuda;

pub use by_element::ByElement;
pub use by_runs::ByRuns;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::cuda::CudaVariant;
use crate::math::Level;
use crate::{Call, DType, Layout, Op, Params, Variant};
use std::marker::PhantomData;

/// A function of two elements.
pub trait Function: Sync + 'static {
    /// Its op.
    const OP: Op;
    /// What its inputs are called.
    const INPUTS: &'static [&'static str];
    /// Largest relative error of the vector form.
    const TOLERANCE: f32;

    /// As the definition has it, with the library's functions.
    fn scalar(a: f32, b: f32) -> f32;

    /// Without branches or calls. Mark it `#[inline(always)]`.
    fn vector<L: Level>(a: f32, b: f32) -> f32;

    /// The function of `a` and `b` in CUDA C.
    const CUDA: &'static str;

    /// The registered variants.
    fn variants() -> &'static [&'static dyn Variant];
}

/// The definition of a function's op.
pub struct Binary<F>(PhantomData<F>);

impl<F: Function> Binary<F> {
    /// The definition.
    pub const DEF: Binary<F> = Binary(PhantomData);
}

impl<F: Function> OpDef for Binary<F> {
    fn op(&self) -> Op {
        F::OP
    }

    fn inputs(&self) -> &'static [&'static str] {
        F::INPUTS
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (a, b) = (&inputs[0], &inputs[1]);
        ShapeError::unless(a.dtype == DType::F32 && b.dtype == DType::F32, || format!("{a} and {b} must be F32"))?;
        let repeats = (0..4).all(|d| b.ne[d] > 0 && a.ne[d].is_multiple_of(b.ne[d]));
        ShapeError::unless(repeats, || format!("{b} cannot be repeated to {a}"))?;
        Ok(vec![Layout::f32(a.ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (a, b, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        for row in 0..y.layout.rows() {
            let [i1, i2, i3] = y.layout.row_index(row);
            for i0 in 0..y.ne(0) {
                let at = [i0, i1, i2, i3];
                // SAFETY: the index lies inside a and y, which have one shape, and its remainder inside b.
                unsafe { y.set_f32(at, F::scalar(a.get_f32(at), b.get_f32(repeated(b.layout.ne, at)))) }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        // The divisor's range keeps away from zero.
        let case = |a: [usize; 4], b: [usize; 4]| {
            Case::new(format!("{a:?} {b:?}"), Params::None, vec![Input::normal(a), Input::uniform(b, 0.5, 2.0)])
        };
        vec![
            case([1, 1, 1, 1], [1, 1, 1, 1]),
            case([7, 3, 2, 2], [7, 3, 2, 2]),
            case([7, 3, 2, 2], [7, 1, 1, 1]),
            case([7, 3, 2, 2], [1, 3, 1, 2]),
            case([33, 4, 6, 2], [1, 2, 3, 1]),
            case([6, 4, 2, 1], [3, 2, 1, 1]),
            case([5000, 1, 1, 1], [1, 1, 1, 1]),
            case([5000, 1, 1, 1], [5000, 1, 1, 1]),
            case([128, 16, 5, 1], [1, 16, 5, 1]),
            case([2048, 3, 1, 1], [2048, 1, 1, 1]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        F::variants()
    }
}

/// The index in b, repeated to a's shape, of an index in a.
#[inline(always)]
fn repeated(ne: [usize; 4], at: [usize; 4]) -> [usize; 4] {
    [at[0] % ne[0], at[1] % ne[1], at[2] % ne[2], at[3] % ne[3]]
}

/// `a + b`.
pub struct Add;
/// `a - b`.
pub struct Sub;
/// `a * b`.
pub struct Mul;
/// `a / b`.
pub struct Div;

macro_rules! arithmetic {
    ($($name:ident: $operator:tt, $fast:expr, $naive:ident = $naive_new:expr;)+) => {$(
        impl Function for $name {
            const OP: Op = Op::$name;
            const INPUTS: &'static [&'static str] = &["a", "b"];
            const TOLERANCE: f32 = 0.0;
            const CUDA: &'static str = concat!("((a)", stringify!($operator), "(b))");

            fn scalar(a: f32, b: f32) -> f32 {
                a $operator b
            }

            #[inline(always)]
            fn vector<L: Level>(a: f32, b: f32) -> f32 {
                a $operator b
            }

            fn variants() -> &'static [&'static dyn Variant] {
                static FAST: ByRuns<$name> = $fast;
                static NAIVE: $naive<$name> = $naive_new;
                static REFERENCE: Reference = Reference::new(Op::$name, &Binary::<$name>::DEF);
                static CUDA: CudaVariant = cuda::elements::<$name>();
                static ALL: &[&dyn Variant] = &[&CUDA, &FAST, &NAIVE, &REFERENCE];
                ALL
            }
        }
    )+};
}

arithmetic! {
    Add: +, ByRuns::blocks("threaded"), ByRuns = ByRuns::serial();
    Sub: -, ByRuns::blocks("threaded"), ByRuns = ByRuns::serial();
    Mul: *, ByRuns::rows(), ByElement = ByElement::generic();
    Div: /, ByRuns::blocks("threaded"), ByRuns = ByRuns::serial();
}
