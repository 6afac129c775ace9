//! `moe_ffn` of a token on a GPU: all its experts and the shared one in two launches.

use crate::cuda::{Arg, CudaVariant, Launch, Preferred, TENSOR};
use crate::ops::multiply::cuda::{BLOCKS, STAGED, STREAMED, grain, type_macro};
use crate::variant::{Backend, Form, Instance, Reason, Spec, Tunable, Tunables};
use crate::{DType, Layout, Op};

/// Rows of gate that a warp of the first launch has, and as many of up; a block has 16.
const PAIRS: Tunable = Tunable {
    name: "pairs",
    doc: "rows of gate, and of up, of a warp of the first launch",
    default: 2,
    values: &[1, 2, 4],
};
const TOGETHER: Tunable = Tunable {
    name: "together",
    doc: "pairs of those that share a piece of the column; the next wait behind them",
    default: 2,
    values: &[1, 2, 4],
};
const AHEAD: Tunable = Tunable {
    name: "ahead",
    doc: "whether the first launch asks for the second's weights",
    default: 0,
    values: &[0, 1],
};
const WARPS: Tunable =
    Tunable { name: "warps", doc: "warps of a block of the second launch", default: 8, values: &[4, 8] };
const EACH: Tunable =
    Tunable { name: "rows", doc: "rows of the result of a warp of the second launch", default: 1, values: &[1, 2] };

/// Static shared memory that a block can have.
const SHARED_BYTES: usize = 48 << 10;
/// Rows of a block of the first launch: what shares a scale of `h`.
const HALF: usize = 16;

/// Numbers of inputs.
const X: usize = 0;
const IDS: usize = 1;
const WEIGHTS: usize = 2;
const GATE: usize = 3;
const UP: usize = 4;
const DOWN: usize = 5;
const GATE_SHARED: usize = 6;
const UP_SHARED: usize = 7;
const DOWN_SHARED: usize = 8;
const W: usize = 9;

/// `two_launches`.
pub(super) static TWO_LAUNCHES: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::MoeFfn,
            name: "two_launches",
            revision: 2,
            backend: Backend::Cuda,
            summary: "gate and up of all experts with the shared one, then down and the weighted sum: decode",
            tunables: &[PAIRS, WARPS, TOGETHER, AHEAD, EACH],
            tolerance: 4e-2,
        },
        sources: &[BLOCKS, TENSOR, STAGED, STREAMED, include_str!("two_launches.cu")],
        supports: |inst| {
            let w = &inst.inputs;
            for (a, b) in [(GATE, UP), (GATE_SHARED, UP_SHARED)] {
                let (a, b) = (w[a].dtype, w[b].dtype);
                Reason::unless(a == b, || format!("gate is {a} and up {b}"))?;
            }
            for w in [GATE, DOWN, GATE_SHARED, DOWN_SHARED].map(|i| &w[i]) {
                Reason::unless(w.dtype.is_quantised(), || format!("{} is no block type", w.dtype))?;
            }
            for w in &w[GATE..W] {
                Reason::unless(w.nb[1..3].iter().all(|&nb| nb < 1 << 32), || format!("rows of {w} are far apart"))?;
            }
            let tokens = w[IDS].ne[1];
            Reason::unless(tokens < 1 << 16, || format!("{tokens} tokens are more than a grid holds"))?;
            let columns = first_column(inst).max(second_column(inst));
            Reason::unless(columns <= SHARED_BYTES / 2, || format!("columns of {columns} bytes"))
        },
        form: |inst, i| if inst.inputs[i].dtype.is_quantised() { Form::AsIs } else { Form::Contiguous },
        macros: |inst, tunables| {
            let plan = Plan::of(inst, tunables);
            vec![
                type_macro("GATE", inst.inputs[GATE].dtype),
                type_macro("GATE_SHARED", inst.inputs[GATE_SHARED].dtype),
                type_macro("DOWN", inst.inputs[DOWN].dtype),
                type_macro("DOWN_SHARED", inst.inputs[DOWN_SHARED].dtype),
                ("N_X", inst.inputs[X].ne[0].to_string()),
                ("N_H", inst.inputs[UP].ne[1].to_string()),
                ("N_SHARED", inst.inputs[UP_SHARED].ne[1].to_string()),
                ("USED", inst.inputs[IDS].ne[0].to_string()),
                ("PAIRS", tunables.get(0).to_string()),
                ("SECOND_WARPS", tunables.get(1).to_string()),
                ("TOGETHER", tunables.get(2).min(tunables.get(0)).to_string()),
                ("AHEAD", tunables.get(3).to_string()),
                ("SECOND_ROWS", tunables.get(4).to_string()),
                ("GRAIN_GATE", plan.gate.to_string()),
                ("GRAIN_GATE_SHARED", plan.gate_shared.to_string()),
                ("GRAIN_DOWN", plan.down.to_string()),
                ("GRAIN_DOWN_SHARED", plan.down_shared.to_string()),
                ("FIRST_ROOM", plan.first_room.to_string()),
            ]
        },
        scratch: |inst, _| (chunks(inst) * 48 + 16) * inst.inputs[IDS].ne[1],
        launches: |inst, tunables| {
            let (tokens, rows) = (inst.inputs[IDS].ne[1], tunables.get(1) * tunables.get(4));
            let first = [X, IDS, GATE, UP, DOWN, GATE_SHARED, UP_SHARED, W].map(Arg::Input);
            let second = [IDS, WEIGHTS, DOWN, DOWN_SHARED].map(Arg::Input);
            vec![
                Launch {
                    entry: "moe_first",
                    shared: 0,
                    grid: [2 * chunks(inst) + 1, tokens, 1],
                    block: [32 * HALF / tunables.get(0), 1, 1],
                    args: first.into_iter().chain([Arg::Scratch]).collect(),
                },
                Launch {
                    entry: "moe_second",
                    shared: 0,
                    grid: [inst.inputs[DOWN].ne[1].div_ceil(rows), tokens, 1],
                    block: [32 * tunables.get(1), 1, 1],
                    args: second.into_iter().chain([Arg::Output(0), Arg::Scratch]).collect(),
                },
            ]
        },
    },
    // Each token reads its experts for itself.
    preferred: |inst| inst.inputs[IDS].ne[1] <= 2,
};

