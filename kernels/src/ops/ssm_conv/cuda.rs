//! `ssm_conv` on a GPU.

use super::{STATE, W, X, silu};
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_scratch};
use crate::variant::{Backend, Reason, Spec, Tunable};

const STRETCH: Tunable =
    Tunable { name: "stretch", doc: "tokens a thread", default: 16, values: &[4, 8, 16, 32, 64, 128] };
const BLOCK: usize = 128;

/// `channels`.
pub(super) static CHANNELS: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::SsmConv,
        name: "channels",
        revision: 1,
        backend: Backend::Cuda,
        summary: "a thread a channel and stretch of tokens, window in registers, silu in the store; state after it",
        tunables: &[STRETCH],
        tolerance: 1e-6,
    },
    sources: &[include_str!("cuda.cu")],
    supports: |inst| {
        let (taps, [_, t, s, _]) = (inst.inputs[W].ne[0], inst.inputs[X].ne);
        Reason::unless(taps <= 16 && t < 1 << 16 && s < 1 << 16, || format!("{taps} taps, {t} tokens, {s} sequences"))
    },
    form: as_is,
    macros: |inst, _| vec![("TAPS", inst.inputs[W].ne[0].to_string()), ("SILU", u8::from(silu(inst)).to_string())],
    scratch: no_scratch,
    launches: |inst, tunables| {
        let ([c, t, s, _], stretch) = (inst.inputs[X].ne, tunables.get(0));
        let (blocks, block) = (c.div_ceil(BLOCK), [BLOCK, 1, 1]);
        let args = vec![Arg::Input(X), Arg::Input(STATE), Arg::Input(W), Arg::Output(0), Arg::I32(stretch as i32)];
        let state = vec![Arg::Input(X), Arg::Input(STATE)];
        vec![
            Launch { entry: "ssm_conv", grid: [blocks, t.div_ceil(stretch), s], block, shared: 0, args },
            Launch { entry: "ssm_conv_state", grid: [blocks, s, 1], block, shared: 0, args: state },
        ]
    },
};
