//! Norms along dimension 0: `l2_norm`, `rms_norm`, `add_rms_norm`, `gated_norm`.

mod add_rms_norm;
mod cuda;
mod gated_norm;
mod l2_norm;
mod rms_norm;
mod separate;

pub use add_rms_norm::AddRmsNorm;
pub use gated_norm::GatedNorm;
pub use l2_norm::L2Norm;
pub use rms_norm::RmsNorm;

use super::ShapeError;
use crate::math::{Lanes, Level};
use crate::{Call, Layout, Params, TensorPtr};

/// The ε of a call.
fn eps(call: &Call<'_>) -> f32 {
    match call.inst.params {
        Params::Norm { eps } => eps,
        other => unreachable!("a norm with {other:?}"),
    }
}

/// A weight has one element for each of a row.
fn check_weight(w: &Layout, x: &Layout) -> Result<(), ShapeError> {
    ShapeError::unless(w.ne == [x.ne[0], 1, 1, 1], || format!("weight {w} does not fit rows of {x}"))
}

/// `1 / sqrt(mean x² + ε)` of row elements, for the references: summed in F64.
pub(super) fn reference_scale(n: usize, eps: f32, mean: bool, x: impl Fn(usize) -> f32) -> f32 {
    let squares: f64 = (0..n).map(|i| f64::from(x(i)).powi(2)).sum();
    let mean = if mean { squares / n as f64 } else { squares };
    (1.0 / (mean + f64::from(eps)).sqrt()) as f32
}

/// `y = x * scale * w`. x and y may be one memory.
///
/// # Safety
/// `n` live F32 at each address, those at `y` this worker's own; the level's features.
#[inline(always)]
pub(super) unsafe fn scale_row<L: Level>(n: usize, x: *const f32, scale: f32, w: Option<*const f32>, y: *mut f32) {
    let whole = n - n % L::V::N;
    // SAFETY: all indices are below `n`; each element is read before it is written. Features: by the caller.
    unsafe {
        let s = L::V::splat(scale);
        for i in (0..whole).step_by(L::V::N) {
            let v = L::V::load(x.add(i)).mul(s);
            let v = if let Some(w) = w { v.mul(L::V::load(w.add(i))) } else { v };
            v.store(y.add(i));
        }
        for i in whole..n {
            let v = x.add(i).read() * scale;
            y.add(i).write(if let Some(w) = w { v * w.add(i).read() } else { v });
        }
    }
}

/// The address of a row's first element.
///
/// # Safety
/// As [`TensorPtr::row_ptr`].
#[inline(always)]
unsafe fn row(t: &TensorPtr, [i1, i2, i3]: [usize; 3]) -> *mut f32 {
    // SAFETY: the contract is the same.
    unsafe { t.row_ptr(i1, i2, i3).cast() }
}