/// Chunks of 32 of all slots' h.
fn chunks(inst: &Instance) -> usize {
    (inst.inputs[IDS].ne[0] * inst.inputs[UP].ne[1] + inst.inputs[UP_SHARED].ne[1]) / 32
}

/// Bytes of shared memory of so many chunks of a column that such weights meet.
fn column(chunks: usize, weights: [&Layout; 2]) -> usize {
    let mins = |w: &Layout| matches!(w.dtype, DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K | DType::Q2_K);
    chunks * if weights.into_iter().any(mins) { 48 } else { 40 } + 16
}

fn first_column(inst: &Instance) -> usize {
    column(inst.inputs[X].ne[0] / 32, [&inst.inputs[GATE], &inst.inputs[GATE_SHARED]])
}

fn second_column(inst: &Instance) -> usize {
    column(chunks(inst), [&inst.inputs[DOWN], &inst.inputs[DOWN_SHARED]])
}

/// Which rows go through shared memory, as bytes a copy (0: none does).
struct Plan {
    gate: usize,
    gate_shared: usize,
    down: usize,
    down_shared: usize,
    /// Bytes of rows of a block of the first launch.
    first_room: usize,
}

impl Plan {
    fn of(inst: &Instance, tunables: &Tunables) -> Plan {
        let w = |i: usize| &inst.inputs[i];
        // What a block keeps beside rows and column.
        let left = SHARED_BYTES - 512;
        let first = |gate: usize, up: usize| {
            let room = 2 * HALF * room(w(gate));
            if room + first_column(inst) <= left { (grain(w(gate)).min(grain(w(up))), room) } else { (0, 0) }
        };
        let ((gate, room_gate), (gate_shared, room_shared)) = (first(GATE, UP), first(GATE_SHARED, UP_SHARED));
        let rows = inst.inputs[IDS].ne[0] * room(w(DOWN)) + room(w(DOWN_SHARED));
        let fits = tunables.get(1) * tunables.get(4) * rows + second_column(inst) <= left;
        let down = |i: usize| if fits { grain(w(i)) } else { 0 };
        let first_room = room_gate.max(room_shared);
        Plan { gate, gate_shared, down: down(DOWN), down_shared: down(DOWN_SHARED), first_room }
    }
}

/// Bytes of shared memory of a row.
fn room(w: &Layout) -> usize {
    (w.ne[0] / w.dtype.block_len() * w.dtype.block_bytes()).next_multiple_of(16)
}
