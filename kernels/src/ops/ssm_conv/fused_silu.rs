//! The convolution and silu in one pass: a result goes through silu while it is in the cache.

use super::{silu, stream};
use crate::cpu::Isa;
use crate::math::dispatch;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct FusedSilu(Spec);

/// `fused_silu`.
pub static FUSED_SILU: FusedSilu = FusedSilu(Spec {
    op: Op::SsmConv,
    name: "fused_silu",
    revision: 1,
    backend: Backend::Cpu,
    summary: "convolution from the state and silu in one pass, vectorised over channels",
    tunables: stream::TUNABLES,
    tolerance: 1e-6,
});

impl Variant for FusedSilu {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(silu(inst), || "silu is not asked for".into())?;
        stream::supports(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for FusedSilu {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        stream::tasks(inst, tunables)
    }

    fn scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        stream::scratch(inst, tunables)
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        // SAFETY: the contract is the same, and `supports` and `scratch` are the stream's.
        dispatch(Isa::detect(), unsafe { stream::Stream::<true>::new(call) });
    }
}
