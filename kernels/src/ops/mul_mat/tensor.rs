//! `mul_mat` on tensor cores.

use crate::cuda::{Arg, CudaVariant, Launch, Preferred, as_is};
use crate::ops::multiply::cuda::type_macro;
use crate::ops::multiply::tensor::{MANY, ROWS, TILES, TOLERANCE, halves, padded};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};
use crate::{DType, Op};

const COLUMNS: Tunable =
    Tunable { name: "columns", doc: "columns of a tile at most", default: 128, values: &[32, 64, 128] };

/// `tensor`.
pub(super) static TENSOR: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::MulMat,
            name: "tensor",
            revision: 1,
            backend: Backend::Cuda,
            summary: "tiles on tensor cores, weights unpacked to halves (F32 to two each) in shared memory: prefill",
            tunables: &[COLUMNS],
            tolerance: TOLERANCE,
        },
        sources: &[TILES[0], TILES[1], TILES[2], include_str!("tensor.cu")],
        supports,
        form: as_is,
        macros: |inst, tunables| {
            vec![type_macro("WEIGHT", inst.inputs[0].dtype), ("TILE", columns(inst, tunables).to_string())]
        },
        scratch: |inst, _| halves(&inst.inputs[0], inst.inputs[1].rows()),
        launches: |inst, tunables| {
            let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
            let wide = Arg::I32(padded(w.ne[0]) as i32);
            let grid = [w.ne[1].div_ceil(ROWS), x.ne[1].div_ceil(columns(inst, tunables)), x.ne[2] * x.ne[3]];
            let args = vec![Arg::Input(0), Arg::Output(0), Arg::Scratch, wide.clone()];
            vec![
                Launch::line("halve", x.rows(), 256, vec![Arg::Input(1), Arg::Scratch, wide]),
                Launch { entry: "mul_mat", grid, block: [ROWS, 1, 1], shared: 0, args },
            ]
        },
    },
    preferred,
};

/// F32 weights are quicker by `bf16x3`, or by `dp4a` if they are few.
fn preferred(inst: &Instance) -> bool {
    inst.inputs[1].ne[1] >= MANY && inst.inputs[0].dtype != DType::F32
}

/// Columns of a tile: not many more than there are.
fn columns(inst: &Instance, tunables: &Tunables) -> usize {
    tunables.get(0).min(inst.inputs[1].ne[1].next_power_of_two()).max(32)
}

fn supports(inst: &Instance) -> Result<(), Reason> {
    let x = &inst.inputs[1];
    let (columns, planes) = (x.ne[1], x.ne[2] * x.ne[3]);
    Reason::unless(columns < 1 << 20 && planes < 1 << 16, || format!("{columns} columns in {planes} planes"))
}
