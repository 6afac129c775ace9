//! One worker, element by element, with the library's functions.

use super::Function;
use crate::Backend;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use std::marker::PhantomData;

/// The variant.
pub struct Serial<F>(Spec, PhantomData<F>);

impl<F: Function> Serial<F> {
    /// `serial`.
    pub const fn new() -> Self {
        let spec = Spec {
            op: F::OP,
            name: "serial",
            revision: 1,
            backend: Backend::Cpu,
            summary: "one thread, element by element; the others wait",
            tunables: &[],
            tolerance: 0.0,
        };
        Serial(spec, PhantomData)
    }
}

impl<F: Function> Variant for Serial<F> {
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

impl<F: Function> Kernel for Serial<F> {
    fn max_threads(&self, _inst: &Instance, _tunables: &Tunables) -> usize {
        1
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        // SAFETY: the contract is the same, and `max_threads` is 1.
        unsafe { super::each_scalar::<F>(&call.inputs[0], &call.outputs[0]) }
    }
}
