//! A slice of a state in panels: a few columns of every row side by side. In place, rows a power of two apart would
//! share few sets of the first-level cache.

use super::sweep::Slice;

/// Copies a slice into panels of `wide` columns, the last as wide as what is left.
///
/// # Safety
/// The slice is live, and `to` has room for as many elements.
pub(super) unsafe fn gather(s: Slice, wide: usize, to: *mut f32) {
    for at in (0..s.width).step_by(wide) {
        let wide = wide.min(s.width - at);
        for i in 0..s.keys {
            // SAFETY: promised by the caller.
            unsafe { std::ptr::copy_nonoverlapping(s.ptr.add(i * s.stride + at), to.add(at * s.keys + i * wide), wide) }
        }
    }
}

/// The way back.
///
/// # Safety
/// As [`gather`], and the slice is this worker's own.
pub(super) unsafe fn scatter(from: *const f32, wide: usize, s: Slice) {
    for at in (0..s.width).step_by(wide) {
        let wide = wide.min(s.width - at);
        for i in 0..s.keys {
            // SAFETY: promised by the caller.
            unsafe {
                std::ptr::copy_nonoverlapping(from.add(at * s.keys + i * wide), s.ptr.add(i * s.stride + at), wide)
            }
        }
    }
}
