//! Mixture of experts: `moe_topk` chooses, `moe_router` with the norm and the product before, `moe_up_gate` and `moe_down` are the two halves of the chosen experts'
//! feed-forward, `moe_ffn` is all of it with the shared expert.

mod cuda;
mod down;
mod ffn;
mod grouped;
mod router;
mod router_cuda;
mod staged;
mod topk;
mod two_launches;
mod up_gate;

pub use down::MoeDown;
pub use ffn::MoeFfn;
pub use router::MoeRouter;
pub use topk::MoeTopk;
pub use up_gate::MoeUpGate;

use super::ShapeError;
use crate::{DType, Layout, TensorPtr};

/// The expert of slot `u` of token `t`.
///
/// # Safety
/// The index lies inside ids, which is live I32.
///
/// # Panics
/// If it is no expert: ids come from a top-k over the experts.
pub(super) unsafe fn id_of(ids: &TensorPtr, u: usize, t: usize, experts: usize) -> usize {
    // SAFETY: by the caller's contract.
    let id = unsafe { ids.get_i32([u, t, 0, 0]) } as usize;
    assert!(id < experts, "expert {id} of {experts}");
    id
}

/// Bytes of those experts that can be used at all.
pub(super) fn expert_bytes(w: &Layout, ids: &Layout) -> f64 {
    let experts = w.ne[2].max(1);
    w.bytes() as f64 * ids.elements().min(experts) as f64 / experts as f64
}

/// Columns that a row of an expert meets, if the tokens spread evenly: what decides between the ways to multiply.
pub(super) fn columns_per_expert(w: &Layout, ids: &Layout) -> usize {
    ids.elements().div_ceil(w.ne[2].max(1))
}

/// Whether ids are `[n_used, T]`.
fn check_ids(ids: &Layout, tokens: usize) -> Result<(), ShapeError> {
    let fits = ids.dtype == DType::I32 && ids.ne[0] > 0 && ids.ne[1] == tokens && ids.rows() == tokens;
    ShapeError::unless(fits, || format!("ids {ids} do not name experts of {tokens} tokens"))
}

/// Whether a weight is `[k, n, experts]`.
fn check_experts(w: &Layout, k: usize, n: usize, experts: usize) -> Result<(), ShapeError> {
    super::mul_mat::check_weight(w)?;
    ShapeError::unless(w.ne == [k, n, experts, 1], || format!("{w} is not [{k}, {n}, {experts}]"))
}
