//! A block a row, on a GPU.

use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_macros, no_scratch, rows_of};
use crate::variant::{Backend, Spec, Tunable};
use crate::{Op, Params};

const BLOCK: Tunable =
    Tunable { name: "block", doc: "most threads a row", default: 256, values: &[32, 64, 128, 256, 512, 1024] };

/// `block_row`.
pub(super) static BLOCK_ROW: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Softmax,
        name: "block_row",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a block a row: largest, sum, then the row again from cache",
        tunables: &[BLOCK],
        tolerance: 2e-6,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |_| Ok(()),
    form: as_is,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, tunables| {
        let x = &inst.inputs[0];
        let Params::Softmax { scale, causal } = inst.params else { unreachable!("`softmax` with {:?}", inst.params) };
        // Without positions the kernel is given x in their place and does not read it.
        let pos = if causal { 1 } else { 0 };
        let args = vec![Arg::Input(0), Arg::Input(pos), Arg::Output(0), Arg::F32(scale), Arg::I32(i32::from(causal))];
        vec![Launch::line("softmax", x.rows(), rows_of(x.ne[0], tunables.get(0)), args)]
    },
};
