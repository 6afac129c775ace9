//! Ops that compute each row of the result by itself: rows dealt over the workers, or all on one.

use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch};
use crate::variant::{Body, Call, Form, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Layout, Op};
use std::marker::PhantomData;
use std::ops::Range;

/// What a row of an op's result takes.
pub(super) trait RowOp: Sync + 'static {
    /// The op.
    const OP: Op;
    /// Largest relative error against the reference.
    const TOLERANCE: f32;

    /// Whether rows of inputs and outputs may have gaps between their elements.
    const ANY_STRIDES: bool = false;
    /// Whether every worker does all of a small instance ([`Kernel::redundant`]) where rows are dealt.
    const REDUNDANT: bool = false;

    /// What it asks of an instance beside what the op does. Unless it says more: contiguous rows of the outputs, or
    /// nothing with [`Self::ANY_STRIDES`].
    fn supports(inst: &Instance) -> Result<(), Reason> {
        let ok = Self::ANY_STRIDES || inst.outputs.iter().all(Layout::has_contiguous_rows);
        Reason::unless(ok, || "rows of the result must be contiguous".into())
    }

    /// How it wants input `index`. Unless it says more: with contiguous rows, or as it is with [`Self::ANY_STRIDES`].
    fn form(inst: &Instance, index: usize) -> Form {
        if Self::ANY_STRIDES { Form::AsIs } else { rows_or_cont(&inst.inputs[index]) }
    }

    /// Bytes of scratch for a worker.
    fn scratch(_inst: &Instance) -> usize {
        0
    }

    /// Computes rows of output 0, numbered as [`Layout::row_index`] does. Mark it `#[inline(always)]`.
    ///
    /// # Safety
    /// As [`Kernel::run`], in the level's features; no other worker has these rows.
    unsafe fn rows<L: Level>(call: &mut Call<'_>, rows: Range<usize>);
}

/// As it is if its rows are contiguous, else a contiguous copy.
pub(super) fn rows_or_cont(layout: &Layout) -> Form {
    if layout.has_contiguous_rows() { Form::AsIs } else { Form::Contiguous }
}

/// A variant of a [`RowOp`].
pub(super) struct ByRows<R> {
    spec: Spec,
    op: PhantomData<R>,
}

const ROWS: Tunable = Tunable { name: "rows", doc: "rows a task", default: 1, values: &[1, 2, 4, 8, 16, 32] };

impl<R: RowOp> ByRows<R> {
    /// Rows dealt over the workers.
    pub const fn threaded(name: &'static str, summary: &'static str) -> Self {
        Self::new(name, summary, &[ROWS])
    }

    /// The same code on one worker.
    pub const fn serial() -> Self {
        Self::new("serial", "one thread, row by row; the others wait", &[])
    }

    const fn new(name: &'static str, summary: &'static str, tunables: &'static [Tunable]) -> Self {
        let (op, revision, backend, tolerance) = (R::OP, 1, Backend::Cpu, R::TOLERANCE);
        ByRows { spec: Spec { op, name, revision, backend, summary, tunables, tolerance }, op: PhantomData }
    }
}

impl<R: RowOp> Variant for ByRows<R> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        R::supports(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl<R: RowOp> Kernel for ByRows<R> {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        R::form(inst, index)
    }

    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        if self.spec.tunables.is_empty() { 1 } else { inst.outputs[0].rows().div_ceil(tunables.get(0)) }
    }

    fn scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        R::scratch(inst)
    }

    fn redundant(&self, inst: &Instance) -> bool {
        R::REDUNDANT && !self.spec.tunables.is_empty() && inst.is_little()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let total = call.outputs[0].layout.rows();
        let task = if self.spec.tunables.is_empty() { total.max(1) } else { call.tunables.get(0) };
        let mine = call.share(total.div_ceil(task));
        let rows = (mine.start * task).min(total)..(mine.end * task).min(total);
        dispatch(Isa::detect(), Share::<R> { call, rows, op: PhantomData });
    }
}

/// One worker's rows. Made by [`Kernel::run`] only, whose contract it relies on.
struct Share<'a, 'b, R> {
    call: &'a mut Call<'b>,
    rows: Range<usize>,
    op: PhantomData<R>,
}

impl<R: RowOp> Task for Share<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        // SAFETY: `Kernel::run` made this from its own call; shares do not overlap.
        unsafe { R::rows::<L>(self.call, self.rows) }
    }
}
