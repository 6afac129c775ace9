//! One token a sequence: a head's channels go through convolution, silu and norms in scratch that stays in the first
//! cache level, its state is read and written once, and the result is normed while it is there.
//!
//! The arithmetic is that of the separate ops' default variants, so the bits are theirs.

use crate::cpu::Isa;
use crate::math::{self, Level, Task, dispatch, sum_squares};
use crate::ops::delta_net::{A, BA, CONV_STATE, DT, QKV, STATE, W_CONV, W_NORM, Z, params};
use crate::ops::gated_delta_net::sweep::{self, Slice};
use crate::ops::gated_delta_net::token::{Token, dot};
use crate::ops::norms::scale_row;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Fused(Spec);

/// `fused`.
pub static FUSED: Fused = Fused(Spec {
    op: Op::DeltaHeads,
    name: "fused",
    revision: 1,
    backend: Backend::Cpu,
    summary: "a head at a time in cache, one token a sequence, heads split over the threads",
    tunables: &[],
    tolerance: 1e-5,
});

/// Taps are unrolled.
const TAPS: usize = 4;

pub(super) fn supports(inst: &Instance) -> Result<(), Reason> {
    let (_, d, _) = params(inst);
    let [_, tokens, ..] = inst.inputs[QKV].ne;
    Reason::unless(tokens == 1, || format!("{tokens} tokens a sequence, not one"))?;
    let taps = inst.inputs[W_CONV].ne[0];
    Reason::unless(taps == TAPS, || format!("{taps} taps, not {TAPS}"))?;
    Reason::unless(d.is_multiple_of(16), || format!("the head size {d} is no multiple of 16"))?;
    Reason::unless(inst.inputs[W_CONV].is_contiguous(), || "w_conv must be contiguous".into())?;
    for (i, name) in [(QKV, "qkv"), (Z, "z"), (CONV_STATE, "conv_state"), (STATE, "state"), (W_NORM, "w_norm")] {
        Reason::unless(inst.inputs[i].has_contiguous_rows(), || format!("rows of {name} must be contiguous"))?;
    }
    Reason::unless(inst.outputs[0].has_contiguous_rows(), || "rows of o must be contiguous".into())
}

impl Variant for Fused {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        supports(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Fused {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        inst.inputs[STATE].ne[2] * inst.inputs[STATE].ne[3]
    }

    /// Query, key, value and the two rows of sums of a sweep.
    fn scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        5 * params(inst).1 * size_of::<f32>()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let scratch = call.scratch.as_mut_ptr().cast();
        dispatch(Isa::detect(), Work(call, scratch));
    }
}

/// A worker's heads. Made by [`Kernel::run`] only, whose contract it relies on.
struct Work<'a, 'b>(&'a Call<'b>, *mut f32);

impl Task for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let Work(call, scratch) = self;
        let (hk, d, _) = params(call.inst);
        let heads = call.inputs[STATE].ne(2);
        let mut ready = None;
        for task in call.share(heads * call.inputs[STATE].ne(3)) {
            let (h, s) = (task % heads, task / heads);
            let head = Head { call, h, s, d, key: h * hk / heads, hk, ratio: heads / hk };
            // SAFETY: the head is no other worker's, and scratch has room for three vectors and the sums.
            unsafe {
                let [q, k, v, sums] = [0, 1, 2, 3].map(|n| scratch.add(n * d));
                // Neighbouring heads share a key head.
                if ready != Some((head.key, s)) {
                    head.convolve::<L>(head.key * d, q);
                    head.convolve::<L>((hk + head.key) * d, k);
                    head.unit::<L>(q);
                    head.unit::<L>(k);
                    ready = Some((head.key, s));
                }
                head.convolve::<L>((2 * hk + h) * d, v);
                let o = call.outputs[0].row_ptr(0, s, 0).cast::<f32>().add(h * d);
                let token = head.token::<L>([q, k, v], o);
                let state = call.inputs[STATE];
                let stride = state.nb(1) / size_of::<f32>();
                let slice = Slice { ptr: state.row_ptr(0, h, s).cast::<f32>(), stride, keys: d, width: d };
                sweep::step::<L::V>(slice, token, sums);
                head.gated_norm::<L>(o);
            }
        }
    }
}

/// A value head of a sequence.
struct Head<'a, 'b> {
    call: &'a Call<'b>,
    h: usize,
    s: usize,
    /// Its width.
    d: usize,
    /// Its key head.
    key: usize,
    /// Key heads.
    hk: usize,
    /// Value heads to a key head.
    ratio: usize,
}

