//! A thread a column, on a GPU.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_scratch};
use crate::variant::{Backend, Reason, Spec};

/// Rows of a matrix whose columns fit shared memory.
const MOST_ROWS: usize = 256;

/// `thread_column`.
pub(super) static THREAD_COLUMN: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::SolveTri,
        name: "thread_column",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a thread a column, solved from the top in shared memory",
        tunables: &[],
        tolerance: 5e-6,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |inst| {
        let rows = inst.inputs[0].ne[1];
        Reason::unless((1..=MOST_ROWS).contains(&rows), || format!("{rows} rows are not 1 to {MOST_ROWS}"))
    },
    form: as_is,
    macros: |inst, _| vec![("ROWS", inst.inputs[0].ne[1].to_string())],
    scratch: no_scratch,
    launches: |inst, _| {
        let b = &inst.inputs[1];
        let groups = b.ne[0].div_ceil(32);
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0), Arg::I32(groups as i32)];
        vec![Launch::line("solve_tri", groups * b.ne[2] * b.ne[3], 32, args)]
    },
};
