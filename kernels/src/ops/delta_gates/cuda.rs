//! `delta_gates` on a GPU.

use super::ratio;
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_macros, no_scratch};
use crate::variant::{Backend, Spec};

/// `elements`.
pub(super) static ELEMENTS: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::DeltaGates,
        name: "elements",
        revision: 1,
        backend: Backend::Cuda,
        summary: "both gates in one pass, a thread a value head and token",
        tunables: &[],
        tolerance: 2e-6,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |_| Ok(()),
    form: as_is,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, _| {
        let n = inst.outputs[0].elements();
        let mut args: Vec<Arg> = (0..3).map(Arg::Input).collect();
        args.extend([Arg::Output(0), Arg::Output(1), Arg::I32(n as i32), Arg::I32(ratio(inst) as i32)]);
        vec![Launch::line("delta_gates", n.div_ceil(128), 128, args)]
    },
};
