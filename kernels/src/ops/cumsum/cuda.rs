//! A warp a row, on a GPU.

use crate::Op;
use crate::cuda::{CudaVariant, as_is, no_macros, no_scratch};
use crate::ops::row_warps::{TUNABLES, launches};
use crate::variant::{Backend, Spec};

/// `warp_row`.
pub(super) static WARP_ROW: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Cumsum,
        name: "warp_row",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a warp a row: prefix sums of 32 elements by shuffles, one after another",
        tunables: TUNABLES,
        tolerance: 2e-6,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |_| Ok(()),
    form: as_is,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, tunables| launches("cumsum", inst, tunables),
};
