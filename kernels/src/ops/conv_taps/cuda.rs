//! A thread an element, on a GPU.

use crate::Op;
use crate::cuda::{CudaVariant, as_is, no_macros, no_scratch};
use crate::ops::unary::cuda::{TUNABLES, any, launches};
use crate::variant::{Backend, Spec};

/// `elements`.
pub(super) static ELEMENTS: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::ConvTaps,
        name: "elements",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a thread an element of the result",
        tunables: TUNABLES,
        tolerance: 1e-6,
    },
    sources: &[include_str!("cuda.cu")],
    supports: any,
    form: as_is,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, tunables| launches("conv_taps", inst, tunables, Vec::new()),
};
