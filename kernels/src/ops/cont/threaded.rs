//! Rows dealt over the workers, whole rows copied at once where both sides are contiguous; transposes by columns of the
//! side that is.

use super::reference::copy_row;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Layout, Op};

/// The variant.
pub struct Threaded(Spec);

/// `threaded`.
pub static THREADED: Threaded = Threaded(Spec {
    op: Op::Cont,
    name: "threaded",
    revision: 1,
    backend: Backend::Cpu,
    summary: "rows split over the threads, copied whole where both sides are contiguous",
    tunables: &[],
    tolerance: 0.0,
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

/// The layouts with dimensions reordered such that the output's smallest stride is dimension 0: element order is free,
/// and a store to the next address is the cheapest.
fn by_output(x: &Layout, y: &Layout) -> (Layout, Layout) {
    let mut axes = [0, 1, 2, 3];
    axes.sort_by_key(|&a| if y.ne[a] == 1 { usize::MAX } else { y.nb[a] });
    (x.permuted(axes), y.permuted(axes))
}

impl Kernel for Threaded {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        by_output(&inst.inputs[0], &inst.outputs[0]).0.rows()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (mut x, mut y) = (call.inputs[0], call.outputs[0]);
        (x.layout, y.layout) = by_output(&x.layout, &y.layout);
        let size = x.layout.dtype.block_bytes();
        let whole = x.layout.dtype == y.layout.dtype && x.nb(0) == size && y.nb(0) == size;
        for row in call.share(x.layout.rows()) {
            // SAFETY: `row` is a row of both layouts, which have one shape, and shares do not overlap.
            unsafe {
                if whole {
                    let [i1, i2, i3] = x.layout.row_index(row);
                    let (src, dst) = (x.row_ptr(i1, i2, i3), y.row_ptr(i1, i2, i3));
                    std::ptr::copy(src, dst, x.ne(0) * size);
                } else {
                    copy_row(&x, &y, row);
                }
            }
        }
    }
}
