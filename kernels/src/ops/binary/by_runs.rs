//! Runs of elements with b a number or a row of the same length, in vectors. `threaded` and `fused` cut rows into blocks;
//! `rows` keeps them whole. In ik_llama.cpp#1266 this took over from the generic broadcast (16.7 → 17.6 t/s).

use super::{Function, repeated};
use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch};
use crate::ops::runs::{Run, Runs, flatten};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, TensorPtr};
use std::marker::PhantomData;
use std::ops::Range;

/// The variants.
pub struct ByRuns<F>(Spec, PhantomData<F>);

const BLOCK: Tunable = Tunable {
    name: "block",
    doc: "elements a task",
    default: 2048,
    values: &[256, 512, 1024, 2048, 4096, 8192, 16384],
};

impl<F: Function> ByRuns<F> {
    /// Blocks of elements.
    pub const fn blocks(name: &'static str) -> Self {
        Self::new(name, "blocks of elements split over the threads, in vectors", &[BLOCK])
    }

    /// Whole rows.
    pub const fn rows() -> Self {
        Self::new("rows", "rows split over the threads, each with one number or one row of b, in vectors", &[])
    }

    const fn new(name: &'static str, summary: &'static str, tunables: &'static [Tunable]) -> Self {
        let (revision, backend, tolerance) = (1, Backend::Cpu, F::TOLERANCE);
        ByRuns(Spec { op: F::OP, name, revision, backend, summary, tunables, tolerance }, PhantomData)
    }
}

impl<F: Function> Variant for ByRuns<F> {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        let (a, b) = (inst.inputs[0].ne[0], inst.inputs[1].ne[0]);
        Reason::unless(b == 1 || b == a, || format!("{b} elements would be repeated within a row of {a}"))
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl<F: Function> Kernel for ByRuns<F> {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let out = &inst.outputs[0];
        if self.0.tunables.is_empty() { out.rows() } else { out.elements().div_ceil(tunables.get(0)) }
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (mut a, mut b, mut y) = (call.inputs[0], call.inputs[1], call.outputs[0]);
        let mut block = y.ne(0);
        if !self.0.tunables.is_empty() {
            block = call.tunables.get(0);
            if b.layout.elements() == 1 {
                [a, y] = flatten([a, y]);
            } else {
                [a, b, y] = flatten([a, b, y]);
            }
        }
        let runs = Runs::new(y.layout.ne, block.max(1));
        let mine = call.share(runs.count());
        dispatch(Isa::detect(), Share::<F> { a, b, y, runs, mine, function: PhantomData });
    }
}

/// One worker's runs. Made by [`Kernel::run`] only, whose contract it relies on.
struct Share<F> {
    a: TensorPtr,
    b: TensorPtr,
    y: TensorPtr,
    runs: Runs,
    mine: Range<usize>,
    function: PhantomData<F>,
}

impl<F: Function> Task for Share<F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let (sa, sb, sy) = (self.a.nb(0), self.b.nb(0), self.y.nb(0));
        let number = self.b.ne(0) == 1;
        for Run { at, n } in self.runs.range(self.mine) {
            // SAFETY: the run lies inside a and y, which have one shape, and at the remainder inside b, which has as
            // long a row or one element there (`supports`). All are F32, and no other worker has the run. Slices are
            // made where elements lie side by side, and never two of one memory: in place there is only y's.
            unsafe {
                let a = self.a.ptr.add(self.a.layout.offset(at)).cast::<f32>();
                let b = self.b.ptr.add(self.b.layout.offset(repeated(self.b.layout.ne, at))).cast::<f32>();
                let y = self.y.ptr.add(self.y.layout.offset(at)).cast::<f32>();
                let dense = sa == 4 && sy == 4 && (number || sb == 4) && !std::ptr::eq(b, y);
                if !dense {
                    let sb = if number { 0 } else { sb };
                    for i in 0..n {
                        let v = F::vector::<L>(a.byte_add(i * sa).read(), b.byte_add(i * sb).read());
                        y.byte_add(i * sy).write(v);
                    }
                    continue;
                }
                let in_place = std::ptr::eq(a, y);
                let y = std::slice::from_raw_parts_mut(y, n);
                match (number, in_place) {
                    (true, true) => scale_in_place::<F, L>(y, b.read()),
                    (true, false) => scale::<F, L>(y, std::slice::from_raw_parts(a, n), b.read()),
                    (false, true) => join_in_place::<F, L>(y, std::slice::from_raw_parts(b, n)),
                    (false, false) => {
                        join::<F, L>(y, std::slice::from_raw_parts(a, n), std::slice::from_raw_parts(b, n));
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn scale_in_place<F: Function, L: Level>(y: &mut [f32], b: f32) {
    for y in y {
        *y = F::vector::<L>(*y, b);
    }
}

#[inline(always)]
fn scale<F: Function, L: Level>(y: &mut [f32], a: &[f32], b: f32) {
    for (y, a) in y.iter_mut().zip(a) {
        *y = F::vector::<L>(*a, b);
    }
}

#[inline(always)]
fn join_in_place<F: Function, L: Level>(y: &mut [f32], b: &[f32]) {
    for (y, b) in y.iter_mut().zip(b) {
        *y = F::vector::<L>(*y, *b);
    }
}

#[inline(always)]
fn join<F: Function, L: Level>(y: &mut [f32], a: &[f32], b: &[f32]) {
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = F::vector::<L>(*a, *b);
    }
}
