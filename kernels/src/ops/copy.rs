//! Copies of elements of four bytes, within a row.

/// `n` elements of four bytes from `src` to `dst`, `s_src` and `s_dst` bytes apart. The two may be one memory with one
/// stride.
///
/// # Safety
/// All elements are live and aligned to four, and those at `dst` are this worker's own.
#[inline(always)]
pub(super) unsafe fn copy_elements(src: *const u8, s_src: usize, dst: *mut u8, s_dst: usize, n: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        if s_src == 4 && s_dst == 4 {
            std::ptr::copy(src, dst, n * 4);
            return;
        }
        for i in 0..n {
            dst.add(i * s_dst).cast::<u32>().write(src.add(i * s_src).cast::<u32>().read());
        }
    }
}
