//! Both gates of a token in one visit: the packed row is taken apart into arrays, over which the functions vectorise.

use super::{b_index, ratio};
use crate::cpu::Isa;
use crate::math::{self, Level, Task, dispatch};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Fused(Spec);

/// `fused`.
pub static FUSED: Fused = Fused(Spec {
    op: Op::DeltaGates,
    name: "fused",
    revision: 1,
    backend: Backend::Cpu,
    summary: "sigmoid, softplus and decay in one visit, any strides, tokens and heads split over the threads",
    tunables: &[],
    tolerance: 2e-6,
});

/// Heads at a time, and the smallest task.
const HEADS: usize = 32;

impl Variant for Fused {
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

impl Kernel for Fused {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        let [heads, tokens, sequences, _] = inst.outputs[0].ne;
        heads.div_ceil(HEADS) * tokens * sequences
    }

    fn redundant(&self, inst: &Instance) -> bool {
        inst.is_little()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        dispatch(Isa::detect(), Work(call));
    }
}

struct Work<'a, 'b>(&'a Call<'b>);

impl Task for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let call = self.0;
        let ratio = ratio(call.inst);
        let (ba, dt, a) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        let (g, beta) = (&call.outputs[0], &call.outputs[1]);
        let [heads, tokens, sequences, _] = g.layout.ne;
        let groups = heads.div_ceil(HEADS);
        for task in call.share(groups * tokens * sequences) {
            let (h0, t, s) = (task % groups * HEADS, task / groups % tokens, task / groups / tokens);
            let n = HEADS.min(heads - h0);
            let (mut strength, mut steps, mut rates) = ([0.0f32; HEADS], [0.0f32; HEADS], [0.0f32; HEADS]);
            for h in 0..n {
                let i = b_index(h0 + h, ratio);
                // SAFETY: indices lie inside the layouts that `infer` checked.
                unsafe {
                    strength[h] = ba.get_f32([i, t, s, 0]);
                    steps[h] = ba.get_f32([i + ratio, t, s, 0]) + dt.get_f32([h0 + h, 0, 0, 0]);
                    rates[h] = a.get_f32([h0 + h, 0, 0, 0]);
                }
            }
            for h in 0..HEADS {
                strength[h] = math::sigmoid::<L>(strength[h]);
                steps[h] = rates[h] * math::softplus::<L>(steps[h]);
            }
            for h in 0..n {
                // SAFETY: as above, and no other worker has this task.
                unsafe {
                    g.set_f32([h0 + h, t, s, 0], steps[h]);
                    beta.set_f32([h0 + h, t, s, 0], strength[h]);
                }
            }
        }
    }
}
