//! Element by element, the index in b found anew for each: `serial` on one worker, `generic` with rows dealt over all.
//! ggml's `mul` was the latter wherever b had to be repeated within a row.

use super::{Function, repeated};
use crate::Backend;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use std::marker::PhantomData;

/// The variants.
pub struct ByElement<F> {
    spec: Spec,
    threads: bool,
    function: PhantomData<F>,
}

impl<F: Function> ByElement<F> {
    /// `serial`.
    pub const fn serial() -> Self {
        Self::new("serial", "one thread, element by element; the others wait", false)
    }

    /// `generic`.
    pub const fn generic() -> Self {
        Self::new("generic", "rows split over the threads; each element looks up its partner", true)
    }

    const fn new(name: &'static str, summary: &'static str, threads: bool) -> Self {
        let spec = Spec { op: F::OP, name, revision: 1, backend: Backend::Cpu, summary, tunables: &[], tolerance: 0.0 };
        ByElement { spec, threads, function: PhantomData }
    }
}

impl<F: Function> Variant for ByElement<F> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, _inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl<F: Function> Kernel for ByElement<F> {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        if self.threads { inst.outputs[0].rows() } else { 1 }
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (a, b, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        for row in call.share(y.layout.rows()) {
            let [i1, i2, i3] = y.layout.row_index(row);
            for i0 in 0..y.ne(0) {
                let at = [i0, i1, i2, i3];
                // SAFETY: the index lies inside a and y, which have one shape, and its remainder inside b; shares do
                // not overlap.
                unsafe { y.set_f32(at, F::scalar(a.get_f32(at), b.get_f32(repeated(b.layout.ne, at)))) }
            }
        }
    }
}
