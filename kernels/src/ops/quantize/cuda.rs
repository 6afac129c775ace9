//! On a GPU: a warp a block.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_scratch};
use crate::variant::{Backend, Spec, Tunable};

/// Source: scales and codes of activations.
pub(in crate::ops) const CODES: &str = include_str!("codes.cuh");

const WARPS: Tunable =
    Tunable { name: "warps", doc: "blocks of the result a thread block", default: 4, values: &[1, 2, 4, 8] };

/// `warp_block`.
pub(super) static WARP_BLOCK: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Quantize,
        name: "warp_block",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a warp a block of the result, the same bits as on the CPU",
        tunables: &[WARPS],
        tolerance: 0.0,
    },
    sources: &[CODES, include_str!("cuda.cu")],
    supports: |_| Ok(()),
    form: as_is,
    macros: |inst, _| vec![("LENGTH", inst.outputs[0].dtype.block_len().to_string())],
    scratch: no_scratch,
    launches: |inst, tunables| {
        let y = &inst.outputs[0];
        let blocks = y.elements() / y.dtype.block_len();
        let args = vec![Arg::Input(0), Arg::Output(0), Arg::I32(blocks as i32)];
        vec![Launch::line("quantize", blocks.div_ceil(tunables.get(0)), 32 * tunables.get(0), args)]
    },
};
