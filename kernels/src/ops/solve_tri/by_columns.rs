//! Blocks of columns, that is of systems, solved side by side in vectors. Columns do not depend on one another, so they
//! and the matrices of the batch are what is dealt over the workers.

use crate::cpu::Isa;
use crate::math::{Lanes, Level, Task, dispatch};
use crate::ops::by_rows::rows_or_cont;
use crate::ops::runs::{Run, Runs};
use crate::variant::{Body, Call, Form, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Layout, Op, TensorPtr};
use std::ops::Range;

/// The variants.
pub struct ByColumns(Spec);

const COLUMNS: Tunable =
    Tunable { name: "columns", doc: "systems a task", default: 64, values: &[16, 32, 64, 128, 256] };

impl ByColumns {
    /// `threaded`.
    pub const fn threaded() -> Self {
        Self::new("threaded", "matrices and blocks of columns split over the threads, in vectors", &[COLUMNS])
    }

    /// `serial`.
    pub const fn serial() -> Self {
        Self::new("serial", "one thread solves all; the others wait", &[])
    }

    const fn new(name: &'static str, summary: &'static str, tunables: &'static [Tunable]) -> Self {
        let (op, revision, backend, tolerance) = (Op::SolveTri, 1, Backend::Cpu, 5e-6);
        ByColumns(Spec { op, name, revision, backend, summary, tunables, tolerance })
    }

    /// The tasks: blocks of columns of each matrix.
    fn blocks(&self, x: &Layout, tunables: &Tunables) -> Runs {
        let columns = if self.0.tunables.is_empty() { x.ne[0].max(1) } else { tunables.get(0) };
        Runs::new([x.ne[0], 1, x.ne[2], x.ne[3]], columns)
    }
}

impl Variant for ByColumns {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(inst.outputs[0].has_contiguous_rows(), || "rows of the result must be contiguous".into())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for ByColumns {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        if index == 1 { rows_or_cont(&inst.inputs[1]) } else { Form::AsIs }
    }

    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        if self.0.tunables.is_empty() { 1 } else { self.blocks(&inst.outputs[0], tunables).count() }
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let blocks = self.blocks(&call.outputs[0].layout, call.tunables);
        let mine = call.share(blocks.count());
        dispatch(Isa::detect(), Share { a: call.inputs[0], b: call.inputs[1], x: call.outputs[0], blocks, mine });
    }
}

/// One worker's blocks. Made by [`Kernel::run`] only, whose contract it relies on.
struct Share {
    a: TensorPtr,
    b: TensorPtr,
    x: TensorPtr,
    blocks: Runs,
    mine: Range<usize>,
}

impl Task for Share {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        for Run { at: [start, _, i2, i3], n } in self.blocks.range(self.mine.clone()) {
            let (mut i0, end) = (start, start + n);
            // The features are the level's, the columns this worker's own.
            // SAFETY: columns `start .. end` of matrix (i2, i3) lie inside b and x, whose rows are contiguous.
            unsafe {
                while end - i0 >= 4 * L::V::N {
                    self.solve::<L, 4>(i0, i2, i3);
                    i0 += 4 * L::V::N;
                }
                while end - i0 >= L::V::N {
                    self.solve::<L, 1>(i0, i2, i3);
                    i0 += L::V::N;
                }
                for i0 in i0..end {
                    self.solve_one::<L>(i0, i2, i3);
                }
            }
        }
    }
}

impl Share {
    /// Solves the systems of K vectors of columns from `i0` on.
    ///
    /// # Safety
    /// The columns lie inside b and x and are this worker's own; the level's features.
    #[inline(always)]
    unsafe fn solve<L: Level, const K: usize>(&self, i0: usize, i2: usize, i3: usize) {
        for i1 in 0..self.x.ne(1) {
            // Row `i1` of b is read before that of x, which may be the same, is written; no references are made.
            // SAFETY: rows of the matrix up to `i1`, the columns by the caller.
            unsafe {
                let b = self.b.row_ptr(i1, i2, i3).cast::<f32>().add(i0);
                let mut acc = [L::V::splat(0.0); K];
                for (k, acc) in acc.iter_mut().enumerate() {
                    *acc = L::V::load(b.add(k * L::V::N));
                }
                let (a, sa) = (self.a.row_ptr(i1, i2, i3), self.a.nb(0));
                let (top, sx) = (self.x.row_ptr(0, i2, i3).cast::<f32>().add(i0), self.x.nb(1));
                for j in 0..i1 {
                    let factor = L::V::splat(-a.add(j * sa).cast::<f32>().read());
                    let above = top.byte_add(j * sx);
                    for (k, acc) in acc.iter_mut().enumerate() {
                        *acc = factor.mul_add(L::V::load(above.add(k * L::V::N)), *acc);
                    }
                }
                let x = self.x.row_ptr(i1, i2, i3).cast::<f32>().add(i0);
                for (k, acc) in acc.into_iter().enumerate() {
                    acc.store(x.add(k * L::V::N));
                }
            }
        }
    }

    /// Solves the system of column `i0`.
    ///
    /// # Safety
    /// As [`Self::solve`].
    #[inline(always)]
    unsafe fn solve_one<L: Level>(&self, i0: usize, i2: usize, i3: usize) {
        for i1 in 0..self.x.ne(1) {
            // SAFETY: as `solve`.
            unsafe {
                let mut acc = self.b.get_f32([i0, i1, i2, i3]);
                for j in 0..i1 {
                    acc = L::mul_add(-self.a.get_f32([j, i1, i2, i3]), self.x.get_f32([i0, j, i2, i3]), acc);
                }
                self.x.set_f32([i0, i1, i2, i3], acc);
            }
        }
    }
}
