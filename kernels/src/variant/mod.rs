//! What a variant is: one way to compute an op on one backend.
//!
//! A *kernel* computes it; a *lowering* replaces it by a small graph of simpler ops. Both are [`Variant`]s and are
//! swapped the same way. A variant is one static, listed in its op's `VARIANTS`; everything else (the list on screen,
//! its tests, its benchmark, its tuning space) follows from that entry.

mod lowering;
mod tunable;

pub use lowering::{LoweringVariant, always};
pub use tunable::{Tunable, Tunables};

use crate::cuda::CudaKernel;
use crate::graph::{GraphBuilder, ValueId};
use crate::{DType, Layout, Op, Params, TensorPtr};
use std::fmt;

/// Where a variant runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    /// This machine's processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU.
    Cuda,
}

impl Backend {
    /// `cpu`, `cuda`: as profiles write it.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::Cuda => "cuda",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One use of an op: the shapes and constants that a variant must serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The op.
    pub op: Op,
    /// Its constants.
    pub params: Params,
    /// Layouts of the inputs, in the op's order. State tensors are inputs that the op also writes.
    pub inputs: Vec<Layout>,
    /// Layouts of the outputs.
    pub outputs: Vec<Layout>,
}

/// What a worker gets through, in its caches, in about the time that a barrier costs where there are many: more is not
/// worth doing by everyone.
const LITTLE: usize = 64 << 10;
/// Error bound of products whose activations were rounded to halves, for tensor cores.
pub(crate) const HALF_PRODUCTS: f32 = 2e-3;

impl Instance {
    /// Few enough bytes to be done by every worker rather than waited for: see [`Kernel::redundant`].
    pub fn is_little(&self) -> bool {
        self.inputs.iter().chain(&self.outputs).map(Layout::bytes).sum::<usize>() <= LITTLE
    }
}

/// Why a variant cannot serve an instance; the workbench prints it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub String);

impl Reason {
    /// `Err(Reason)` unless `ok`.
    pub fn unless(ok: bool, why: impl FnOnce() -> String) -> Result<(), Reason> {
        if ok { Ok(()) } else { Err(Reason(why())) }
    }
}

/// What must be moved and done at least: the roof that a measurement is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes read and written once each.
    pub bytes: f64,
    /// Arithmetic operations (a multiply-add counts two).
    pub flops: f64,
}

/// How a variant wants an input; the planner inserts what is missing, once per distinct input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Any strides, as it comes.
    AsIs,
    /// Contiguous: a `cont` node is put before it where it is not.
    Contiguous,
    /// Activations quantised to this type by a `quantize` node.
    Quantised(DType),
    /// A weight in a packed layout, made once when the plan is built.
    Packed(Packing),
}

/// Packed layouts of weights. A packing changes the order of bytes, never their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Packing {
    /// Groups of eight rows interleaved block by block ([`crate::quant`]).
    Rows8,
}

/// What a variant says of itself.
#[derive(Debug)]
pub struct Spec {
    /// The op that it computes.
    pub op: Op,
    /// Its name, unique among the op's variants of a backend.
    pub name: &'static str,
    /// Raised when speed or result changes: a profile's row for another revision is stale.
    pub revision: u32,
    /// Where it runs; of a lowering, where it is listed ([`Variant::serves`]).
    pub backend: Backend,
    /// One line for the workbench: how it works and when it wins.
    pub summary: &'static str,
    /// What can be tuned, beside the number of threads, which every kernel has.
    pub tunables: &'static [Tunable],
    /// Largest relative error against the reference, as [`crate::check::difference`] measures it, where nothing more is
    /// known of the instance: see [`Variant::tolerance`].
    pub tolerance: f32,
}

/// One way to compute an op.
pub trait Variant: Sync {
    /// Name, revision, tunables.
    fn spec(&self) -> &Spec;

    /// Whether it serves this instance on this machine.
    ///
    /// # Errors
    /// The reason why not, for the user to read.
    fn supports(&self, inst: &Instance) -> Result<(), Reason>;

    /// Whether this machine has what it needs. Where it has not, `supports` says so too.
    fn here(&self) -> Result<(), Reason> {
        Ok(())
    }

    /// Whether it is worth being the default for an instance that it serves: `false` where another is known to be
    /// faster. What is legal is one question, what is best another.
    fn preferred(&self, _inst: &Instance) -> bool {
        true
    }

    /// How it computes.
    fn body(&self) -> Body<'_>;

    /// Largest relative error against the reference for an instance, on a backend. A lowering is as exact as its parts: on a
    /// GPU products with weights of two bytes round activations to halves.
    fn tolerance(&self, backend: Backend, inst: &Instance) -> f32 {
        let own = self.spec().tolerance;
        let halves = || inst.inputs.iter().any(|l| matches!(l.dtype, DType::F16 | DType::BF16));
        match self.body() {
            Body::Lowering(_) if backend == Backend::Cuda && halves() => own.max(HALF_PRODUCTS),
            _ => own,
        }
    }

    /// Whether it runs on a backend: kernels on their own, lowerings on every.
    fn serves(&self, backend: Backend) -> bool {
        self.spec().backend == backend || matches!(self.body(), Body::Lowering(_))
    }
}

