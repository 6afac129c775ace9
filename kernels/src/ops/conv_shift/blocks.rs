//! Blocks of channels dealt over the workers.

use super::{STATE, X};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Blocks(Spec);

/// `blocks`.
pub static BLOCKS: Blocks = Blocks(Spec {
    op: Op::ConvShift,
    name: "blocks",
    revision: 1,
    backend: Backend::Cpu,
    summary: "blocks of channels split over the threads, column by column",
    tunables: &[Tunable {
        name: "block",
        doc: "channels a task",
        default: 512,
        values: &[64, 128, 256, 512, 1024, 2048],
    }],
    tolerance: 0.0,
});

impl Variant for Blocks {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        for (i, name) in [(X, "x"), (STATE, "state")] {
            let ok = inst.inputs[i].has_contiguous_rows();
            Reason::unless(ok, || format!("channels of {name} must lie side by side"))?;
        }
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Blocks {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        inst.inputs[X].ne[0].div_ceil(tunables.get(0)) * inst.inputs[X].ne[2]
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (x, state, block) = (&call.inputs[X], &call.inputs[STATE], call.tunables.get(0));
        let ([channels, tokens, sequences, _], past) = (x.layout.ne, state.ne(1));
        let blocks = channels.div_ceil(block);
        for task in call.share(blocks * sequences) {
            let (first, s) = (task % blocks * block, task / blocks);
            let n = block.min(channels - first);
            for k in 0..past {
                let from = tokens + k;
                // Columns only move towards lower numbers, each read before it is written; a column may be its own
                // source where there is no token.
                // SAFETY: columns, and channels side by side, lie inside the layouts; no other worker has these.
                unsafe {
                    let source = if from < past { state.row_ptr(from, s, 0) } else { x.row_ptr(from - past, s, 0) };
                    let source = source.cast::<f32>().cast_const().add(first);
                    std::ptr::copy(source, state.row_ptr(k, s, 0).cast::<f32>().add(first), n);
                }
            }
        }
    }
}
