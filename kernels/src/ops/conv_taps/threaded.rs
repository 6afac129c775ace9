//! Channels dealt over the workers.

use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Threaded(Spec);

/// `threaded`.
pub static THREADED: Threaded = Threaded(Spec {
    op: Op::ConvTaps,
    name: "threaded",
    revision: 1,
    backend: Backend::Cpu,
    summary: "channels split over the threads, element by element",
    tunables: &[],
    tolerance: 1e-6,
});

impl Variant for Threaded {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, _inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Threaded {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        inst.outputs[0].ne[0]
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let mine = call.share(call.outputs[0].ne(0));
        // SAFETY: the contract is the same, and shares do not overlap.
        unsafe { super::channels(call, mine) }
    }
}
