//! Ranking on a GPU: a block a row.

use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_macros, no_scratch, rows_of};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable};

/// Source: the order of elements as numbers, and sorting in shared memory.
pub(super) const KEYS: &str = include_str!("keys.cuh");

const SOURCES: &[&str] = &[KEYS, include_str!("cuda.cu")];

/// Keys of a row that fit shared memory.
const MOST: usize = 4096;

const BLOCK: Tunable =
    Tunable { name: "block", doc: "most threads a row", default: 256, values: &[32, 64, 128, 256, 512, 1024] };

const fn spec(op: Op, name: &'static str, summary: &'static str) -> Spec {
    Spec { op, name, revision: 1, backend: Backend::Cuda, summary, tunables: &[BLOCK], tolerance: 0.0 }
}

/// `argsort`: `bitonic`.
pub(super) static BITONIC: CudaVariant = CudaVariant {
    spec: spec(Op::Argsort, "bitonic", "a block a row: all sorted in shared memory, by a network"),
    sources: SOURCES,
    supports: |inst| {
        let n = inst.inputs[0].ne[0];
        Reason::unless(n <= MOST, || format!("{n} keys are more than {MOST}"))
    },
    form: as_is,
    macros: |inst, _| vec![("PADDED", padded(inst).to_string())],
    scratch: no_scratch,
    launches: |inst, tunables| {
        let threads = rows_of(padded(inst) / 2, tunables.get(0));
        vec![Launch::line("argsort", inst.inputs[0].rows(), threads, vec![Arg::Input(0), Arg::Output(0)])]
    },
};

/// `top_k`: `rounds`.
pub(super) static ROUNDS: CudaVariant = CudaVariant {
    spec: spec(Op::TopK, "rounds", "a block a row: the largest that is left, k times"),
    sources: SOURCES,
    supports: |_| Ok(()),
    form: as_is,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, tunables| {
        let x = &inst.inputs[0];
        let threads = rows_of(x.ne[0], tunables.get(0));
        vec![Launch::line("top_k", x.rows(), threads, vec![Arg::Input(0), Arg::Output(0)])]
    },
};

fn padded(inst: &Instance) -> usize {
    inst.inputs[0].ne[0].next_power_of_two().max(2)
}
