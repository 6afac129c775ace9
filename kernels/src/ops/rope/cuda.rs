//! `rope` on a GPU. The frequencies come from the host, rounded as the published model's code rounds them.

use super::{angles::frequency, rotation};
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_macros, no_scratch, rows_of};
use crate::variant::{Backend, Reason, Spec};

/// Pairs that `Turns` of the source has room for.
const PAIRS: usize = 128;

/// `pairs`.
pub(super) static PAIRS_OF_ROW: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::Rope,
        name: "pairs",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a block a row, a thread a pair; angles in full precision",
        tunables: &[],
        tolerance: 5e-7,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |inst| {
        let (n_rot, _) = rotation(&inst.params);
        Reason::unless(n_rot / 2 <= PAIRS, || format!("{} pairs are more than {PAIRS}", n_rot / 2))
    },
    form: as_is,
    macros: no_macros,
    scratch: no_scratch,
    launches: |inst, _| {
        let (x, (n_rot, base)) = (&inst.inputs[0], rotation(&inst.params));
        let half = n_rot / 2;
        let mut turns: Vec<f32> = (0..half).map(|i| frequency(i, n_rot, base)).collect();
        turns.resize(PAIRS, 0.0);
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0), Arg::Floats(turns), Arg::I32(half as i32)];
        vec![Launch::line("rope", x.rows(), rows_of(x.ne[0] - half, 256), args)]
    },
};
