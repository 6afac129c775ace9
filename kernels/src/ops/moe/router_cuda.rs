//! `moe_router` of a token on a GPU.

use super::router::{TOLERANCE, params};
use crate::cuda::{Arg, CudaVariant, Launch, TENSOR};
use crate::ops::multiply::cuda::type_macro;
use crate::variant::{Backend, Form, Instance, Reason, Spec, Tunable, Tunables};
use crate::{DType, Layout, Op};

const ROWS: Tunable = Tunable { name: "rows", doc: "experts of a block", default: 4, values: &[2, 4, 8] };
const WARPS: Tunable = Tunable { name: "warps", doc: "warps that share a row", default: 8, values: &[4, 8, 16] };

/// Longest row: a thread keeps its part of several in registers.
const WIDEST: usize = 8 << 10;
/// Most experts: the last block has their logits in shared memory.
const EXPERTS: usize = 2048;

/// `fused`.
pub(super) static FUSED: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::MoeRouter,
        name: "fused",
        revision: 2,
        backend: Backend::Cuda,
        summary: "one launch for a token: each block makes the norm for itself, the last one chooses",
        tunables: &[ROWS, WARPS],
        tolerance: TOLERANCE,
    },
    sources: &[TENSOR, include_str!("router.cu")],
    supports: |inst| {
        let (x, w) = (&inst.inputs[0], &inst.inputs[3]);
        Reason::unless(x.ne[1] == 1, || format!("{} tokens, not one", x.ne[1]))?;
        Reason::unless(!w.dtype.is_quantised(), || format!("{} weights have blocks", w.dtype))?;
        let four = 4 * w.dtype.block_bytes();
        let whole = w.ne[0].is_multiple_of(4) && w.has_contiguous_rows() && w.nb[1].is_multiple_of(four);
        Reason::unless(whole, || format!("rows of {w} are not read four elements at a time"))?;
        let fits = w.ne[0] <= WIDEST && w.ne[1] <= EXPERTS;
        Reason::unless(fits, || format!("{w} is more than {WIDEST} x {EXPERTS}"))
    },
    form: |_, i| if i == 3 { Form::AsIs } else { Form::Contiguous },
    macros: |inst, tunables| {
        let w = &inst.inputs[3];
        vec![
            type_macro("ROUTER", w.dtype),
            ("N_X", w.ne[0].to_string()),
            ("EXPERTS", w.ne[1].to_string()),
            ("CHOSEN", inst.outputs[2].ne[0].to_string()),
            ("ROWS", tunables.get(0).to_string()),
            ("WARPS", tunables.get(1).to_string()),
            ("COPIES", u8::from(copies(w, tunables)).to_string()),
        ]
    },
    scratch: |inst, _| inst.inputs[3].ne[1] * size_of::<f32>(),
    launches: |inst, tunables| {
        let mut args: Vec<Arg> = (0..4).map(Arg::Input).chain((0..4).map(Arg::Output)).collect();
        args.extend([Arg::Scratch, eps(inst)]);
        vec![Launch::line("moe_router", inst.inputs[3].ne[1].div_ceil(tunables.get(0)), 32 * tunables.get(1), args)]
    },
};

/// Whether a block's rows go through shared memory: there is room for so many, in words of 16 bytes.
fn copies(w: &Layout, tunables: &Tunables) -> bool {
    let threads = 32 * tunables.get(1);
    let words = w.ne[0].div_ceil(4 * threads) * threads;
    w.dtype == DType::F32 && w.nb[1].is_multiple_of(16) && tunables.get(0) * words * 16 <= 40 << 10
}

fn eps(inst: &Instance) -> Arg {
    let Ok((eps, _)) = params(&inst.params) else { unreachable!("as checked") };
    Arg::F32(eps)
}
