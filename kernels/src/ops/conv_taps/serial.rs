//! One worker does all channels.

use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Serial(Spec);

/// `serial`.
pub static SERIAL: Serial = Serial(Spec {
    op: Op::ConvTaps,
    name: "serial",
    revision: 1,
    backend: Backend::Cpu,
    summary: "one thread, element by element; the others wait",
    tunables: &[],
    tolerance: 1e-6,
});

impl Variant for Serial {
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

impl Kernel for Serial {
    fn max_threads(&self, _inst: &Instance, _tunables: &Tunables) -> usize {
        1
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let all = 0..call.outputs[0].ne(0);
        // SAFETY: the contract is the same, and this worker is alone.
        unsafe { super::channels(call, all) }
    }
}
