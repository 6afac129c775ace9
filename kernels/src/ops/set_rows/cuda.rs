//! `set_rows` on a GPU.

use super::CACHE;
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_scratch, rows_of};
use crate::variant::{Backend, Spec};

/// `block_row`.
pub(super) static BLOCK_ROW: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::SetRows,
        name: "block_row",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a thread block a row; it looks whether a later token takes its cell",
        tunables: &[],
        tolerance: 0.0,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |_| Ok(()),
    form: as_is,
    macros: |inst, _| vec![("TO", inst.inputs[CACHE].dtype.name().to_owned())],
    scratch: no_scratch,
    launches: |inst, _| {
        let src = &inst.inputs[0];
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Input(CACHE)];
        vec![Launch::line("set_rows", src.rows(), rows_of(src.ne[0], 256), args)]
    },
};
