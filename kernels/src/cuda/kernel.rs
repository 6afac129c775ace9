//! What a CUDA variant says: its source, and how an instance becomes launches.

use crate::variant::{Body, Form, Instance, Reason, Spec, Tunables, Variant};

/// A macro of the source: name and value.
pub type Macro = (&'static str, String);

/// What is compiled together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unit {
    /// Its name in messages.
    pub name: &'static str,
    /// Pieces of source, in order.
    pub sources: &'static [&'static str],
    /// What is known at compile time.
    pub macros: Vec<Macro>,
}

/// An argument of a launch, in the order of the kernel's parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// `Tensor`: an input with its shape and strides.
    Input(usize),
    /// `Tensor`: an output.
    Output(usize),
    /// `void*`: the step's scratch.
    Scratch,
    /// `void*`: so many bytes into the step's scratch.
    ScratchAt(usize),
    /// `int`.
    I32(i32),
    /// `float`.
    F32(f32),
    /// A struct of floats.
    Floats(Vec<f32>),
}

/// One launch. Launches of a step follow one another on the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Name of the `extern "C"` kernel.
    pub entry: &'static str,
    /// Blocks.
    pub grid: [usize; 3],
    /// Threads of a block.
    pub block: [usize; 3],
    /// Bytes of shared memory beyond what the kernel declares. It is for copies under way, so devices before 8.0, which have
    /// none, give none.
    pub shared: usize,
    /// Arguments.
    pub args: Vec<Arg>,
}

impl Launch {
    /// A launch of a row of blocks.
    pub fn line(entry: &'static str, blocks: usize, threads: usize, args: Vec<Arg>) -> Launch {
        Launch { entry, grid: [blocks, 1, 1], block: [threads, 1, 1], shared: 0, args }
    }

    /// False if it has nothing to do: the driver refuses empty grids.
    pub fn is_empty(&self) -> bool {
        self.grid.contains(&0)
    }
}

/// A variant that computes on an NVIDIA GPU. All of it follows from the instance and the tunables, so that kernels are
/// compiled and launches are checked without a device.
pub trait CudaKernel: Sync {
    /// How it wants input `index`.
    fn form(&self, inst: &Instance, index: usize) -> Form;

    /// What to compile.
    fn unit(&self, inst: &Instance, tunables: &Tunables) -> Unit;

    /// Bytes of device memory that its launches share.
    fn scratch(&self, inst: &Instance, tunables: &Tunables) -> usize;

    /// The launches, in order. Kernels may start before the one ahead of them is done, so each calls `in_turn` of the
    /// prelude, or its two parts, in every thread. Results must not depend on the order in which blocks run: no floating-point atomics.
    fn launches(&self, inst: &Instance, tunables: &Tunables) -> Vec<Launch>;
}

/// A CUDA variant as its parts.
pub struct CudaVariant {
    /// What it says of itself.
    pub spec: Spec,
    /// Pieces of source, in order.
    pub sources: &'static [&'static str],
    /// See [`Variant::supports`].
    pub supports: fn(&Instance) -> Result<(), Reason>,
    /// See [`CudaKernel::form`].
    pub form: fn(&Instance, usize) -> Form,
    /// See [`CudaKernel::unit`].
    pub macros: fn(&Instance, &Tunables) -> Vec<Macro>,
    /// See [`CudaKernel::scratch`].
    pub scratch: fn(&Instance, &Tunables) -> usize,
    /// See [`CudaKernel::launches`].
    pub launches: fn(&Instance, &Tunables) -> Vec<Launch>,
}

/// A CUDA variant that is worth being the default for some instances only.
pub struct Preferred {
    /// The variant.
    pub variant: CudaVariant,
    /// See [`Variant::preferred`].
    pub preferred: fn(&Instance) -> bool,
}

/// Every input as it comes.
pub fn as_is(_inst: &Instance, _index: usize) -> Form {
    Form::AsIs
}

/// Nothing is known at compile time.
pub fn no_macros(_inst: &Instance, _tunables: &Tunables) -> Vec<Macro> {
    Vec::new()
}

/// No scratch.
pub fn no_scratch(_inst: &Instance, _tunables: &Tunables) -> usize {
    0
}

/// Threads for rows of so many elements: whole warps, at most `most`.
pub fn rows_of(elements: usize, most: usize) -> usize {
    elements.next_multiple_of(32).clamp(32, most)
}

impl Variant for CudaVariant {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        let wide = |l: &crate::Layout| l.ne.iter().all(|&n| i32::try_from(n).is_ok()) && l.rows() < 1 << 31;
        let fits = inst.inputs.iter().chain(&inst.outputs).all(wide);
        Reason::unless(fits, || "a tensor has more elements than a kernel counts".into())?;
        (self.supports)(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Cuda(self)
    }
}

impl Variant for Preferred {
    fn spec(&self) -> &Spec {
        self.variant.spec()
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        self.variant.supports(inst)
    }

    fn preferred(&self, inst: &Instance) -> bool {
        (self.preferred)(inst)
    }

    fn body(&self) -> Body<'_> {
        self.variant.body()
    }
}

impl CudaKernel for CudaVariant {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        (self.form)(inst, index)
    }

    fn unit(&self, inst: &Instance, tunables: &Tunables) -> Unit {
        Unit { name: self.spec.op.name(), sources: self.sources, macros: (self.macros)(inst, tunables) }
    }

    fn scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        (self.scratch)(inst, tunables)
    }

    fn launches(&self, inst: &Instance, tunables: &Tunables) -> Vec<Launch> {
        (self.launches)(inst, tunables)
    }
}
