//! `delta_net` of a token on a GPU.

use super::{QKV, STATE, W_CONV, W_NORM, params};
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_scratch};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};

const COLUMNS: Tunable = Tunable {
    name: "columns",
    doc: "least value columns of a block: fewer spread a head over more blocks",
    default: 32,
    values: &[32, 64, 128],
};
/// Warps of a block.
const WARPS: usize = 8;
/// Blocks of a cluster that every device with clusters takes.
const CLUSTER: usize = 8;
/// Widest head: with its columns in one block a thread holds 64 elements of the state.
const WIDEST: usize = 128;

/// `fused`.
pub(super) static FUSED: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::DeltaNet,
        name: "fused",
        revision: 1,
        backend: Backend::Cuda,
        summary: "one launch for a token: a cluster a key head, state in registers, read and written once",
        tunables: &[COLUMNS],
        tolerance: 1e-5,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |inst| {
        let (hk, d, _) = params(inst);
        let ([_, tokens, s, _], hv, taps) = (inst.inputs[QKV].ne, inst.inputs[STATE].ne[2], inst.inputs[W_CONV].ne[0]);
        Reason::unless(tokens == 1, || format!("{tokens} tokens a sequence, not one"))?;
        Reason::unless((2..=8).contains(&taps), || format!("{taps} taps"))?;
        Reason::unless(d <= WIDEST, || format!("heads of {d} are wider than {WIDEST}"))?;
        Reason::unless(hv / hk <= CLUSTER, || format!("{} value heads to a key head", hv / hk))?;
        Reason::unless(hk < 1 << 16 && s < 1 << 16, || format!("{hk} key heads in {s} sequences"))
    },
    form: as_is,
    macros: |inst, tunables| {
        let (_, d, _) = params(inst);
        vec![
            ("D", d.to_string()),
            ("RATIO", ratio(inst).to_string()),
            ("SLICES", slices(inst, tunables).to_string()),
            ("TAPS", inst.inputs[W_CONV].ne[0].to_string()),
            ("WARPS", WARPS.to_string()),
        ]
    },
    scratch: no_scratch,
    launches: |inst, tunables| {
        let (hk, d, eps) = params(inst);
        let mut args: Vec<Arg> = (0..=W_NORM).map(Arg::Input).collect();
        args.extend([Arg::Output(0), Arg::F32(eps), Arg::F32(1.0 / (d as f32).sqrt())]);
        let grid = [ratio(inst) * slices(inst, tunables), hk, inst.inputs[QKV].ne[2]];
        vec![Launch { entry: "delta_net", grid, block: [32 * WARPS, 1, 1], shared: 0, args }]
    },
};

/// Value heads to a key head.
fn ratio(inst: &Instance) -> usize {
    inst.inputs[STATE].ne[2] / params(inst).0
}

/// Blocks that a value head's columns are split over: as many as the tunable and the cluster's size let be.
fn slices(inst: &Instance, tunables: &Tunables) -> usize {
    let (d, least) = (params(inst).1, tunables.get(0));
    let fits = |&n: &usize| d.is_multiple_of(n) && d / n >= least && ratio(inst) * n <= CLUSTER;
    (1..=CLUSTER).filter(fits).max().unwrap_or(1)
}
