//! A thread an element, on a GPU.

use crate::cuda::{Arg, CudaVariant, as_is, no_macros, no_scratch};
use crate::ops::unary::cuda::{TUNABLES, any, launches};
use crate::variant::{Backend, Spec};
use crate::{Op, Params};

/// `elements`.
pub(super) static ELEMENTS: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Repeat,
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
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, tunables| match inst.params {
        Params::Repeat { interleave, .. } => launches("repeat", inst, tunables, vec![Arg::I32(i32::from(interleave))]),
        other => unreachable!("`repeat` with {other:?}"),
    },
};
