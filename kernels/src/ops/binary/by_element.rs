//! Element by element, the partner in b found anew for each: what ggml's `mul` did wherever b had to be repeated within a
//! row, be it a single number.

use super::{Function, repeated};
use crate::Backend;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use std::marker::PhantomData;

/// The variant.
pub struct ByElement<F>(Spec, PhantomData<F>);

impl<F: Function> ByElement<F> {
    /// `generic`.
    pub const fn generic() -> Self {
        let spec = Spec {
            op: F::OP,
            name: "generic",
            revision: 1,
            backend: Backend::Cpu,
            summary: "rows split over the threads; each element looks up its partner",
            tunables: &[],
            tolerance: 0.0,
        };
        ByElement(spec, PhantomData)
    }
}

impl<F: Function> Variant for ByElement<F> {
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

impl<F: Function> Kernel for ByElement<F> {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        inst.outputs[0].rows()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (a, b, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        for row in call.share(y.layout.rows()) {
            let [i1, i2, i3] = y.layout.row_index(row);
            let [_, j1, j2, j3] = repeated(b.layout.ne, [0, i1, i2, i3]);
            let (n, nb, sa, sb, sy) = (y.ne(0), b.ne(0), a.nb(0), b.nb(0), y.nb(0));
            // SAFETY: the row lies inside a and y, of one shape, and at the remainder in b; shares do not overlap.
            unsafe {
                let (a, b) = (a.row_ptr(i1, i2, i3), b.row_ptr(j1, j2, j3));
                let y = y.row_ptr(i1, i2, i3);
                for i in 0..n {
                    let (a, b) = (a.add(i * sa).cast::<f32>(), b.add(i % nb * sb).cast::<f32>());
                    y.add(i * sy).cast::<f32>().write(F::scalar(a.read(), b.read()));
                }
            }
        }
    }
}
