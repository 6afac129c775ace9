//! The mixture of experts on a GPU.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_macros, no_scratch};
use crate::ops::multiply::cuda::{BLOCKS, TOLERANCE, WARPS, activation_form, lanes, type_macro};
use crate::ops::multiply::same_activations;
use crate::variant::{Backend, Form, Instance, Reason, Spec};

const SOURCES: &[&str] = &[BLOCKS, include_str!("cuda.cu")];

const fn spec(op: Op, name: &'static str, summary: &'static str, tolerance: f32) -> Spec {
    Spec { op, name, revision: 1, backend: Backend::Cuda, summary, tunables: &[WARPS], tolerance }
}

/// `moe_topk`: `warp_token`.
pub(super) static TOPK: CudaVariant = CudaVariant {
    spec: spec(Op::MoeTopk, "warp_token", "a warp a token: k rounds of the largest, softmax over them", 2e-6),
    sources: SOURCES,
    supports: |_| Ok(()),
    form: as_is,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, tunables| {
        let (warps, tokens) = (tunables.get(0), inst.inputs[0].ne[1]);
        let args = vec![Arg::Input(0), Arg::Output(0), Arg::Output(1), Arg::I32(tokens as i32)];
        vec![Launch::line("moe_topk", tokens.div_ceil(warps), 32 * warps, args)]
    },
};

/// `moe_up_gate`: `dp4a`.
pub(super) static UP_GATE: CudaVariant = CudaVariant {
    spec: spec(
        Op::MoeUpGate,
        "dp4a",
        "a warp a row of an expert and token: both products, silu: decode",
        2.0 * TOLERANCE,
    ),
    sources: SOURCES,
    supports: |inst| {
        grid(inst)?;
        same_activations(&inst.inputs[2], &inst.inputs[3])
    },
    form: |inst, i| if i == 0 { activation_form(&inst.inputs[3]) } else { Form::AsIs },
    macros: |inst, _| {
        let (gate, up) = (&inst.inputs[2], &inst.inputs[3]);
        vec![type_macro("GATE", gate.dtype), type_macro("UP", up.dtype), ("LANES", lanes(up).to_string())]
    },
    scratch: no_scratch,
    launches: |inst, tunables| {
        let (ids, up, threads) = (&inst.inputs[1], &inst.inputs[3], 32 * tunables.get(0));
        let grid = [up.ne[1].div_ceil(threads / lanes(up)), ids.ne[0], ids.ne[1]];
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Input(3), Arg::Output(0)];
        vec![Launch { entry: "moe_up_gate", grid, block: [threads, 1, 1], shared: 0, args }]
    },
};

/// `moe_down`: `dp4a`.
pub(super) static DOWN: CudaVariant = CudaVariant {
    spec: spec(Op::MoeDown, "dp4a", "a warp a row of the result, over all of a token's experts: decode", TOLERANCE),
    sources: SOURCES,
    supports: grid,
    form: |inst, i| if i == 0 { activation_form(&inst.inputs[3]) } else { Form::AsIs },
    macros: |inst, _| {
        let down = &inst.inputs[3];
        vec![type_macro("DOWN", down.dtype), ("LANES", lanes(down).to_string())]
    },
    scratch: no_scratch,
    launches: |inst, tunables| {
        let (ids, down, threads) = (&inst.inputs[1], &inst.inputs[3], 32 * tunables.get(0));
        let grid = [down.ne[1].div_ceil(threads / lanes(down)), ids.ne[1], 1];
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Input(3), Arg::Output(0)];
        vec![Launch { entry: "moe_down", grid, block: [threads, 1, 1], shared: 0, args }]
    },
};

fn grid(inst: &Instance) -> Result<(), Reason> {
    let ids = &inst.inputs[1];
    Reason::unless(ids.ne[0].max(ids.ne[1]) < 1 << 16, || format!("ids {ids} are more than a grid holds"))
}
