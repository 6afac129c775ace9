//! The definition, element by element.

use crate::{Call, DType, TensorPtr};
use half::f16;

/// # Safety
/// As [`crate::Kernel::run`].
pub unsafe fn cont(call: &Call<'_>) {
    let (x, y) = (&call.inputs[0], &call.outputs[0]);
    for row in 0..x.layout.rows() {
        // SAFETY: `row` is a row of both, which have one shape.
        unsafe { copy_row(x, y, row) }
    }
}

/// Copies row `row` at any strides and plain types.
///
/// # Safety
/// As [`crate::Kernel::run`]; no other worker has the row.
pub(super) unsafe fn copy_row(x: &TensorPtr, y: &TensorPtr, row: usize) {
    let [i1, i2, i3] = x.layout.row_index(row);
    // SAFETY: the row lies inside both layouts.
    let (src, dst) = unsafe { (x.row_ptr(i1, i2, i3), y.row_ptr(i1, i2, i3)) };
    let (sx, sy) = (x.nb(0), y.nb(0));
    for i in 0..x.ne(0) {
        // SAFETY: element `i` of the row lies inside both layouts; strides keep the alignment of the type.
        unsafe {
            let (s, d) = (src.add(i * sx), dst.add(i * sy));
            match (x.layout.dtype, y.layout.dtype) {
                (DType::F32, DType::F16) => d.cast::<f16>().write(f16::from_f32(s.cast::<f32>().read())),
                (DType::F16, DType::F32) => d.cast::<f32>().write(s.cast::<f16>().read().to_f32()),
                (DType::F16, _) => d.cast::<u16>().write(s.cast::<u16>().read()),
                _ => d.cast::<u32>().write(s.cast::<u32>().read()),
            }
        }
    }
}
