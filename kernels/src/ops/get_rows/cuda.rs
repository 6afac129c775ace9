//! `get_rows` on a GPU.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_scratch, rows_of};
use crate::ops::multiply::cuda::{BLOCKS, type_macro};
use crate::variant::{Backend, Spec};

/// `block_row`.
pub(super) static BLOCK_ROW: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::GetRows,
        name: "block_row",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a thread block a row",
        tunables: &[],
        tolerance: 0.0,
    },
    sources: &[BLOCKS, include_str!("cuda.cu")],
    supports: |_| Ok(()),
    form: as_is,
    macros: |inst, _| vec![type_macro("WEIGHT", inst.inputs[0].dtype)],
    scratch: no_scratch,
    launches: |inst, _| {
        let (ids, y) = (&inst.inputs[1], &inst.outputs[0]);
        let pieces = if inst.inputs[0].dtype.is_quantised() { y.ne[0] / 32 } else { y.ne[0] };
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        vec![Launch::line("get_rows", ids.ne[0] * ids.ne[1], rows_of(pieces, 256), args)]
    },
};
