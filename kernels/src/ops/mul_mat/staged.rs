//! `mul_mat` of single columns.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, no_scratch};
use crate::ops::multiply::cuda::{
    BLOCKS, PER, STAGED, STAGED_WARPS, TOLERANCE, activation_form, lanes, staged, type_macro,
};
use crate::variant::{Backend, Form, Reason, Spec};

/// `staged`.
pub(super) static ONE_COLUMN: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::MulMat,
            name: "staged",
            revision: 1,
            backend: Backend::Cuda,
            summary: "the column in shared memory, each piece of it used for several rows: decode",
            tunables: &[STAGED_WARPS, PER],
            tolerance: TOLERANCE,
        },
        sources: &[BLOCKS, STAGED, include_str!("staged.cu")],
        supports: |inst| {
            let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
            let (columns, planes) = (x.ne[1], x.ne[2] * x.ne[3]);
            staged(w, w.ne[0])?;
            Reason::unless(columns < 1 << 16 && planes < 1 << 16, || format!("{columns} columns in {planes} planes"))
        },
        form: |inst, i| if i == 1 { activation_form(&inst.inputs[0]) } else { Form::AsIs },
        macros: |inst, tunables| {
            let w = &inst.inputs[0];
            vec![
                type_macro("WEIGHT", w.dtype),
                ("PIECES", (w.ne[0] / 32).to_string()),
                ("LANES", lanes(w).to_string()),
                ("WARPS", tunables.get(0).to_string()),
                ("TOGETHER", tunables.get(1).to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let (w, x, threads) = (&inst.inputs[0], &inst.inputs[1], 32 * tunables.get(0));
            let rows = threads / lanes(w) * tunables.get(1);
            let grid = [w.ne[1].div_ceil(rows), x.ne[1], x.ne[2] * x.ne[3]];
            let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
            vec![Launch { entry: "mul_mat", grid, block: [threads, 1, 1], shared: 0, args }]
        },
    },
    // Fewer rows leave the device idle with two rows a warp.
    preferred: |inst| inst.inputs[1].ne[1] == 1 && inst.inputs[0].ne[1] >= 4096,
};
