//! A thread an element, on a GPU.

use crate::cuda::{CudaVariant, as_is, no_scratch};
use crate::ops::unary::cuda::{TUNABLES, any, launches};
use crate::variant::{Backend, Spec};
use crate::{Op, Params};

/// `elements`.
pub(super) static ELEMENTS: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Concat,
        name: "elements",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a thread an element of the result finds its source",
        tunables: TUNABLES,
        tolerance: 0.0,
    },
    sources: &[include_str!("cuda.cu")],
    supports: any,
    form: as_is,
    macros: |inst, _| match inst.params {
        Params::Concat { dim } => vec![("DIM", dim.to_string())],
        other => unreachable!("`concat` with {other:?}"),
    },
    scratch: no_scratch,
    launches: |inst, tunables| launches("concat", inst, tunables, Vec::new()),
};
