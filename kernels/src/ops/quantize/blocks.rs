//! Stretches of blocks, dealt over the workers or all on one.

use crate::cpu::Isa;
use crate::ops::by_rows::rows_or_cont;
use crate::ops::runs::{Run, Runs};
use crate::quant::quantize_activations;
use crate::variant::{Body, Call, Form, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Blocks(Spec);

/// A decoded token's row is shorter than the time that a second worker takes to notice it.
const BLOCK: Tunable =
    Tunable { name: "block", doc: "elements a task", default: 1024, values: &[256, 512, 1024, 2048, 4096, 8192] };

impl Blocks {
    /// `threaded`.
    pub const fn threaded() -> Blocks {
        Blocks::new("threaded", "stretches of blocks split over the threads, also within one row", &[BLOCK])
    }

    /// `serial`.
    pub const fn serial() -> Blocks {
        Blocks::new("serial", "one thread, row by row; the others wait", &[])
    }

    const fn new(name: &'static str, summary: &'static str, tunables: &'static [Tunable]) -> Blocks {
        let (op, revision, backend, tolerance) = (Op::Quantize, 1, Backend::Cpu, 0.0);
        Blocks(Spec { op, name, revision, backend, summary, tunables, tolerance })
    }

    fn runs(&self, inst: &Instance, tunables: &Tunables) -> Runs {
        let ne = inst.inputs[0].ne;
        Runs::new(ne, if self.0.tunables.is_empty() { ne[0].max(1) } else { tunables.get(0) })
    }
}

impl Variant for Blocks {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(inst.outputs[0].is_contiguous(), || "the result must be contiguous".into())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Blocks {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        rows_or_cont(&inst.inputs[index])
    }

    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        if self.0.tunables.is_empty() { 1 } else { self.runs(inst, tunables).count() }
    }

    fn redundant(&self, inst: &Instance) -> bool {
        !self.0.tunables.is_empty() && inst.is_little()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (x, y) = (&call.inputs[0], &call.outputs[0]);
        let (isa, to) = (Isa::detect(), y.layout.dtype);
        let runs = self.runs(call.inst, call.tunables);
        for Run { at, n } in runs.range(call.share(runs.count())) {
            let bytes = n / to.block_len() * to.block_bytes();
            // SAFETY: a run is side by side in one row, begins at a whole block, and runs do not overlap.
            unsafe {
                let src = std::slice::from_raw_parts(x.ptr.add(x.layout.offset(at)).cast::<f32>(), n);
                let dst = std::slice::from_raw_parts_mut(y.ptr.add(y.layout.offset(at)), bytes);
                quantize_activations(isa, to, src, dst);
            }
        }
    }
}
