//! Blocks of elements dealt over the workers, whatever the rows are: the fix of ik_llama.cpp#1266 (13.6 → 16.7 t/s).

use super::factor;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Blocked(Spec);

/// `blocked`.
pub static BLOCKED: Blocked = Blocked(Spec {
    op: Op::Scale,
    name: "blocked",
    revision: 1,
    backend: Backend::Cpu,
    summary: "blocks of elements split over the threads, also within one row",
    tunables: &[Tunable {
        name: "block",
        doc: "elements a task",
        default: 1024,
        values: &[256, 512, 1024, 2048, 4096, 8192, 16384],
    }],
    tolerance: 0.0,
});

impl Variant for Blocked {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        let ok = inst.inputs[0].is_contiguous() && inst.outputs[0].is_contiguous();
        Reason::unless(ok, || "x and the result must be contiguous".into())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Blocked {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        inst.inputs[0].elements().div_ceil(tunables.get(0))
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let n = call.inputs[0].layout.elements();
        let block = call.tunables.get(0);
        let mine = call.share(n.div_ceil(block));
        let (src, dst, f) = (call.inputs[0].ptr.cast::<f32>(), call.outputs[0].ptr.cast::<f32>(), factor(call));
        for i in mine.start * block..(mine.end * block).min(n) {
            // SAFETY: both tensors are contiguous with `n` elements, and shares do not overlap.
            unsafe { dst.add(i).write(src.add(i).read() * f) }
        }
    }
}
