//! Rows dealt over the workers: helps where there are rows to deal.

use super::factor;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};
use std::ops::Range;

/// The variant.
pub struct Rows(Spec);

/// `rows`.
pub static ROWS: Rows = Rows(Spec {
    op: Op::Scale,
    name: "rows",
    revision: 1,
    backend: Backend::Cpu,
    summary: "rows split over the threads; one long row stays on one thread",
    tunables: &[],
    tolerance: 0.0,
});

impl Variant for Rows {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        contiguous_rows(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Rows {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        inst.inputs[0].rows()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let rows = call.share(call.inputs[0].layout.rows());
        // SAFETY: the contract is the same, and shares do not overlap.
        unsafe { scale_rows(call, rows, factor(call)) }
    }
}

/// What `rows` and `serial` ask for.
pub(super) fn contiguous_rows(inst: &Instance) -> Result<(), Reason> {
    let ok = inst.inputs[0].has_contiguous_rows() && inst.outputs[0].has_contiguous_rows();
    Reason::unless(ok, || "rows must be contiguous".into())
}

/// # Safety
/// As [`Kernel::run`]; no other worker has these rows.
pub(super) unsafe fn scale_rows(call: &Call<'_>, rows: Range<usize>, f: f32) {
    let (x, y) = (&call.inputs[0], &call.outputs[0]);
    for row in rows {
        let [i1, i2, i3] = x.layout.row_index(row);
        // In place x and y are the same row, so there may be no two slices: pointers.
        // SAFETY: the index lies inside both layouts; elements of a row lie side by side (`supports`).
        unsafe {
            let (src, dst) = (x.row_ptr(i1, i2, i3).cast::<f32>(), y.row_ptr(i1, i2, i3).cast::<f32>());
            for i in 0..x.ne(0) {
                dst.add(i).write(src.add(i).read() * f);
            }
        }
    }
}