impl Head<'_, '_> {
    /// Convolution and silu of the `d` channels from `from` on.
    ///
    /// # Safety
    /// As [`Kernel::run`]; the channels exist; `to` has room for them.
    #[inline(always)]
    unsafe fn convolve<L: Level>(&self, from: usize, to: *mut f32) {
        let (call, n) = (self.call, self.d);
        // SAFETY: by the caller's contract; rows and w are contiguous (`supports`), and scratch overlaps none of them.
        unsafe {
            let past = |k| &call.inputs[CONV_STATE].row_f32(k, self.s, 0)[from..from + n];
            let (x0, x1, x2) = (past(0), past(1), past(2));
            let x3 = &call.inputs[QKV].row_f32(0, self.s, 0)[from..from + n];
            let w = call.inputs[W_CONV].ptr.cast::<[f32; TAPS]>().cast_const().add(from);
            let w = std::slice::from_raw_parts(w, n);
            let y = std::slice::from_raw_parts_mut(to, n);
            for i in 0..n {
                let sum = L::mul_add(w[i][1], x1[i], w[i][0] * x0[i]);
                y[i] = L::mul_add(w[i][3], x3[i], L::mul_add(w[i][2], x2[i], sum));
            }
            for y in y {
                *y = math::silu::<L>(*y);
            }
        }
    }

    /// L2 norm in place.
    ///
    /// # Safety
    /// `d` live F32 that are this worker's own; the level's features.
    #[inline(always)]
    unsafe fn unit<L: Level>(&self, x: *mut f32) {
        let eps = params(self.call.inst).2;
        // SAFETY: by the caller's contract; the slice does not outlive the sum.
        unsafe {
            let squares = sum_squares::<L>(std::slice::from_raw_parts(x, self.d));
            scale_row::<L>(self.d, x, 1.0 / (squares + eps).sqrt(), None, x);
        }
    }

    /// What the token brings, gates included.
    ///
    /// # Safety
    /// As [`Kernel::run`]; `q`, `k` and `v` hold `d` elements.
    #[inline(always)]
    unsafe fn token<L: Level>(&self, [q, k, v]: [*mut f32; 3], o: *mut f32) -> Token {
        let (call, d, h) = (self.call, self.d, self.h);
        let b = self.key * 2 * self.ratio + h % self.ratio;
        let scale = 1.0 / (d as f32).sqrt();
        debug_assert!(self.key < self.hk);
        // SAFETY: by the caller's contract, and indices lie inside the layouts that `infer` checked.
        unsafe {
            let beta = math::sigmoid::<L>(call.inputs[BA].get_f32([b, 0, self.s, 0]));
            let step = call.inputs[BA].get_f32([b + self.ratio, 0, self.s, 0]) + call.inputs[DT].get_f32([h, 0, 0, 0]);
            let g = call.inputs[A].get_f32([h, 0, 0, 0]) * math::softplus::<L>(step);
            let (key, query) = (std::slice::from_raw_parts(k, d), std::slice::from_raw_parts(q, d));
            let kq = scale * dot::<L::V>(key, query);
            Token { k, q, v, o, decay: math::exp::<L>(g), beta, kq, scale }
        }
    }

    /// Norm, weight and gate, in place.
    ///
    /// # Safety
    /// As [`Kernel::run`]; `o` is this head's part of the result.
    #[inline(always)]
    unsafe fn gated_norm<L: Level>(&self, o: *mut f32) {
        let (call, d) = (self.call, self.d);
        let eps = params(call.inst).2;
        // SAFETY: by the caller's contract; no slice of `o` lives while it is written through another.
        unsafe {
            let mean = sum_squares::<L>(std::slice::from_raw_parts(o, d)) / d as f32;
            let w = call.inputs[W_NORM].ptr.cast::<f32>().cast_const();
            scale_row::<L>(d, o, 1.0 / (mean + eps).sqrt(), Some(w), o);
            let z = &call.inputs[Z].row_f32(0, self.s, 0)[self.h * d..][..d];
            for (y, z) in std::slice::from_raw_parts_mut(o, d).iter_mut().zip(z) {
                *y *= math::silu::<L>(*z);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{Tensor, compare, fill, run_variant};
    use crate::ops::OpDef;
    use crate::ops::delta_net::{DeltaNet, W_NORM};
    use crate::plan::Defaults;
    use crate::pool::Pool;
    use crate::{Backend, Op, Tunables, ops};

    #[test]
    fn fused_and_separate_give_the_same_bits() {
        let takes =
            |layouts: &[ops::Input]| layouts[0].layout.ne[1] == 1 && layouts[W_NORM].layout.ne[0].is_multiple_of(16);
        for case in DeltaNet.cases().iter().filter(|c| takes(&c.inputs)) {
            let tensor = |(n, i): (u64, &ops::Input)| Tensor { layout: i.layout, data: fill(&i.layout, i.fill, n) };
            let inputs: Vec<Tensor> = (0..).zip(&case.inputs).map(tensor).collect();
            let [fused, lowered] = ["fused", "lowered"].map(|name| {
                let v = ops::variant(Op::DeltaNet, Backend::Cpu, name).unwrap();
                run_variant(&mut Pool::new(2), v, &Tunables::defaults(&[]), case.params, &inputs, None, &Defaults)
                    .unwrap()
            });
            assert!(!compare(&lowered, &fused).bits_differ, "{}: {:?}", case.name, compare(&lowered, &fused));
        }
    }
}
