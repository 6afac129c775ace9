//! The halves of the experts' feed-forward for single tokens.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, no_scratch};
use crate::ops::multiply::cuda::{
    BLOCKS, PER, STAGED, STAGED_WARPS, TOLERANCE, activation_form, lanes, staged, type_macro,
};
use crate::ops::multiply::same_activations;
use crate::variant::{Backend, Form, Reason, Spec, Tunable};

/// Rows that a piece of the column is used for: an expert has few, and more blocks win.
const ROWS: Tunable = Tunable { default: 1, ..PER };

const SOURCES: &[&str] = &[BLOCKS, STAGED, include_str!("staged.cu")];

const fn spec(op: Op, summary: &'static str, tolerance: f32) -> Spec {
    let tunables = &[STAGED_WARPS, ROWS];
    Spec { op, name: "staged", revision: 1, backend: Backend::Cuda, summary, tunables, tolerance }
}

/// `moe_up_gate`: `staged`.
pub(super) static UP_GATE: Preferred = Preferred {
    variant: CudaVariant {
        spec: spec(
            Op::MoeUpGate,
            "the token in shared memory, several rows of both matrices at once: decode",
            2.0 * TOLERANCE,
        ),
        sources: SOURCES,
        supports: |inst| {
            let (ids, gate, up) = (&inst.inputs[1], &inst.inputs[2], &inst.inputs[3]);
            Reason::unless(ids.ne[0].max(ids.ne[1]) < 1 << 16, || format!("ids {ids} are more than a grid holds"))?;
            // A column has the sums that the mins of its type want.
            Reason::unless(gate.dtype == up.dtype, || format!("gate is {} and up {}", gate.dtype, up.dtype))?;
            same_activations(gate, up)?;
            staged(up, up.ne[0])
        },
        form: |inst, i| if i == 0 { activation_form(&inst.inputs[3]) } else { Form::AsIs },
        macros: |inst, tunables| {
            let (gate, up) = (&inst.inputs[2], &inst.inputs[3]);
            vec![
                type_macro("GATE", gate.dtype),
                type_macro("UP", up.dtype),
                ("PIECES", (up.ne[0] / 32).to_string()),
                ("LANES", lanes(up).to_string()),
                ("WARPS", tunables.get(0).to_string()),
                ("TOGETHER", tunables.get(1).to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let (ids, up, threads) = (&inst.inputs[1], &inst.inputs[3], 32 * tunables.get(0));
            let grid = [up.ne[1].div_ceil(threads / lanes(up) * tunables.get(1)), ids.ne[0], ids.ne[1]];
            let args = vec![Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Input(3), Arg::Output(0)];
            vec![Launch { entry: "moe_up_gate", grid, block: [threads, 1, 1], shared: 0, args }]
        },
    },
    // On an H100 `dp4a` is as fast: 9.5 us against 9.8 for the 80B's experts.
    preferred: |_| false,
};

/// `moe_down`: `staged`.
pub(super) static DOWN: Preferred = Preferred {
    variant: CudaVariant {
        spec: spec(Op::MoeDown, "all of a token's slots in shared memory as one long column: decode", TOLERANCE),
        sources: SOURCES,
        supports: |inst| {
            let (ids, down) = (&inst.inputs[1], &inst.inputs[3]);
            Reason::unless(ids.ne[1] < 1 << 16, || format!("ids {ids} are more than a grid holds"))?;
            staged(down, down.ne[0] * ids.ne[0])
        },
        form: |inst, i| if i == 0 { activation_form(&inst.inputs[3]) } else { Form::AsIs },
        macros: |inst, tunables| {
            let (ids, down) = (&inst.inputs[1], &inst.inputs[3]);
            vec![
                type_macro("DOWN", down.dtype),
                ("USED", ids.ne[0].to_string()),
                ("PIECES", (down.ne[0] / 32).to_string()),
                ("WARPS", tunables.get(0).to_string()),
                ("TOGETHER", tunables.get(1).to_string()),
            ]
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let (ids, down, warps) = (&inst.inputs[1], &inst.inputs[3], tunables.get(0));
            let grid = [down.ne[1].div_ceil(warps * tunables.get(1)), ids.ne[1], 1];
            let args = vec![Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Input(3), Arg::Output(0)];
            vec![Launch { entry: "moe_down", grid, block: [32 * warps, 1, 1], shared: 0, args }]
        },
    },
    preferred: |inst| inst.inputs[1].ne[1] == 1,
};
