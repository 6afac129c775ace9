//! `gated_delta_net` on a GPU.

use super::{Q, STATE, Shape, scale};
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_scratch};
use crate::variant::{Backend, Reason, Spec, Tunable};

const PARTS: Tunable =
    Tunable { name: "parts", doc: "warps that share the keys of 32 columns", default: 8, values: &[2, 4, 8, 16] };

/// `registers`.
pub(super) static REGISTERS: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::GatedDeltaNet,
        name: "registers",
        revision: 1,
        backend: Backend::Cuda,
        summary: "state in registers over all tokens, 32 columns a block, keys over its warps, one exchange a token",
        tunables: &[PARTS],
        tolerance: 1e-5,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |inst| {
        let Shape { d, hv, s, .. } = Shape::of(inst);
        Reason::unless(d <= 256 && hv < 1 << 16 && s < 1 << 16, || format!("{hv} heads of {d} in {s} sequences"))
    },
    form: as_is,
    macros: |inst, tunables| vec![("D", inst.inputs[Q].ne[0].to_string()), ("PARTS", tunables.get(0).to_string())],
    scratch: no_scratch,
    launches: |inst, tunables| {
        let Shape { d, hv, s, .. } = Shape::of(inst);
        let mut args: Vec<Arg> = (0..=STATE).map(Arg::Input).collect();
        args.extend([Arg::Output(0), Arg::F32(scale(inst))]);
        let grid = [d.div_ceil(32), hv, s];
        vec![Launch { entry: "gated_delta_net", grid, block: [32 * tunables.get(0), 1, 1], shared: 0, args }]
    },
};
