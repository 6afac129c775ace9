//! The first fused form: a head is copied in, each token sweeps it twice, and it is copied back; heads over threads.

use super::sweep::{self, Slice};
use super::token::Source;
use super::{STATE, Shape, scale, vectors};
use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct FusedRecurrent(Spec);

/// `fused_recurrent`.
pub static FUSED_RECURRENT: FusedRecurrent = FusedRecurrent(Spec {
    op: Op::GatedDeltaNet,
    name: "fused_recurrent",
    revision: 1,
    backend: Backend::Cpu,
    summary: "state copied in and out, two sweeps a token, heads split over the threads",
    tunables: &[],
    tolerance: 1e-5,
});

impl Variant for FusedRecurrent {
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

impl Kernel for FusedRecurrent {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        let Shape { hv, s, .. } = Shape::of(inst);
        hv * s
    }

    fn scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        let Shape { d, .. } = Shape::of(inst);
        (d * d + 2 * d) * size_of::<f32>()
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
        let (state, scale) = (call.inputs[STATE], scale(call.inst));
        for task in call.share(hv * s) {
            let (h, s) = (task % hv, task / hv);
            // Rows are contiguous (`supports`); scratch has room for the copy and the sums.
            // SAFETY: indices lie inside the layouts that `infer` checked; no other worker has this head.
            unsafe {
                let copy = Slice { ptr: scratch, stride: d, keys: d, width: d };
                for i in 0..d {
                    std::ptr::copy_nonoverlapping(state.row_ptr(i, h, s).cast::<f32>(), scratch.add(i * d), d);
                }
                let source = Source { call, h, s, j: 0, head_k: h / ratio, scale };
                for t in 0..tokens {
                    sweep::step::<L::V>(copy, source.token::<L>(t), scratch.add(d * d));
                }
                for i in 0..d {
                    std::ptr::copy_nonoverlapping(scratch.add(i * d), state.row_ptr(i, h, s).cast::<f32>(), d);
                }
            }
        }
    }
}
