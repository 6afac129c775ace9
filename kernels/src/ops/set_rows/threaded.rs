//! Slices of heads dealt over the workers. Not tokens: two tokens may have one position, and then the later must stand,
//! whoever is faster.

use super::{CACHE, cell};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, DType, Op};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// The variant.
pub struct Threaded(Spec);

/// `threaded`.
pub static THREADED: Threaded = Threaded(Spec {
    op: Op::SetRows,
    name: "threaded",
    revision: 1,
    backend: Backend::Cpu,
    summary: "slices of heads split over the threads, each converted at once",
    tunables: &[],
    tolerance: 0.0,
});

/// Elements of a head that a worker takes: a multiple of a cache line in F16.
const SLICE: usize = 64;

/// Elements below which another worker costs more than it brings.
const WORTH_A_WORKER: usize = 4096;

impl Variant for Threaded {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        let ok = inst.inputs[0].has_contiguous_rows() && inst.inputs[CACHE].has_contiguous_rows();
        Reason::unless(ok, || "heads must be contiguous".into())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Threaded {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        let src = &inst.inputs[0];
        let slices = src.ne[0].div_ceil(SLICE) * src.ne[1] * src.ne[3];
        slices.min(src.elements().div_ceil(WORTH_A_WORKER))
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (src, pos, cache) = (&call.inputs[0], &call.inputs[1], &call.inputs[CACHE]);
        let slices = src.ne(0).div_ceil(SLICE);
        for task in call.share(slices * src.ne(1) * src.ne(3)) {
            let (from, head) = (task % slices * SLICE, task / slices);
            let (h, s) = (head % src.ne(1), head / src.ne(1));
            let n = SLICE.min(src.ne(0) - from);
            for t in 0..src.ne(2) {
                // SAFETY: `pos` has an element for each token.
                let Some(c) = cell(unsafe { pos.get_i32([t, s, 0, 0]) }, cache.ne(1)) else { continue };
                // Rows are contiguous (`supports`), the cache is no other input, and no other worker has this slice.
                // SAFETY: `from + n ≤ ne[0]`, shapes agree (`infer`), and the cell is one of the cache's.
                unsafe {
                    let row = &src.row_f32(h, t, s)[from..from + n];
                    let dst = cache.row_ptr(c, h, s);
                    match cache.layout.dtype {
                        DType::F16 => {
                            std::slice::from_raw_parts_mut(dst.cast::<f16>().add(from), n).convert_from_f32_slice(row)
                        }
                        _ => dst.cast::<f32>().add(from).copy_from_nonoverlapping(row.as_ptr(), n),
                    }
                }
            }
        }
    }
}
