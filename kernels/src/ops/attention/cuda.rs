//! `attention` on a GPU.

use super::{K, POS, Q, V, scale};
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, rows_of};
use crate::ops::multiply::cuda::type_macro;
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};

const STRETCH: Tunable =
    Tunable { name: "stretch", doc: "cells a warp, in decode", default: 128, values: &[32, 64, 128, 256, 512] };
const CELLS: Tunable =
    Tunable { name: "cells", doc: "cells a round of the softmax", default: 4, values: &[1, 2, 4, 8] };
const WARPS: Tunable = Tunable { name: "warps", doc: "query heads a block", default: 4, values: &[1, 2, 4, 8] };
/// Fewer queries than this leave the device idle unless cells are split over warps.
const FEW: usize = 16;

/// `split`.
pub(super) static SPLIT: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Attention,
        name: "split",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a warp a query head; in decode also a stretch of cells each, merged in order",
        tunables: &[STRETCH, CELLS, WARPS],
        tolerance: 2e-6,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |inst| {
        let [head, heads, t, s] = inst.inputs[Q].ne;
        Reason::unless(head <= 512 && heads < 1 << 16 && t * s < 1 << 16, || format!("q {}", inst.inputs[Q]))
    },
    form: as_is,
    macros: |inst, tunables| {
        let head = inst.inputs[Q].ne[0];
        vec![
            ("HEAD", head.to_string()),
            ("PER", head.div_ceil(32).to_string()),
            ("CELLS", tunables.get(1).to_string()),
            type_macro("KEY", inst.inputs[K].dtype),
            type_macro("VALUE", inst.inputs[V].dtype),
        ]
    },
    scratch: |inst, tunables| match splits(inst, tunables).0 {
        1 => 0,
        n => n * inst.inputs[Q].rows() * (inst.inputs[Q].ne[0] + 2) * size_of::<f32>(),
    },
    launches: |inst, tunables| {
        let (q, (n, stretch), warps) = (&inst.inputs[Q], splits(inst, tunables), tunables.get(2));
        let mut args: Vec<Arg> = [Q, K, V, POS].map(Arg::Input).to_vec();
        args.extend([Arg::Output(0), Arg::Scratch, Arg::F32(scale(&inst.params))]);
        args.extend([Arg::I32(stretch as i32), Arg::I32(n as i32)]);
        let grid = [n, q.ne[1].div_ceil(warps), q.ne[2] * q.ne[3]];
        let mut all = vec![Launch { entry: "attention", grid, block: [32 * warps, 1, 1], shared: 0, args }];
        if n > 1 {
            let args = vec![Arg::Output(0), Arg::Scratch, Arg::I32(n as i32)];
            all.push(Launch::line("attention_merge", q.rows(), rows_of(q.ne[0], 256), args));
        }
        all
    },
};

/// Stretches of cells and their length.
fn splits(inst: &Instance, tunables: &Tunables) -> (usize, usize) {
    let (q, cells) = (&inst.inputs[Q], inst.inputs[K].ne[1]);
    if q.ne[2] * q.ne[3] > FEW || cells == 0 {
        return (1, cells);
    }
    let stretch = tunables.get(0);
    (cells.div_ceil(stretch), stretch)
}
