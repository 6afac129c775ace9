//! `mul_mat` of F32 weights on tensor cores, nearly to single precision.

use crate::cuda::{Arg, CudaVariant, Launch, Preferred, TENSOR, as_is, no_scratch};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};
use crate::{DType, Op};

/// Rows, columns, and groups of warps that share `k`.
struct Tile {
    rows: usize,
    columns: usize,
    groups: usize,
}

/// From large to small: a large one reads least, small ones are enough for all of a device.
const TILES: [Tile; 4] = [
    Tile { rows: 128, columns: 64, groups: 1 },
    Tile { rows: 64, columns: 64, groups: 2 },
    Tile { rows: 64, columns: 32, groups: 2 },
    Tile { rows: 32, columns: 32, groups: 4 },
];

/// Thread blocks that are enough for a device: three quarters of the processors of a large one.
const ENOUGH: usize = 96;

const TILE: Tunable = Tunable {
    name: "tile",
    doc: "tile of 1: 128x64, 2: 64x64, 3: 64x32, 4: 32x32; 0: the largest that gives a device enough thread blocks",
    default: 0,
    values: &[0, 1, 2, 3, 4],
};

/// `bf16x3`.
pub(super) static BF16X3: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::MulMat,
            name: "bf16x3",
            revision: 1,
            backend: Backend::Cuda,
            summary: "tiles of F32 on tensor cores, every factor as two bfloats, three products: prefill",
            tunables: &[TILE],
            tolerance: 1e-5,
        },
        sources: &[TENSOR, include_str!("bf16x3.cu")],
        supports,
        form: as_is,
        macros: |inst, tunables| {
            let tile = tile(inst, tunables);
            vec![
                ("ROWS", tile.rows.to_string()),
                ("COLUMNS", tile.columns.to_string()),
                ("GROUPS", tile.groups.to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
            vec![Launch {
                entry: "mul_mat",
                grid: grid(inst, tile(inst, tunables)),
                block: [256, 1, 1],
                shared: 0,
                args,
            }]
        },
    },
    preferred,
};

/// Rows of the output that a block loads in vain cost as much as others: few of them are left to `dp4a`.
fn preferred(inst: &Instance) -> bool {
    let (w, columns) = (&inst.inputs[0], inst.inputs[1].ne[1]);
    w.ne[1] >= 32 && columns >= 64
}

/// Thread blocks.
fn grid(inst: &Instance, tile: &Tile) -> [usize; 3] {
    let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
    [w.ne[1].div_ceil(tile.rows), x.ne[1].div_ceil(tile.columns), x.ne[2] * x.ne[3]]
}

fn tile(inst: &Instance, tunables: &Tunables) -> &'static Tile {
    let fills = |tile: &&Tile| grid(inst, tile).iter().product::<usize>() >= ENOUGH;
    match tunables.get(0) {
        0 => TILES.iter().find(fills).unwrap_or(&TILES[TILES.len() - 1]),
        n => &TILES[n - 1],
    }
}

fn supports(inst: &Instance) -> Result<(), Reason> {
    let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
    Reason::unless(w.dtype == DType::F32, || format!("{} weights", w.dtype))?;
    let (columns, planes) = (x.ne[1], x.ne[2] * x.ne[3]);
    Reason::unless(columns < 1 << 20 && planes < 1 << 16, || format!("{columns} columns in {planes} planes"))
}
