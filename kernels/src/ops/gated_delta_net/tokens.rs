//! `gated_delta_net` on a GPU, eight tokens at a time: for prompts.

use super::{Q, STATE, Shape, scale};
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, as_is, no_scratch};
use crate::variant::{Backend, Reason, Spec, Tunable};

const COLUMNS: Tunable = Tunable {
    name: "columns",
    doc: "value columns a lane: more use a key more often, fewer make more warps",
    default: 4,
    values: &[2, 4],
};
/// Columns of a block: its warps have two groups of 16 lanes, each with the tunable's columns.
const WIDTH: usize = 32;
/// Fewer tokens than this leave most of a group empty.
const FEW: usize = 16;

/// `tokens`.
pub(super) static TOKENS: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::GatedDeltaNet,
            name: "tokens",
            revision: 1,
            backend: Backend::Cuda,
            summary: "state in registers, eight tokens between two exchanges: what they do to one another is solved apart",
            tunables: &[COLUMNS],
            tolerance: 1e-5,
        },
        sources: &[include_str!("tokens.cu")],
        supports: |inst| {
            let Shape { d, hv, s, .. } = Shape::of(inst);
            Reason::unless(d == 128 && hv < 1 << 16 && s < 1 << 16, || format!("{hv} heads of {d} in {s} sequences"))
        },
        form: as_is,
        macros: |inst, tunables| {
            let columns = tunables.get(0);
            vec![
                ("D", inst.inputs[Q].ne[0].to_string()),
                ("COLUMNS", columns.to_string()),
                ("WARPS", (WIDTH / (2 * columns)).to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let Shape { d, hv, s, .. } = Shape::of(inst);
            let mut args: Vec<Arg> = (0..=STATE).map(Arg::Input).collect();
            args.extend([Arg::Output(0), Arg::F32(scale(inst))]);
            let (grid, threads) = ([d / WIDTH, hv, s], 32 * WIDTH / (2 * tunables.get(0)));
            vec![Launch { entry: "gated_delta_net", grid, block: [threads, 1, 1], shared: 0, args }]
        },
    },
    preferred: |inst| Shape::of(inst).t >= FEW,
};
