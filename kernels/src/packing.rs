//! Weights in packed layouts, made once at load or at a swap.

use crate::Buffer;
use crate::Layout;
use crate::quant::pack_rows8;
use crate::variant::Packing;
use rayon::prelude::*;

/// Rows that are packed together.
const ROWS: usize = 8;

/// Packs a whole contiguous weight, on all cores.
///
/// [`Packing::Rows8`]: rows in groups of eight over all dimensions, so each expert's rows by themselves; `ne[1]` is a
/// multiple of eight.
///
/// # Panics
/// If the layout is not what the packing takes or `bytes` is shorter: the variants that ask for packed weights support
/// no others.
pub fn pack(packing: Packing, layout: &Layout, bytes: &[u8]) -> Buffer {
    match packing {
        Packing::Rows8 => {
            assert!(
                layout.is_contiguous() && layout.ne[1].is_multiple_of(ROWS),
                "{layout:?} cannot be packed in eights"
            );
            let octet = ROWS * layout.bytes() / layout.rows().max(1);
            let mut out = Buffer::zeroed(layout.bytes());
            if octet > 0 {
                let rows = bytes[..layout.bytes()].par_chunks_exact(octet);
                let packed = out.bytes_mut().par_chunks_exact_mut(octet);
                rows.zip(packed).for_each(|(rows, out)| pack_rows8(layout.dtype, rows, layout.ne[0], out));
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::quant::unpack_rows8;

    #[test]
    fn each_experts_rows_are_packed_by_themselves() {
        let layout = Layout::contiguous(DType::Q4_K, [256, 16, 3, 1]);
        let bytes: Vec<u8> = (0..layout.bytes()).map(|i| (i * 31 % 251) as u8).collect();
        let packed = pack(Packing::Rows8, &layout, &bytes);
        let octet = 8 * 144;
        for (packed, rows) in packed.bytes().chunks_exact(octet).zip(bytes.chunks_exact(octet)) {
            let mut back = vec![0; octet];
            unpack_rows8(DType::Q4_K, packed, 256, &mut back);
            assert_eq!(back, rows);
        }
    }
}
