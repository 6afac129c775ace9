//! `attention_block` of a token on a GPU.

use super::{GATE, K, K_CACHE, POS, Q, V, V_CACHE, W_K_NORM, W_Q_NORM, constants};
use crate::Op;
use crate::cuda::{Arg, CudaVariant, Launch, Macro, as_is};
use crate::ops::multiply::cuda::type_macro;
use crate::ops::rope::angles::frequency;
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};

const STRETCH: Tunable = Tunable {
    name: "stretch",
    doc: "least cells of a thread block; more where they would come to more than 128 blocks",
    default: 32,
    values: &[16, 32, 64, 128, 256],
};
/// Source: the second launch, and what first ones share.
pub(super) const MERGE: &str = include_str!("merge.cu");
/// Warps of a block.
pub(super) const WARPS: usize = 8;
/// Pairs that `Turns` of the source has room for.
const PAIRS: usize = 128;
/// Stretches that a cache is cut in, if they are not to be longer than [`LONGEST`].
const SPLITS: usize = 128;
/// Cells whose weights have room in a block.
const LONGEST: usize = 512;
/// Stretches that the merge has room for.
pub(super) const MOST_SPLITS: usize = 4096;

/// `fused`.
pub(super) static FUSED: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::AttentionBlock,
        name: "fused",
        revision: 1,
        backend: Backend::Cuda,
        summary: "two launches for a token: all query heads of a KV head over a stretch of cells; merge and gate",
        tunables: &[STRETCH],
        tolerance: 2e-5,
    },
    sources: &[MERGE, include_str!("cuda.cu")],
    supports,
    form: as_is,
    macros: |inst, tunables| {
        let mut macros = macros(inst, splits(inst, tunables));
        macros.extend([("KEY", K_CACHE), ("VALUE", V_CACHE)].map(|(name, i)| type_macro(name, inst.inputs[i].dtype)));
        macros
    },
    scratch: |inst, tunables| scratch(inst, splits(inst, tunables).1),
    launches: |inst, tunables| launches(inst, splits(inst, tunables).1),
};

/// What every first launch of one token wants.
pub(super) fn supports(inst: &Instance) -> Result<(), Reason> {
    let ([d, heads, tokens, s], n_kv) = (inst.inputs[Q].ne, constants(inst).n_kv);
    let group = group(inst);
    Reason::unless(tokens == 1, || format!("{tokens} tokens a sequence, not one"))?;
    Reason::unless(d <= 256, || format!("heads of {d} are wider than 256"))?;
    Reason::unless(group <= 8, || format!("{group} query heads to a KV head are more than 8"))?;
    Reason::unless(heads < 1 << 16 && s < 1 << 16, || format!("{heads} heads in {s} sequences"))?;
    Reason::unless(n_kv > 0 && n_kv <= MOST_SPLITS * LONGEST, || format!("{n_kv} cells to look at"))
}

/// What both launches know of an instance, for so many cells a stretch and so many stretches.
pub(super) fn macros(inst: &Instance, (stretch, splits): (usize, usize)) -> Vec<Macro> {
    vec![
        ("HEAD", inst.inputs[Q].ne[0].to_string()),
        ("GROUP", group(inst).to_string()),
        ("HALF", (constants(inst).n_rot / 2).to_string()),
        ("STRETCH", stretch.to_string()),
        ("SPLITS", splits.next_multiple_of(SPLITS).to_string()),
        ("WARPS", WARPS.to_string()),
    ]
}

/// Bytes that a stretch's sums, largest logit and sum of weights take of all heads, for so many stretches.
pub(super) fn scratch(inst: &Instance, splits: usize) -> usize {
    inst.inputs[Q].rows() * splits * (inst.inputs[Q].ne[0] + 2) * size_of::<f32>()
}

/// The two launches for so many stretches.
pub(super) fn launches(inst: &Instance, splits: usize) -> Vec<Launch> {
    let c = constants(inst);
    let ([d, heads, _, s], kv_heads) = (inst.inputs[Q].ne, inst.inputs[K].ne[1]);
    let mut turns: Vec<f32> = (0..c.n_rot / 2).map(|i| frequency(i, c.n_rot, c.base)).collect();
    turns.resize(PAIRS, 0.0);
    let n_kv = Arg::I32(c.n_kv as i32);
    let partial = [Arg::Scratch, Arg::ScratchAt(inst.inputs[Q].rows() * splits * d * size_of::<f32>())];
    let mut stretch: Vec<Arg> = [Q, K, V, POS, K_CACHE, V_CACHE, W_Q_NORM, W_K_NORM].map(Arg::Input).to_vec();
    stretch.extend(partial.clone());
    stretch.extend([Arg::Floats(turns), Arg::F32(c.eps), Arg::F32(c.scale), n_kv.clone()]);
    let mut merge = partial.to_vec();
    merge.extend([Arg::Input(POS), Arg::Input(GATE), Arg::Output(0), n_kv, Arg::I32(splits as i32)]);
    let block = [32 * WARPS, 1, 1];
    vec![
        Launch { entry: "attention_block", grid: [splits, kv_heads, s], block, shared: 0, args: stretch },
        Launch { entry: "attention_block_merge", grid: [d.div_ceil(64), heads, s], block, shared: 0, args: merge },
    ]
}

/// Query heads to a KV head.
pub(super) fn group(inst: &Instance) -> usize {
    inst.inputs[Q].ne[1] / inst.inputs[K].ne[1]
}

/// Length of a stretch and number of stretches.
fn splits(inst: &Instance, tunables: &Tunables) -> (usize, usize) {
    let n_kv = constants(inst).n_kv;
    let stretch = n_kv.div_ceil(SPLITS).next_power_of_two().min(LONGEST).max(tunables.get(0));
    (stretch, n_kv.div_ceil(stretch))
}
