//! A thread an element, on a GPU.

use super::Function;
use crate::cuda::{CudaVariant, as_is, no_scratch};
use crate::ops::unary::cuda::{TUNABLES, any, launches};
use crate::variant::{Backend, Spec};

/// The variant of a function.
pub(in crate::ops) const fn elements<F: Function>() -> CudaVariant {
    CudaVariant {
        spec: Spec {
            op: F::OP,
            name: "elements",
            revision: 1,
            backend: Backend::Cuda,
            summary: "a thread an element",
            tunables: TUNABLES,
            tolerance: if F::TOLERANCE == 0.0 { 0.0 } else { 5e-7 },
        },
        sources: &[include_str!("cuda.cu")],
        supports: any,
        form: as_is,
        macros: |_, _| vec![("FUNCTION(a,b)", F::CUDA.to_owned())],
        scratch: no_scratch,
        launches: |inst, tunables| launches("binary", inst, tunables, Vec::new()),
    }
}
