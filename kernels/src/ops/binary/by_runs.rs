//! Runs of elements in vectors where b is a number or a row of the same length. `threaded` and `fused` cut rows into
//! blocks, `rows` keeps them whole, `serial` is `rows` on one worker. In ik_llama.cpp#1266 `rows` took over from the
//! generic broadcast (16.7 → 17.6 t/s).

use super::{Function, repeated};
use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch};
use crate::ops::runs::{Run, Runs, flatten};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, TensorPtr};
use std::marker::PhantomData;
use std::ops::Range;

/// The variants.
pub struct ByRuns<F> {
    spec: Spec,
    split: Split,
    function: PhantomData<F>,
}

/// What is dealt over the workers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    Nothing,
    Rows,
    Blocks,
}

const BLOCK: Tunable = Tunable {
    name: "block",
    doc: "elements a task",
    default: 2048,
    values: &[256, 512, 1024, 2048, 4096, 8192, 16384],
};

impl<F: Function> ByRuns<F> {
    /// Blocks of elements.
    pub const fn blocks(name: &'static str) -> Self {
        Self::new(name, "blocks of elements split over the threads, in vectors", Split::Blocks)
    }

    /// Whole rows.
    pub const fn rows() -> Self {
        Self::new("rows", "rows split over the threads, each with one number or one row of b, in vectors", Split::Rows)
    }

    /// Whole rows on one worker.
    pub const fn serial() -> Self {
        Self::new("serial", "one thread, row by row; the others wait", Split::Nothing)
    }

    const fn new(name: &'static str, summary: &'static str, split: Split) -> Self {
        let (op, revision, backend, tolerance) = (F::OP, 1, Backend::Cpu, F::TOLERANCE);
        let tunables: &[Tunable] = if matches!(split, Split::Blocks) { &[BLOCK] } else { &[] };
        ByRuns {
            spec: Spec { op, name, revision, backend, summary, tunables, tolerance },
            split,
            function: PhantomData,
        }
    }
}

impl<F: Function> Variant for ByRuns<F> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, _inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl<F: Function> Kernel for ByRuns<F> {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        match self.split {
            Split::Nothing => 1,
            Split::Rows => inst.outputs[0].rows(),
            Split::Blocks => inst.outputs[0].elements().div_ceil(tunables.get(0)),
        }
    }

    fn redundant(&self, inst: &Instance) -> bool {
        self.split == Split::Blocks && inst.is_little()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (mut a, mut b, mut y) = (call.inputs[0], call.inputs[1], call.outputs[0]);
        let mut block = y.ne(0);
        if self.split == Split::Blocks {
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
        let (length, number) = (self.b.ne(0), self.b.ne(0) == 1);
        let side_by_side = sa == 4 && sy == 4 && (number || (sb == 4 && length == self.y.ne(0)));
        for Run { at, n } in self.runs.range(self.mine) {
            // Slices are made where elements lie side by side, and never two of one memory: in place there is only y's.
            // SAFETY: the F32 run lies inside a and y, and at the remainder inside b; no other worker has it.
            unsafe {
                let a = self.a.ptr.add(self.a.layout.offset(at)).cast::<f32>();
                let b = self.b.ptr.add(self.b.layout.offset(repeated(self.b.layout.ne, at))).cast::<f32>();
                let y = self.y.ptr.add(self.y.layout.offset(at)).cast::<f32>();
                if !side_by_side || std::ptr::eq(b, y) {
                    let first = at[0] % length;
                    let (b, mut j) = (b.byte_sub(first * sb), first);
                    for i in 0..n {
                        let v = F::vector::<L>(a.byte_add(i * sa).read(), b.byte_add(j * sb).read());
                        y.byte_add(i * sy).write(v);
                        j = if j + 1 == length { 0 } else { j + 1 };
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
