//! Functions of one element: `neg`, `exp`, `sigmoid`, `silu`, `softplus`. Any shape and strides; in place allowed.
//!
//! A function is its scalar and its vector form; the definition and the variants are shared.

pub(super) mod cuda;
mod serial;
mod threaded;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::cuda::CudaVariant;
use crate::math::{self, Level};
use crate::{Call, DType, Layout, Op, Params, TensorPtr, Variant};
use std::marker::PhantomData;

/// A function of one element.
pub trait Function: Sync + 'static {
    /// Its op.
    const OP: Op;
    /// Largest relative error of the vector form.
    const TOLERANCE: f32;

    /// As the definition has it, with the library's functions.
    fn scalar(x: f32) -> f32;

    /// Without branches or calls. Mark it `#[inline(always)]`.
    fn vector<L: Level>(x: f32) -> f32;

    /// The function of `x` in CUDA C.
    const CUDA: &'static str;

    /// The registered variants.
    fn variants() -> &'static [&'static dyn Variant];
}

/// The definition of a function's op.
pub struct Unary<F>(PhantomData<F>);

impl<F: Function> Unary<F> {
    /// The definition.
    pub const DEF: Unary<F> = Unary(PhantomData);
}

impl<F: Function> OpDef for Unary<F> {
    fn op(&self) -> Op {
        F::OP
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x"]
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless(inputs[0].dtype == DType::F32, || format!("x is {}, not F32", inputs[0].dtype))?;
        Ok(vec![Layout::f32(inputs[0].ne)])
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { each_scalar::<F>(&call.inputs[0], &call.outputs[0]) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |ne: [usize; 4], x| Case::new(format!("{ne:?}"), Params::None, vec![x]);
        [[1, 1, 1, 1], [7, 3, 2, 2], [33, 2, 3, 2], [128, 16, 5, 1], [5000, 1, 1, 1]]
            .into_iter()
            .map(|ne| case(ne, Input::normal(ne)))
            .chain([case([601, 3, 1, 1], Input::uniform([601, 3, 1, 1], -30.0, 30.0))])
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        F::variants()
    }
}

/// The definition, element by element.
///
/// # Safety
/// As [`crate::Kernel::run`], with one worker.
unsafe fn each_scalar<F: Function>(x: &TensorPtr, y: &TensorPtr) {
    let (sx, sy) = (x.nb(0), y.nb(0));
    for row in 0..x.layout.rows() {
        let [i1, i2, i3] = x.layout.row_index(row);
        // SAFETY: the row lies inside both layouts, which have one shape.
        unsafe {
            let (src, dst) = (x.row_ptr(i1, i2, i3), y.row_ptr(i1, i2, i3));
            for i in 0..x.ne(0) {
                dst.add(i * sy).cast::<f32>().write(F::scalar(src.add(i * sx).cast::<f32>().read()));
            }
        }
    }
}

macro_rules! functions {
    ($($(#[doc = $doc:literal])+ $name:ident: $tolerance:literal, $scalar:expr, $vector:expr, $cuda:literal;)+) => {$(
        $(#[doc = $doc])+
        pub struct $name;

        impl Function for $name {
            const OP: Op = Op::$name;
            const TOLERANCE: f32 = $tolerance;
            const CUDA: &'static str = $cuda;

            fn scalar(x: f32) -> f32 {
                $scalar(x)
            }

            #[inline(always)]
            fn vector<L: Level>(x: f32) -> f32 {
                $vector(x)
            }

            fn variants() -> &'static [&'static dyn Variant] {
                static THREADED: threaded::Threaded<$name> = threaded::Threaded::new();
                static SERIAL: serial::Serial<$name> = serial::Serial::new();
                static REFERENCE: Reference = Reference::new(Op::$name, &Unary::<$name>::DEF);
                static CUDA: CudaVariant = cuda::elements::<$name>();
                static ALL: &[&dyn Variant] = &[&CUDA, &THREADED, &SERIAL, &REFERENCE];
                ALL
            }
        }
    )+};
}

functions! {
    /// `-x`.
    Neg: 0.0, |x: f32| -x, std::ops::Neg::neg, "-(x)";
    /// `e^x`.
    Exp: 2e-7, f32::exp, math::exp::<L>, "expf(x)";
    /// `1 / (1 + e^-x)`.
    Sigmoid: 3e-7, |x: f32| 1.0 / (1.0 + (-x).exp()), math::sigmoid::<L>, "(1.0f/(1.0f+expf(-(x))))";
    /// `x / (1 + e^-x)`.
    Silu: 3e-7, |x: f32| x / (1.0 + (-x).exp()), math::silu::<L>, "silu(x)";
    /// `ln(1 + e^x)`, and `x` above 20, where the two are one number.
    Softplus: 3e-7, |x: f32| if x > 20.0 { x } else { x.exp().ln_1p() }, math::softplus::<L>, "((x)>20.0f?(x):log1pf(expf(x)))";
}
