//! One way to multiply, for whole matrices.

use crate::ops::multiply::{Columns, Multiply, PANEL, Places, Prepared, Weight, spans, worthwhile};
use crate::variant::{Body, Call, Form, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Op, TensorPtr};
use std::marker::PhantomData;

/// The variant.
pub struct Dense<M> {
    spec: Spec,
    multiply: PhantomData<M>,
}

/// Splitting columns too keeps all workers busy where rows are few.
const COLUMNS: Tunable =
    Tunable { name: "columns", doc: "tokens a task", default: 128, values: &[32, 64, 128, 512, 4096] };

impl<M: Multiply> Dense<M> {
    /// `mul_mat` by `M`.
    pub const fn new() -> Self {
        let (name, summary, tolerance) = (M::NAME, M::SUMMARY, M::TOLERANCE);
        let tunables = const { &[M::ROWS, COLUMNS] };
        let spec = Spec { op: Op::MulMat, name, revision: 1, backend: Backend::Cpu, summary, tunables, tolerance };
        Dense { spec, multiply: PhantomData }
    }
}

impl<M: Multiply> Variant for Dense<M> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(inst.outputs[0].has_contiguous_rows(), || "rows of the result must be contiguous".into())?;
        M::supports(&inst.inputs[0])
    }

    fn here(&self) -> Result<(), Reason> {
        M::here()
    }

    fn preferred(&self, inst: &Instance) -> bool {
        M::preferred(&inst.inputs[0], columns(inst))
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

/// Columns that meet each row of the weight.
fn columns(inst: &Instance) -> usize {
    let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
    x.rows() / (w.ne[2] * w.ne[3]).max(1)
}

/// The columns that workers prepare together, at `lines`: those of a single plane, if there are many.
fn prepared<M: Multiply>(inst: &Instance, lines: *mut u8) -> Option<Prepared> {
    let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
    let columns = x.ne[1] * x.ne[2];
    let one = w.ne[2] * w.ne[3] * x.ne[3] == 1 && worthwhile(columns);
    let isa = M::prepares(w).filter(|_| one)?;
    Some(Prepared::new(isa, w.dtype, w.ne[0], columns, lines))
}

/// The work: planes of the weight, tasks of rows, chunks of columns.
struct Work {
    /// Columns of a plane of the weight in one plane `i3` of the activations.
    columns: usize,
    task: usize,
    chunk: usize,
    /// Pairs of a task and a chunk in a plane.
    units: usize,
    planes: usize,
}

impl Work {
    fn of<M: Multiply>(inst: &Instance, tunables: &Tunables) -> Work {
        let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
        let (task, chunk) = (tunables.get(0).next_multiple_of(M::GROUP), tunables.get(1));
        let columns = x.ne[1] * (x.ne[2] / w.ne[2]);
        let prepared = prepared::<M>(inst, std::ptr::null_mut()).is_some();
        let chunk = if prepared { PANEL } else { chunk };
        let units = w.ne[1].div_ceil(task) * columns.div_ceil(chunk);
        Work { columns, task, chunk, units, planes: w.ne[2] * x.ne[3] }
    }
}

impl<M: Multiply> Kernel for Dense<M> {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
        if index == 0 { M::weight_form(w) } else { M::activation_form(w, x) }
    }

    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let work = Work::of::<M>(inst, tunables);
        work.units * work.planes
    }

    fn scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        M::scratch(&inst.inputs[0])
    }

    fn shared_scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        prepared::<M>(inst, std::ptr::null_mut()).map_or(0, |p| p.bytes())
    }

    fn phases(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        1 + usize::from(prepared::<M>(inst, std::ptr::null_mut()).is_some())
    }

    fn divisible(&self, inst: &Instance) -> bool {
        M::prepares(&inst.inputs[0]).is_none() || prepared::<M>(inst, std::ptr::null_mut()).is_some()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (w, x, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        let work = Work::of::<M>(call.inst, call.tunables);
        let prepared = prepared::<M>(call.inst, call.shared);
        if let Some(prepared) = prepared.filter(|_| call.phase == 0) {
            // SAFETY: activations of a block type are quantised; x is one plane, and shares of it do not overlap.
            unsafe {
                let columns = Columns::planes(x, 0, x.ne(2), 0).quantised();
                return prepared.pack(columns, call.share(work.columns));
            }
        }
        let mine = call.share(work.units * work.planes);
        let mut at = mine.start;
        while at < mine.end {
            let (plane, from) = (at / work.units, at % work.units);
            let to = work.units.min(from + mine.end - at);
            // SAFETY: the contract is the same, shares do not overlap, and columns were prepared in the phase before.
            unsafe { part::<M>([w, x, y], plane, &work, from..to, prepared, call.scratch) };
            at += to - from;
        }
    }
}

/// Part of a plane of the weight with the planes of activations that share it.
///
/// # Safety
/// As [`Kernel::run`]; nobody else has these units; all columns were prepared, if any.
unsafe fn part<M: Multiply>(
    [w, x, y]: [&TensorPtr; 3],
    plane: usize,
    work: &Work,
    units: std::ops::Range<usize>,
    prepared: Option<Prepared>,
    scratch: &mut [u8],
) {
    let (i2, i3, shared) = (plane % w.ne(2), plane / w.ne(2), x.ne(2) / w.ne(2));
    // SAFETY: the planes exist, as the shapes were checked.
    let (weight, columns, places) = unsafe {
        (
            Weight::of(w, i2, i3 / (x.ne(3) / w.ne(3))),
            Columns::planes(x, i2 * shared, shared, i3),
            Places::planes(y, i2 * shared, shared, i3),
        )
    };
    // SAFETY: by the caller's contract.
    let columns = prepared.map_or(columns, |p| unsafe { columns.with_prepared(p) });
    let (by_rows, by_columns) = ([w.ne(1), work.task], [work.columns, work.chunk]);
    // A panel that was prepared stays in a worker's second cache level while its rows pass; other columns are prepared for
    // each rectangle, so those are wide.
    let (major, minor) = if prepared.is_some() { (by_columns, by_rows) } else { (by_rows, by_columns) };
    for (major, minor) in spans(units, major, minor) {
        let (rows, range) = if prepared.is_some() { (minor, major) } else { (major, minor) };
        // SAFETY: rows and columns exist; products go to places of these rows and columns, which are this worker's.
        unsafe {
            M::rows(&weight, rows, &columns, range, scratch, &mut |column, row, products| {
                let to = places.at(column).cast::<f32>().add(row);
                std::ptr::copy_nonoverlapping(products.as_ptr(), to, products.len());
            });
        }
    }
}
