//! The norms on a GPU: a block a row.

use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_macros, no_scratch, rows_of};
use crate::variant::{Backend, Instance, Spec, Tunable, Tunables};
use crate::{Op, Params};

const BLOCK: Tunable =
    Tunable { name: "block", doc: "most threads a row", default: 256, values: &[32, 64, 128, 256, 512, 1024] };

const fn norm(op: Op, launches: fn(&Instance, &Tunables) -> Vec<Launch>) -> CudaVariant {
    CudaVariant {
        spec: Spec {
            op,
            name: "block_row",
            revision: 1,
            backend: Backend::Cuda,
            summary: "a block a row: sum of squares in a fixed tree, then the row again from cache",
            tunables: &[BLOCK],
            tolerance: 2e-6,
        },
        sources: &[include_str!("cuda.cu")],
        supports: |_| Ok(()),
        form: as_is,
        macros: no_macros,
        scratch: no_scratch,
        launches,
    }
}

/// `l2_norm`.
pub(super) static L2_NORM: CudaVariant =
    norm(Op::L2Norm, |inst, t| rows("l2_norm", inst, t, vec![Arg::Input(0), Arg::Output(0), eps(inst)]));
/// `rms_norm`.
pub(super) static RMS_NORM: CudaVariant = norm(Op::RmsNorm, |inst, t| {
    // Without a weight the kernel is given x in its place and does not read it.
    let (w, weighted) = if inst.inputs.len() > 1 { (1, 1) } else { (0, 0) };
    rows("rms_norm", inst, t, vec![Arg::Input(0), Arg::Input(w), Arg::Output(0), eps(inst), Arg::I32(weighted)])
});
/// `add_rms_norm`.
pub(super) static ADD_RMS_NORM: CudaVariant = norm(Op::AddRmsNorm, |inst, t| {
    let args = [Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Output(0), Arg::Output(1), eps(inst)];
    rows("add_rms_norm", inst, t, args.to_vec())
});
/// `gated_norm`.
pub(super) static GATED_NORM: CudaVariant = norm(Op::GatedNorm, |inst, t| {
    rows("gated_norm", inst, t, vec![Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Output(0), eps(inst)])
});

fn eps(inst: &Instance) -> Arg {
    match inst.params {
        Params::Norm { eps } => Arg::F32(eps),
        other => unreachable!("a norm with {other:?}"),
    }
}

fn rows(entry: &'static str, inst: &Instance, tunables: &Tunables, args: Vec<Arg>) -> Vec<Launch> {
    let x = &inst.inputs[0];
    vec![Launch::line(entry, x.rows(), rows_of(x.ne[0], tunables.get(0)), args)]
}
