//! `mul_mat` of single columns of F32: no launch to quantise them.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, as_is, no_scratch};
use crate::ops::multiply::cuda::{
    BLOCKS, COLUMN, GEMV, STAGED, STRIPES, TOLERANCE, in_stripes, stripe_lanes, type_macro,
};
use crate::variant::{Backend, Reason, Spec};

/// `gemv`.
pub(super) static STRIPED: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::MulMat,
            name: "gemv",
            revision: 1,
            backend: Backend::Cuda,
            summary: "every block quantises the column for itself, a warp a stripe of rows: decode",
            tunables: STRIPES,
            tolerance: TOLERANCE,
        },
        sources: &[BLOCKS, STAGED, COLUMN, GEMV, include_str!("gemv.cu")],
        supports: |inst| {
            let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
            let (columns, planes) = (x.ne[1], x.ne[2] * x.ne[3]);
            in_stripes(w)?;
            Reason::unless(columns < 1 << 16 && planes < 1 << 16, || format!("{columns} columns in {planes} planes"))
        },
        form: as_is,
        macros: |inst, tunables| {
            let w = &inst.inputs[0];
            vec![
                type_macro("WEIGHT", w.dtype),
                ("PIECES", (w.ne[0] / 32).to_string()),
                ("WARPS", tunables.get(0).to_string()),
                ("TOGETHER", tunables.get(1).to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let (w, x, warps) = (&inst.inputs[0], &inst.inputs[1], tunables.get(0));
            let rows = warps * tunables.get(1) * (32 / stripe_lanes(w));
            let grid = [w.ne[1].div_ceil(rows).min(tunables.get(2)), x.ne[1], x.ne[2] * x.ne[3]];
            let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
            vec![Launch { entry: "mul_mat", grid, block: [32 * warps, 1, 1], args }]
        },
    },
    preferred: |inst| inst.inputs[1].rows() == 1,
};
