//! The halves of the experts' feed-forward for many tokens: sorted by expert, on tensor cores.

use super::columns_per_expert;
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, as_is};
use crate::ops::multiply::cuda::type_macro;
use crate::ops::multiply::tensor::{ROWS, TILES, TOLERANCE, halves, padded};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};
use crate::{DType, Layout, Op};

const COLUMNS: Tunable =
    Tunable { name: "columns", doc: "slots of a tile at most", default: 64, values: &[32, 64, 128] };

const SOURCES: &[&str] = &[TILES[0], TILES[1], TILES[2], include_str!("grouped.cu")];

/// Tokens from which on an expert's weights are better unpacked once for its tile than read for each token.
const MANY: usize = 17;

const fn spec(op: Op, summary: &'static str, tolerance: f32) -> Spec {
    let name = "grouped";
    Spec { op, name, revision: 1, backend: Backend::Cuda, summary, tunables: &[COLUMNS], tolerance }
}

/// `moe_up_gate`: `grouped`.
pub(super) static UP_GATE: Preferred = Preferred {
    variant: CudaVariant {
        spec: spec(
            Op::MoeUpGate,
            "tokens sorted by expert, both products in one tile on tensor cores, silu: prefill",
            2.0 * TOLERANCE,
        ),
        sources: SOURCES,
        supports: |inst| {
            let (gate, up) = (&inst.inputs[2], &inst.inputs[3]);
            let alike = (gate.dtype == DType::F32) == (up.dtype == DType::F32);
            Reason::unless(alike, || format!("gate is {} and up {}", gate.dtype, up.dtype))?;
            sizes(&inst.inputs[1], up)
        },
        form: as_is,
        macros: |inst, tunables| {
            let (gate, up) = (&inst.inputs[2], &inst.inputs[3]);
            let mut all = shared(&inst.inputs[1], up, tunables);
            all.extend([type_macro("GATE", gate.dtype), type_macro("UP", up.dtype)]);
            all
        },
        scratch: |inst, tunables| Parts::of(inst, tunables, inst.inputs[0].ne[1]).bytes,
        launches: |inst, tunables| {
            let (x, up) = (&inst.inputs[0], &inst.inputs[3]);
            let p = Parts::of(inst, tunables, x.ne[1]);
            let args = vec![
                Arg::Input(2),
                Arg::Input(3),
                Arg::Output(0),
                Arg::ScratchAt(0),
                Arg::ScratchAt(p.sorted),
                Arg::I32(padded(up.ne[0]) as i32),
                Arg::I32(p.most as i32),
            ];
            let grid = [up.ne[1].div_ceil(ROWS / 2), p.most, 1];
            let [sort, halve] = p.first(x, up);
            vec![sort, halve, Launch { entry: "moe_up_gate", grid, block: [ROWS, 1, 1], shared: 0, args }]
        },
    },
    preferred: |inst| inst.inputs[1].ne[1] >= MANY,
};

/// `moe_down`: `grouped`.
pub(super) static DOWN: Preferred = Preferred {
    variant: CudaVariant {
        spec: spec(
            Op::MoeDown,
            "slots sorted by expert, tiles on tensor cores, then the sum in order: prefill",
            TOLERANCE,
        ),
        sources: SOURCES,
        supports: |inst| sizes(&inst.inputs[1], &inst.inputs[3]),
        form: as_is,
        macros: |inst, tunables| {
            let down = &inst.inputs[3];
            let mut all = shared(&inst.inputs[1], down, tunables);
            all.push(type_macro("DOWN", down.dtype));
            all
        },
        scratch: |inst, tunables| {
            let (ids, down) = (&inst.inputs[1], &inst.inputs[3]);
            Parts::of(inst, tunables, ids.elements()).bytes + ids.elements() * down.ne[1] * size_of::<f32>()
        },
        launches: |inst, tunables| {
            let (h, ids, down) = (&inst.inputs[0], &inst.inputs[1], &inst.inputs[3]);
            let p = Parts::of(inst, tunables, ids.elements());
            let args = vec![
                Arg::Input(3),
                Arg::ScratchAt(p.bytes),
                Arg::ScratchAt(0),
                Arg::ScratchAt(p.sorted),
                Arg::I32(padded(down.ne[0]) as i32),
                Arg::I32(ids.elements() as i32),
                Arg::I32(p.most as i32),
            ];
            let grid = [down.ne[1].div_ceil(ROWS), p.most, 1];
            let experts = Arg::I32(down.ne[2] as i32);
            let sum = vec![Arg::Input(1), Arg::Input(2), Arg::Output(0), Arg::ScratchAt(p.bytes), experts];
            let [sort, halve] = p.first(h, down);
            vec![
                sort,
                halve,
                Launch { entry: "moe_down", grid, block: [ROWS, 1, 1], shared: 0, args },
                Launch {
                    entry: "moe_sum",
                    shared: 0,
                    grid: [down.ne[1].div_ceil(256), ids.ne[1], 1],
                    block: [256, 1, 1],
                    args: sum,
                },
            ]
        },
    },
    preferred: |inst| inst.inputs[1].ne[1] >= MANY,
};

/// Where the parts of the scratch lie: halves, then the sorted slots.
struct Parts {
    /// First byte of the sorted slots.
    sorted: usize,
    /// Most tiles that there can be.
    most: usize,
    /// Bytes of both.
    bytes: usize,
}

impl Parts {
    fn of(inst: &Instance, tunables: &Tunables, rows: usize) -> Parts {
        let (ids, w) = (&inst.inputs[1], &inst.inputs[3]);
        let (slots, experts) = (ids.elements(), w.ne[2] + 1);
        let most = slots / tile(ids, w, tunables) + experts.min(slots);
        let sorted = halves(w, rows);
        Parts { sorted, most, bytes: sorted + ((1 + 3 * most + slots) * size_of::<i32>()).next_multiple_of(64) }
    }

    /// The launches before the products.
    fn first(&self, x: &Layout, w: &Layout) -> [Launch; 2] {
        let (experts, most) = (Arg::I32(w.ne[2] as i32), Arg::I32(self.most as i32));
        let sort = vec![Arg::Input(1), Arg::ScratchAt(self.sorted), experts, most];
        let halve = vec![Arg::Input(0), Arg::ScratchAt(0), Arg::I32(padded(w.ne[0]) as i32)];
        [Launch::line("moe_sort", 1, 1024, sort), Launch::line("moe_halve", x.rows(), 128, halve)]
    }
}

/// Slots of a tile: not many more than an expert has if they spread evenly (on an H100, tiles of 32 win by a tenth at 10
/// slots an expert and lose by a third at 40).
fn tile(ids: &Layout, w: &Layout, tunables: &Tunables) -> usize {
    tunables.get(0).min(columns_per_expert(w, ids).next_power_of_two()).max(32)
}

fn shared(ids: &Layout, w: &Layout, tunables: &Tunables) -> Vec<crate::cuda::Macro> {
    vec![
        ("TILE", tile(ids, w, tunables).to_string()),
        ("EXACT", i32::from(w.dtype == DType::F32).to_string()),
        ("EXPERTS", w.ne[2].to_string()),
    ]
}

fn sizes(ids: &Layout, w: &Layout) -> Result<(), Reason> {
    let (slots, experts) = (ids.elements(), w.ne[2]);
    Reason::unless(experts <= 4096 && slots < 1 << 20, || format!("{slots} slots of {experts} experts"))
}
