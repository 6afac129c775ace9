//! `attention` of prompts on tensor cores.

use super::{K, POS, Q, V, scale};
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, TENSOR, as_is, no_scratch};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};
use crate::{DType, Layout, Op};

const WARPS: Tunable = Tunable {
    name: "warps",
    doc: "warps of a block, of 16 rows each; 0 is 8, or 4 where that gives too few blocks",
    default: 0,
    values: &[0, 4, 8],
};
/// Fewer blocks than this leave much of a large device idle.
const BLOCKS: usize = 128;
/// From so many tokens on, a tile of rows is better than a warp for each.
const MANY: usize = 16;

/// `flash_tensor`.
pub(super) static FLASH_TENSOR: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::Attention,
            name: "flash_tensor",
            revision: 1,
            backend: Backend::Cuda,
            summary: "tiles of tokens and their query heads on tensor cores, one pass over F16 cells: prefill",
            tunables: &[WARPS],
            // Queries and weights are halves.
            tolerance: 2e-3,
        },
        sources: &[TENSOR, include_str!("flash_tensor.cu")],
        supports,
        form: as_is,
        macros: |inst, tunables| {
            let head = inst.inputs[Q].ne[0];
            vec![
                ("HEAD", head.to_string()),
                ("GROUP", group(inst).to_string()),
                // Three tiles of cells come to the 48 kB that every device has, or to less.
                ("CELLS", (if head == 256 { 32 } else { 64 }).to_string()),
                ("WARPS", warps(inst, tunables).to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let (k, warps) = (&inst.inputs[K], warps(inst, tunables));
            let mut args: Vec<Arg> = [Q, K, V, POS].map(Arg::Input).to_vec();
            args.extend([Arg::Output(0), Arg::F32(scale(&inst.params))]);
            let grid = [k.ne[2] * k.ne[3], tiles(inst, warps), 1];
            vec![Launch { entry: "flash_tensor", grid, block: [32 * warps, 1, 1], shared: 0, args }]
        },
    },
    preferred: |inst| inst.inputs[Q].ne[2] >= MANY && [K, V].iter().all(|&i| packed(&inst.inputs[i])),
};

fn supports(inst: &Instance) -> Result<(), Reason> {
    let (head, k, v) = (inst.inputs[Q].ne[0], &inst.inputs[K], &inst.inputs[V]);
    Reason::unless(matches!(head, 64 | 128 | 256), || format!("heads of {head}, not 64, 128 or 256"))?;
    Reason::unless(k.dtype == DType::F16 && v.dtype == DType::F16, || format!("caches {k} and {v} are not F16"))?;
    Reason::unless(tiles(inst, 4) < 1 << 16, || format!("q {}", inst.inputs[Q]))
}

/// Cells that can be copied 16 bytes at a time.
fn packed(cache: &Layout) -> bool {
    cache.nb[0] == size_of::<u16>() && cache.nb[1..].iter().all(|nb| nb.is_multiple_of(16))
}

/// Query heads to a KV head.
fn group(inst: &Instance) -> usize {
    inst.inputs[Q].ne[1] / inst.inputs[K].ne[2]
}

/// Tiles of a KV head's rows for blocks of so many warps.
fn tiles(inst: &Instance, warps: usize) -> usize {
    (inst.inputs[Q].ne[2] * group(inst)).div_ceil(16 * warps)
}

/// Warps of a block.
fn warps(inst: &Instance, tunables: &Tunables) -> usize {
    let k = &inst.inputs[K];
    match tunables.get(0) {
        0 if k.ne[2] * k.ne[3] * tiles(inst, 8) < BLOCKS => 4,
        0 => 8,
        n => n,
    }
}
