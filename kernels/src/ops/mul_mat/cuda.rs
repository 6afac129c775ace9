//! `mul_mat` on a GPU.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, no_scratch};
use crate::ops::multiply::cuda::{BLOCKS, TOLERANCE, WARPS, activation_form, lanes, type_macro};
use crate::variant::{Backend, Form, Instance, Reason, Spec, Tunable, Tunables};

const COLUMNS: Tunable = Tunable {
    name: "columns",
    doc: "columns that a row is unpacked for at most",
    default: 8,
    values: &[1, 2, 4, 8, 16],
};

/// `dp4a`.
pub(super) static DP4A: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::MulMat,
        name: "dp4a",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a warp a row, int8 products; a row is unpacked once for a few columns: decode and short prompts",
        tunables: &[WARPS, COLUMNS],
        tolerance: TOLERANCE,
    },
    sources: &[BLOCKS, include_str!("cuda.cu")],
    supports,
    form: |inst, i| if i == 1 { activation_form(&inst.inputs[0]) } else { Form::AsIs },
    macros: |inst, tunables| {
        let w = &inst.inputs[0];
        vec![
            type_macro("WEIGHT", w.dtype),
            ("LANES", lanes(w).to_string()),
            ("COLUMNS", columns(inst, tunables).to_string()),
        ]
    },
    scratch: no_scratch,
    launches: |inst, tunables| {
        let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
        let threads = 32 * tunables.get(0);
        let rows = threads / lanes(w);
        let grid = [w.ne[1].div_ceil(rows), x.ne[1].div_ceil(columns(inst, tunables)), x.ne[2] * x.ne[3]];
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        vec![Launch { entry: "mul_mat", grid, block: [threads, 1, 1], shared: 0, args }]
    },
};

/// Columns of a thread block: no more than there are.
fn columns(inst: &Instance, tunables: &Tunables) -> usize {
    tunables.get(1).min(inst.inputs[1].ne[1].next_power_of_two()).max(1)
}

fn supports(inst: &Instance) -> Result<(), Reason> {
    let x = &inst.inputs[1];
    let (columns, planes) = (x.ne[1], x.ne[2] * x.ne[3]);
    Reason::unless(columns < 1 << 16 && planes < 1 << 16, || format!("{columns} columns in {planes} planes"))
}
