//! `attention_block` of a token on a GPU's tensor cores.

use super::cuda::{MERGE, MOST_SPLITS, WARPS, launches, macros, scratch, supports};
use super::{K, K_CACHE, Q, V, V_CACHE, W_K_NORM, W_Q_NORM, constants};
use crate::cuda::{CudaVariant, TENSOR, as_is};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};
use crate::{DType, Op};

const STRETCH: Tunable = Tunable {
    name: "stretch",
    doc: "least cells of a thread block; more where they would come to more blocks than there is room for",
    default: 64,
    values: &[16, 32, 64, 128, 256],
};
/// Blocks that a large device has at once: a block takes most of a multiprocessor's registers.
const BLOCKS: usize = 128;

/// `tensor`.
pub(super) static TENSOR_CORES: CudaVariant = CudaVariant {
    spec: Spec {
        op: Op::AttentionBlock,
        name: "tensor",
        revision: 1,
        backend: Backend::Cuda,
        summary: "two launches for a token, F16 cells multiplied on tensor cores as they come; merge and gate",
        tunables: &[STRETCH],
        // Weights are halves.
        tolerance: 2e-3,
    },
    sources: &[TENSOR, MERGE, include_str!("tensor.cu")],
    supports: |inst| {
        supports(inst)?;
        let d = inst.inputs[Q].ne[0];
        Reason::unless(d.is_multiple_of(64), || format!("heads of {d} are not made of 64s"))?;
        for cache in [K_CACHE, V_CACHE].map(|i| &inst.inputs[i]) {
            let packed = cache.nb[0] == 2 && cache.nb[1..].iter().all(|nb| nb.is_multiple_of(16));
            Reason::unless(cache.dtype == DType::F16 && packed, || format!("{cache} is not F16 in rows of 16 bytes"))?;
        }
        for row in [Q, K, V, W_Q_NORM, W_K_NORM].map(|i| &inst.inputs[i]) {
            Reason::unless(row.nb[0] == 4, || format!("elements of {row} are apart"))?;
        }
        Ok(())
    },
    form: as_is,
    macros: |inst, tunables| macros(inst, splits(inst, tunables)),
    scratch: |inst, tunables| scratch(inst, splits(inst, tunables).1),
    launches: |inst, tunables| launches(inst, splits(inst, tunables).1),
};

/// Length of a stretch and number of stretches.
fn splits(inst: &Instance, tunables: &Tunables) -> (usize, usize) {
    let (n_kv, heads) = (constants(inst).n_kv, inst.inputs[K].ne[1] * inst.inputs[K].ne[3]);
    let most = (BLOCKS / heads).clamp(1, MOST_SPLITS);
    let stretch = n_kv.div_ceil(most).next_multiple_of(16 * WARPS).max(tunables.get(0));
    let stretch = if n_kv <= most * tunables.get(0) { tunables.get(0) } else { stretch };
    (stretch, n_kv.div_ceil(stretch))
}
