//! A thread an element, on a GPU.

use crate::Op;
use crate::cuda::{CudaVariant, as_is, no_scratch};
use crate::ops::unary::cuda::{TUNABLES, any, launches};
use crate::variant::{Backend, Spec};

/// `elements`.
pub(super) static ELEMENTS: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Cont,
        name: "elements",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a thread an element, in the order of the result",
        tunables: TUNABLES,
        tolerance: 0.0,
    },
    sources: &[include_str!("cuda.cu")],
    supports: any,
    form: as_is,
    macros: |inst, _| {
        vec![("FROM", inst.inputs[0].dtype.name().to_owned()), ("TO", inst.outputs[0].dtype.name().to_owned())]
    },
    scratch: no_scratch,
    launches: |inst, tunables| launches("cont", inst, tunables, Vec::new()),
};
