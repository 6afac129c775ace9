//! `candidates` on a GPU: a vocabulary's logits are divided over all multiprocessors, and what they find is ranked.

use super::cuda::KEYS;
use crate::cuda::{Arg, CudaVariant, Launch, as_is};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};
use crate::{Layout, Op};

/// More would not fit the smallest slice.
const MOST: usize = 256;
/// Threads of a block of the first launch.
const THREADS: usize = 256;
/// Warps of a block of the second.
const WARPS: usize = 8;

const SLICE: Tunable =
    Tunable { name: "slice", doc: "elements that a block sorts", default: 1024, values: &[256, 512, 1024, 2048, 4096] };

/// `slices`.
pub(super) static SLICES: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Candidates,
        name: "slices",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a block a slice of the row sorts it; then a warp counts, for each slice's first, how many come before",
        tunables: &[SLICE],
        tolerance: 0.0,
    },
    sources: &[KEYS, include_str!("candidates.cu")],
    supports: |inst| {
        let (k, rows) = (inst.outputs[0].ne[0], inst.inputs[0].rows());
        Reason::unless(k <= MOST, || format!("{k} are more than {MOST}"))?;
        Reason::unless(rows < 1 << 16, || format!("{rows} rows are more than a grid holds"))
    },
    form: as_is,
    macros: |inst, tunables| vec![("K", k(inst).to_string()), ("SLICE", tunables.get(0).to_string())],
    scratch: |inst, tunables| inst.inputs[0].rows() * slices(&inst.inputs[0], tunables) * k(inst) * size_of::<u64>(),
    launches: |inst, tunables| {
        let x = &inst.inputs[0];
        let (rows, slices) = (x.rows(), slices(x, tunables));
        let n = Arg::I32(slices as i32);
        let ranked = vec![Arg::Input(0), Arg::Output(0), Arg::Output(1), Arg::Scratch, n.clone()];
        let grid = [(slices * k(inst)).div_ceil(WARPS), rows, 1];
        vec![
            Launch::line("candidates_of_slices", rows * slices, THREADS, vec![Arg::Input(0), Arg::Scratch, n]),
            Launch { entry: "candidates_by_rank", shared: 0, grid, block: [32 * WARPS, 1, 1], args: ranked },
        ]
    },
};

fn k(inst: &Instance) -> usize {
    inst.outputs[0].ne[0]
}

fn slices(x: &Layout, tunables: &Tunables) -> usize {
    x.ne[0].div_ceil(tunables.get(0))
}
