//! `mul_mat` of single columns of F32: no launch to quantise them.

use crate::Layout;
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, TENSOR, as_is, no_scratch};
use crate::ops::multiply::cuda::{
    BLOCKS, COLUMN, GEMV, STAGED, STRIPES, TOLERANCE, beside, in_stripes, stripe_lanes, stripe_room, type_macro,
};
use crate::variant::{Backend, Reason, Spec, Tunables};

/// `gemv`.
pub(super) static STRIPED: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::MulMat,
            name: "gemv",
            revision: 2,
            backend: Backend::Cuda,
            summary: "every block quantises the column for itself, a warp a stripe of rows: decode",
            tunables: STRIPES,
            tolerance: TOLERANCE,
        },
        sources: &[TENSOR, BLOCKS, STAGED, COLUMN, GEMV, include_str!("gemv.cu")],
        supports: |inst| {
            let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
            let (columns, planes) = (x.ne[1], x.ne[2] * x.ne[3]);
            in_stripes(w)?;
            Reason::unless(columns < 1 << 16 && planes < 1 << 16, || format!("{columns} columns in {planes} planes"))
        },
        form: as_is,
        macros: |inst, tunables| {
            let w = &inst.inputs[0];
            let (blocks, room) = (blocks(w, tunables), room(w, tunables));
            vec![
                type_macro("WEIGHT", w.dtype),
                ("PIECES", (w.ne[0] / 32).to_string()),
                ("WARPS", tunables.get(0).to_string()),
                ("TOGETHER", tunables.get(1).to_string()),
                ("WARP_ROOM", room.to_string()),
                ("BESIDE", beside(room, blocks, tunables.get(0)).to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let (w, x, warps) = (&inst.inputs[0], &inst.inputs[1], tunables.get(0));
            let grid = [blocks(w, tunables), x.ne[1], x.ne[2] * x.ne[3]];
            let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
            let shared = warps * room(w, tunables);
            vec![Launch { entry: "mul_mat", grid, block: [32 * warps, 1, 1], shared, args }]
        },
    },
    preferred: |inst| inst.inputs[1].rows() == 1,
};

/// Thread blocks: as many as asked for, but for those that would have no row.
fn blocks(w: &Layout, tunables: &Tunables) -> usize {
    w.ne[1].div_ceil(tunables.get(0) * tunables.get(1) * (32 / stripe_lanes(w))).min(tunables.get(2))
}

fn room(w: &Layout, tunables: &Tunables) -> usize {
    stripe_room(&[(w, blocks(w, tunables))], tunables)
}
