//! `mul_mat_id` on a GPU.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, no_scratch};
use crate::ops::multiply::cuda::{BLOCKS, TOLERANCE, WARPS, activation_form, lanes, type_macro};
use crate::variant::{Backend, Form, Reason, Spec};

/// `dp4a`.
pub(super) static DP4A: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::MulMatId,
        name: "dp4a",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a warp a row of an expert and token, int8 products",
        tunables: &[WARPS],
        tolerance: TOLERANCE,
    },
    sources: &[BLOCKS, include_str!("cuda.cu")],
    supports: |inst| {
        let ids = &inst.inputs[2];
        Reason::unless(ids.ne[0].max(ids.ne[1]) < 1 << 16, || format!("ids {ids} are more than a grid holds"))
    },
    form: |inst, i| if i == 1 { activation_form(&inst.inputs[0]) } else { Form::AsIs },
    macros: |inst, _| {
        let w = &inst.inputs[0];
        vec![type_macro("WEIGHT", w.dtype), ("LANES", lanes(w).to_string())]
    },
    scratch: no_scratch,
    launches: |inst, tunables| {
        let (w, ids, threads) = (&inst.inputs[0], &inst.inputs[2], 32 * tunables.get(0));
        let grid = [w.ne[1].div_ceil(threads / lanes(w)), ids.ne[0], ids.ne[1]];
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Output(0)];
        vec![Launch { entry: "mul_mat_id", grid, block: [threads, 1, 1], shared: 0, args }]
    },
};
