//! Weights in packed layouts, made once at load or at a swap.

use crate::Layout;
use crate::tensor::Buffer;
use crate::variant::Packing;

/// Packs a whole contiguous weight.
pub fn pack(packing: Packing, layout: &Layout, bytes: &[u8]) -> Buffer {
    match packing {
        Packing::Rows8 => {
            debug_assert!(layout.is_contiguous());
            Buffer::from_bytes(bytes)
        }
    }
}
