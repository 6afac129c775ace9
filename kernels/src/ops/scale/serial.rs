//! One worker does it all: what a single row of half a million elements came to in ggml, where rows are what is split.

use super::factor;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Serial(Spec);

/// `serial`.
pub static SERIAL: Serial = Serial(Spec {
    op: Op::Scale,
    name: "serial",
    revision: 1,
    backend: Backend::Cpu,
    summary: "one thread, row by row; the others wait",
    tunables: &[],
    tolerance: 0.0,
});

impl Variant for Serial {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        super::rows::contiguous_rows(inst)
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
        let rows = call.inputs[0].layout.rows();
        // SAFETY: the contract is the same, and this worker is alone.
        unsafe { super::rows::scale_rows(call, 0..rows, factor(call)) }
    }
}
