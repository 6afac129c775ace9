//! The definition, element by element.

use super::{CACHE, cell};
use crate::{Call, DType};
use half::f16;

/// # Safety
/// As [`crate::Kernel::run`].
pub unsafe fn set_rows(call: &Call<'_>) {
    let (src, pos, cache) = (&call.inputs[0], &call.inputs[1], &call.inputs[CACHE]);
    for row in 0..src.layout.rows() {
        let [h, t, s] = src.layout.row_index(row);
        // SAFETY: `pos` has an element for each token.
        let Some(c) = cell(unsafe { pos.get_i32([t, s, 0, 0]) }, cache.ne(1)) else { continue };
        for i in 0..src.ne(0) {
            // SAFETY: the indices lie inside the layouts: shapes agree (`infer`), and the cell is one of the cache's.
            unsafe {
                let v = src.get_f32([i, h, t, s]);
                match cache.layout.dtype {
                    DType::F16 => {
                        let at = cache.ptr.add(cache.layout.offset([i, c, h, s]));
                        at.cast::<f16>().write(f16::from_f32(v));
                    }
                    _ => cache.set_f32([i, c, h, s], v),
                }
            }
        }
    }
}
