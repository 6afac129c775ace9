//! What an op's definition says, and the inputs that its tests use.

use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};

/// An input of the wrong shape, count or type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(pub String);

impl ShapeError {
    /// `Err` unless `ok`.
    pub fn unless(ok: bool, why: impl FnOnce() -> String) -> Result<(), ShapeError> {
        if ok { Ok(()) } else { Err(ShapeError(why())) }
    }

    /// `Err` unless these inputs are F32.
    pub fn unless_f32(inputs: &[Layout]) -> Result<(), ShapeError> {
        match inputs.iter().position(|l| l.dtype != DType::F32) {
            None => Ok(()),
            Some(i) => Err(ShapeError(format!("input {i} is {}, not F32", inputs[i].dtype))),
        }
    }
}

/// The definition of an op.
pub trait OpDef: Sync {
    /// Which op.
    fn op(&self) -> Op;

    /// Names of the inputs, in order. Those that end in `?` may be left out, from the end.
    fn inputs(&self) -> &'static [&'static str];

    /// Inputs that the op also writes: states and caches.
    fn updates(&self) -> &'static [usize] {
        &[]
    }

    /// Whether a part of its lowerings, by its name inside the node, stays where the rest of the model runs if the node is
    /// placed elsewhere: to be done at the same time as the others, or to bring them together.
    fn stays(&self, _part: &str) -> bool {
        false
    }

    /// Pairs (output, input) that may be the same memory: the op reads each element before it writes it.
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[]
    }

    /// Layouts of the outputs, contiguous, for these inputs.
    ///
    /// # Errors
    /// If an input has the wrong shape or type.
    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError>;

    /// Whether inputs and outputs fit the op. Outputs may have any strides but must have the inferred shape and type.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self, inst: &Instance) -> Result<(), ShapeError> {
        let names = self.inputs();
        let least = names.iter().filter(|n| !n.ends_with('?')).count();
        ShapeError::unless((least..=names.len()).contains(&inst.inputs.len()), || {
            format!("takes {names:?}, not {} inputs", inst.inputs.len())
        })?;
        let want = self.infer(&inst.params, &inst.inputs)?;
        ShapeError::unless(want.len() == inst.outputs.len(), || {
            format!("has {} outputs, not {}", want.len(), inst.outputs.len())
        })?;
        for (w, o) in want.iter().zip(&inst.outputs) {
            ShapeError::unless(w.ne == o.ne && self.output_type_ok(w.dtype, o.dtype), || {
                format!("output is {o}, not {w}")
            })?;
        }
        Ok(())
    }

    /// Whether an output may have another type than the inferred one (`cont` converts).
    fn output_type_ok(&self, inferred: DType, actual: DType) -> bool {
        inferred == actual
    }

    /// What must be moved and done at least. Unless an op says more: all bytes of inputs and outputs once, one
    /// operation an output element.
    fn cost(&self, inst: &Instance) -> Cost {
        let io = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum::<f64>();
        let again = self.updates().iter().filter_map(|&i| inst.inputs.get(i)).map(|l| l.bytes() as f64).sum::<f64>();
        Cost { bytes: io + again, flops: inst.outputs.iter().map(|l| l.elements() as f64).sum() }
    }

    /// Computes the op with one worker, in scalar code that reads like its definition, for any strides.
    ///
    /// # Safety
    /// As [`crate::Kernel::run`], with `nth` 1.
    unsafe fn reference(&self, call: &Call<'_>);

    /// Instances that every variant is tested on: small and odd shapes, batch dimensions above one, the model's own
    /// head sizes. [`crate::check`] adds strides, threads and aliasing.
    fn cases(&self) -> Vec<Case>;

    /// The registered variants, preferred ones first.
    fn variants(&self) -> &'static [&'static dyn Variant];
}

/// An instance with a recipe for its inputs.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// Constants.
    pub params: Params,
    /// Inputs, contiguous.
    pub inputs: Vec<Input>,
}

impl Case {
    /// A case.
    pub fn new(name: impl Into<String>, params: Params, inputs: Vec<Input>) -> Case {
        Case { name: name.into(), params, inputs }
    }
}

/// An input of a test case.
#[derive(Clone, Debug)]
pub struct Input {
    /// Shape and type.
    pub layout: Layout,
    /// What to put in.
    pub fill: Fill,
}

/// How a test input is filled, from a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Normal with this deviation. Block types are quantised from it.
    Normal(f32),
    /// Uniform in a range.
    Uniform(f32, f32),
    /// I32 in `0 .. n`.
    Ids(i32),
    /// I32 in `0 .. n`, distinct along `ne[0]`.
    DistinctIds(i32),
    /// I32 rising along `ne[0]` from a random start such that all stay below this bound.
    Positions(i32),
}

impl Input {
    /// Normal F32.
    pub fn normal(ne: [usize; 4]) -> Input {
        Input { layout: Layout::f32(ne), fill: Fill::Normal(1.0) }
    }

    /// F32 in a range.
    pub fn uniform(ne: [usize; 4], lo: f32, hi: f32) -> Input {
        Input { layout: Layout::f32(ne), fill: Fill::Uniform(lo, hi) }
    }

    /// A weight of any type, normal with deviation 0.1.
    pub fn weight(dtype: DType, ne: [usize; 4]) -> Input {
        Input { layout: Layout::contiguous(dtype, ne), fill: Fill::Normal(0.1) }
    }

    /// Any I32 fill.
    pub fn i32(ne: [usize; 4], fill: Fill) -> Input {
        Input { layout: Layout::i32(ne), fill }
    }
}
