//! `gated_delta_net` on a GPU with no barrier between tokens.

use super::{Q, STATE, Shape, scale};
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, as_is, no_scratch};
use crate::variant::{Backend, Reason, Spec, Tunable};

const COLUMNS: Tunable = Tunable { name: "columns", doc: "value columns a warp", default: 8, values: &[1, 2, 4, 8] };
const WARPS: Tunable = Tunable { name: "warps", doc: "warps a thread block", default: 4, values: &[1, 2, 4] };

/// `columns`.
pub(super) static COLUMN_LANES: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::GatedDeltaNet,
            name: "columns",
            revision: 1,
            backend: Backend::Cuda,
            summary: "state in registers, a few lanes a value column and no barrier between tokens",
            tunables: &[COLUMNS, WARPS],
            tolerance: 1e-5,
        },
        sources: &[include_str!("columns.cu")],
        supports: |inst| {
            let Shape { d, hv, s, .. } = Shape::of(inst);
            // Whole quads of keys for the lanes of a column, whole blocks of columns, for all values of the tunables.
            Reason::unless(d == 128 && hv < 1 << 16 && s < 1 << 16, || format!("{hv} heads of {d} in {s} sequences"))
        },
        form: as_is,
        macros: |inst, tunables| {
            vec![
                ("D", inst.inputs[Q].ne[0].to_string()),
                ("COLUMNS", tunables.get(0).to_string()),
                ("WARPS", tunables.get(1).to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let Shape { d, hv, s, .. } = Shape::of(inst);
            let (columns, warps) = (tunables.get(0), tunables.get(1));
            let mut args: Vec<Arg> = (0..=STATE).map(Arg::Input).collect();
            args.extend([Arg::Output(0), Arg::F32(scale(inst))]);
            let grid = [d / (columns * warps), hv, s];
            vec![Launch { entry: "gated_delta_net", grid, block: [32 * warps, 1, 1], shared: 0, args }]
        },
    },
    preferred: |_| true,
};
