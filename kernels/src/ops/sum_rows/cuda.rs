//! Sums of rows on a GPU: of the transpose as it lies, or of a copy. The copy was 6 to 7 % of a token in this model's
//! first port (ik_llama.cpp#1266).

use super::TOLERANCE;
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_macros, no_scratch};
use crate::ops::row_warps::{TUNABLES, launches};
use crate::variant::{Backend, Form, Spec};

const fn spec(name: &'static str, summary: &'static str) -> Spec {
    let (op, backend) = (Op::SumRows, Backend::Cuda);
    Spec { op, name, revision: 1, backend, summary, tunables: TUNABLES, tolerance: TOLERANCE }
}

/// `strided`.
pub(super) static STRIDED: CudaVariant = CudaVariant {
    spec: spec("strided", "a warp a row, or a lane a row where rows lie side by side: a transpose is read where it is"),
    sources: &[include_str!("cuda.cu")],
    supports: |_| Ok(()),
    form: as_is,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, tunables| {
        let x = &inst.inputs[0];
        if x.nb[0] <= x.nb[1] || x.ne[1] == 1 {
            return launches("sum_rows", inst, tunables);
        }
        let groups = x.ne[1].div_ceil(32);
        let args = vec![Arg::Input(0), Arg::Output(0), Arg::I32(groups as i32)];
        vec![Launch::line("sum_columns", groups * x.ne[2] * x.ne[3], 32 * tunables.get(0), args)]
    },
};

/// `warp_row`.
pub(super) static WARP_ROW: CudaVariant = CudaVariant {
    spec: spec("warp_row", "a warp a row of contiguous elements; a transposed input is copied first"),
    sources: &[include_str!("cuda.cu")],
    supports: |_| Ok(()),
    form: |_, _| Form::Contiguous,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, tunables| launches("sum_rows", inst, tunables),
};
