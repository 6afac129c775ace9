//! The state in place, touched once a token, and a head split by values so that more threads than heads can work.
//!
//! A single token sweeps the rows as they lie in memory ([`sweep`](super::sweep)): what counts is the stream from
//! memory. For several tokens a block of columns is copied into scratch, where it stays in the first-level cache for
//! all of them ([`block`]).

mod block;

use super::sweep::{self, Slice};
use super::token::Source;
use super::{STATE, Shape, scale, vectors};
use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct FusedInplace(Spec);

/// `fused_inplace`.
pub static FUSED_INPLACE: FusedInplace = FusedInplace(Spec {
    op: Op::GatedDeltaNet,
    name: "fused_inplace",
    revision: 1,
    backend: Backend::Cpu,
    summary: "state updated in place, one sweep a token, heads and slices of heads split over the threads",
    tunables: &[Tunable { name: "slices", doc: "tasks a head, split by values", default: 1, values: &[1, 2, 4, 8] }],
    tolerance: 1e-5,
});

impl Variant for FusedInplace {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        vectors(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

/// Values of a slice: whole vectors of the widest level.
fn slice_width(d: usize, tunables: &Tunables) -> usize {
    d.div_ceil(tunables.get(0)).next_multiple_of(16)
}

impl Kernel for FusedInplace {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let Shape { d, hv, s, .. } = Shape::of(inst);
        hv * s * d.div_ceil(slice_width(d, tunables))
    }

    fn scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        let Shape { d, .. } = Shape::of(inst);
        d * block::MAX_COLUMNS.max(2) * size_of::<f32>()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let scratch = call.scratch.as_mut_ptr().cast();
        dispatch(Isa::detect(), Work(call, scratch));
    }
}

struct Work<'a, 'b>(&'a Call<'b>, *mut f32);

impl Task for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let Work(call, scratch) = self;
        let Shape { d, hv, ratio, t: tokens, s } = Shape::of(call.inst);
        let width = slice_width(d, call.tunables);
        let slices = d.div_ceil(width);
        let (state, scale) = (call.inputs[STATE], scale(call.inst));
        for task in call.share(hv * s * slices) {
            let (j, h, s) = (task % slices * width, task / slices % hv, task / slices / hv);
            // SAFETY: indices lie inside the layouts that `infer` checked, rows are contiguous (`supports`), and no
            // other worker has this slice; scratch has room for the sums and for a block of columns.
            unsafe {
                let slice = Slice {
                    ptr: state.row_ptr(0, h, s).cast::<f32>().add(j),
                    stride: state.nb(1) / size_of::<f32>(),
                    keys: d,
                    width: width.min(d - j),
                };
                let source = Source { call, h, s, j, head_k: h / ratio, scale };
                if tokens == 1 {
                    sweep::step::<L::V>(slice, source.token::<L>(0), scratch);
                } else {
                    block::tokens::<L>(slice, tokens, &source, scratch);
                }
            }
        }
    }
}