/// The kinds of variant.
pub enum Body<'a> {
    /// Computes by itself.
    Kernel(&'a dyn Kernel),
    /// Computes by itself on an NVIDIA GPU.
    Cuda(&'a dyn CudaKernel),
    /// Moves bytes between the host and an NVIDIA GPU: what the planner puts between two backends' nodes.
    Transfer,
    /// Becomes a graph of simpler ops. Lowerings serve every backend: their parts are chosen for the one at hand.
    Lowering(Lower),
}

impl Body<'_> {
    /// How it wants input `index`: lowerings take every input as it comes.
    pub fn form(&self, inst: &Instance, index: usize) -> Form {
        match self {
            Body::Kernel(k) => k.form(inst, index),
            Body::Cuda(k) => k.form(inst, index),
            Body::Transfer | Body::Lowering(_) => Form::AsIs,
        }
    }
}

/// A variant that computes.
pub trait Kernel: Sync {
    /// How it wants input `index`.
    fn form(&self, _inst: &Instance, _index: usize) -> Form {
        Form::AsIs
    }

    /// More workers than this have nothing to do.
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize;

    /// Bytes of scratch that each worker needs.
    fn scratch(&self, _inst: &Instance, _tunables: &Tunables) -> usize {
        0
    }

    /// Bytes of scratch that all workers of the step share: what one phase leaves for the next.
    fn shared_scratch(&self, _inst: &Instance, _tunables: &Tunables) -> usize {
        0
    }

    /// Parts of the work with a barrier between them; `run` is called once for each.
    fn phases(&self, _inst: &Instance, _tunables: &Tunables) -> usize {
        1
    }

    /// Whether inputs are read in the first phase alone. Otherwise they are never workers' own copies, which do not outlive
    /// a round.
    fn reads_at_first(&self) -> bool {
        false
    }

    /// Whether parts may be small: not if each first prepares something that a larger part would prepare once.
    fn divisible(&self, _inst: &Instance) -> bool {
        false
    }

    /// Whether it is so little that every worker may as well do all of it for itself: what reads the result then waits
    /// for nobody. The planner does so where results are whole temporaries of one phase; [`Tunables::redundant`] overrules.
    fn redundant(&self, _inst: &Instance) -> bool {
        false
    }

    /// Does part `ith` of `nth`.
    ///
    /// Results must not depend on `nth`: work is split by output and a reduction has a fixed order. Nor on who takes
    /// which part: a worker may do several, in any order, and `nth` may be a multiple of the workers.
    ///
    /// # Safety
    /// `supports` said yes to the instance; inputs and outputs are bound to live memory of at least their layout's
    /// span, in the forms that `form` asked for; outputs overlap inputs only as the op allows; each part is called
    /// once a phase with the same arguments, and nobody else touches the outputs meanwhile.
    unsafe fn run(&self, call: &mut Call<'_>);
}

/// Adds the nodes that compute an instance's outputs from its inputs. The last nodes must write into the given outputs
/// ([`GraphBuilder::node_into`]). [`GraphBuilder::tunables`] has the variant's tunables.
pub type Lower = fn(&Instance, inputs: &[ValueId], outputs: &[ValueId], &mut GraphBuilder<'_>);

/// A kernel's arguments.
pub struct Call<'a> {
    /// Shapes and constants, after conversion of the inputs to the forms asked for.
    pub inst: &'a Instance,
    /// Inputs. For a packed weight the layout is the unpacked one.
    pub inputs: &'a [TensorPtr],
    /// Outputs.
    pub outputs: &'a [TensorPtr],
    /// Values of the tunables, in the order of the spec.
    pub tunables: &'a Tunables,
    /// The part to do, 0 … `nth`.
    pub ith: usize,
    /// Parts that this step is divided into.
    pub nth: usize,
    /// Which phase.
    pub phase: usize,
    /// This worker's own scratch, aligned to 64, content undefined: what one phase leaves for the next goes into
    /// `shared`.
    pub scratch: &'a mut [u8],
    /// The scratch of all workers of this step, aligned to 64, content undefined; null if
    /// [`Kernel::shared_scratch`] asked for none. Between two phases no byte of it may be touched by two workers
    /// unless both read.
    pub shared: *mut u8,
}

impl Call<'_> {
    /// This part's contiguous share of `n` equal tasks, the leftovers spread over the first parts.
    #[inline]
    pub fn share(&self, n: usize) -> std::ops::Range<usize> {
        share(n, self.ith, self.nth)
    }
}

/// Part `ith`'s contiguous share of `n` tasks among `nth`.
#[inline]
pub fn share(n: usize, ith: usize, nth: usize) -> std::ops::Range<usize> {
    let (each, more) = (n / nth, n % nth);
    let start = ith * each + ith.min(more);
    start..start + each + usize::from(ith < more)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_cover_all_tasks_once() {
        for nth in 1..9 {
            for n in 0..40 {
                let mut next = 0;
                for ith in 0..nth {
                    let r = share(n, ith, nth);
                    assert_eq!(r.start, next);
                    next = r.end;
                }
                assert_eq!(next, n);
            }
        }
    }
}
