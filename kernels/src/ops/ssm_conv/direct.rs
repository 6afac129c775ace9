//! The convolution alone, from state and input without building their concatenation.

use super::{silu, stream};
use crate::cpu::Isa;
use crate::math::dispatch;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Direct(Spec);

/// `direct`.
pub static DIRECT: Direct = Direct(Spec {
    op: Op::SsmConv,
    name: "direct",
    revision: 1,
    backend: Backend::Cpu,
    summary: "reads the state in place of a concatenation, vectorised over channels; without silu",
    tunables: stream::TUNABLES,
    tolerance: 1e-6,
});

impl Variant for Direct {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(!silu(inst), || "leaves silu to a node of its own: `from_state` puts one behind it".into())?;
        stream::supports(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Direct {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        stream::tasks(inst, tunables)
    }

    fn scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        stream::scratch(inst, tunables)
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        // SAFETY: the contract is the same, and `supports` and `scratch` are the stream's.
        dispatch(Isa::detect(), unsafe { stream::Stream::<false>::new(call) });
    }
}
