//! How far two results are apart.

use crate::{DType, Layout};

/// The distance of a result from the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// Root of the summed squares of the differences over that of the reference: the figure that tolerances bound.
    pub relative: f64,
    /// Largest difference of an element.
    pub max_abs: f64,
    /// Bits differ somewhere.
    pub bits_differ: bool,
}

impl Difference {
    /// The worse of two.
    pub fn worse(self, other: Difference) -> Difference {
        Difference {
            relative: self.relative.max(other.relative),
            max_abs: self.max_abs.max(other.max_abs),
            bits_differ: self.bits_differ || other.bits_differ,
        }
    }
}

/// Compares two tensors of one layout, element by element. A NaN on one side only, or an index that differs, counts as
/// infinite.
///
/// # Panics
/// If a buffer is shorter than the layout's span or the type is no plain type.
pub fn difference(layout: &Layout, reference: &[u8], result: &[u8]) -> Difference {
    let mut d = Difference::default();
    let (mut diff2, mut ref2) = (0.0f64, 0.0f64);
    for row in 0..layout.rows() {
        let [i1, i2, i3] = layout.row_index(row);
        for i0 in (0..layout.ne[0]).step_by(layout.dtype.block_len()) {
            let at = layout.offset([i0, i1, i2, i3]);
            let n = layout.dtype.block_bytes();
            let (a, b) = (&reference[at..at + n], &result[at..at + n]);
            if a == b && !layout.dtype.is_quantised() {
                let x = read(layout.dtype, a);
                if x.is_finite() {
                    ref2 += x * x;
                }
                continue;
            }
            if layout.dtype.is_quantised() {
                let mut pair = [vec![0.0; layout.dtype.block_len()], vec![0.0; layout.dtype.block_len()]];
                crate::quant::dequantize_row(layout.dtype, a, &mut pair[0]);
                crate::quant::dequantize_row(layout.dtype, b, &mut pair[1]);
                d.bits_differ |= a != b;
                for (&x, &y) in pair[0].iter().zip(&pair[1]) {
                    add(&mut d, &mut diff2, &mut ref2, f64::from(x), f64::from(y));
                }
                continue;
            }
            d.bits_differ = true;
            let (x, y) = (read(layout.dtype, a), read(layout.dtype, b));
            if layout.dtype == DType::I32 {
                d.relative = f64::INFINITY;
            }
            add(&mut d, &mut diff2, &mut ref2, x, y);
        }
    }
    if diff2 > 0.0 {
        d.relative = d.relative.max((diff2 / ref2.max(f64::MIN_POSITIVE)).sqrt());
    }
    d
}

fn add(d: &mut Difference, diff2: &mut f64, ref2: &mut f64, x: f64, y: f64) {
    if x == y || (x.is_nan() && y.is_nan()) {
        if x.is_finite() {
            *ref2 += x * x;
        }
        return;
    }
    let e = (x - y).abs();
    if !e.is_finite() {
        d.relative = f64::INFINITY;
        d.max_abs = f64::INFINITY;
        return;
    }
    d.max_abs = d.max_abs.max(e);
    *diff2 += e * e;
    *ref2 += x * x;
}

fn read(dtype: DType, b: &[u8]) -> f64 {
    match dtype {
        DType::F32 => f64::from(f32::from_ne_bytes([b[0], b[1], b[2], b[3]])),
        DType::I32 => f64::from(i32::from_ne_bytes([b[0], b[1], b[2], b[3]])),
        DType::F16 => half::f16::from_ne_bytes([b[0], b[1]]).to_f64(),
        DType::BF16 => half::bf16::from_ne_bytes([b[0], b[1]]).to_f64(),
        _ => unreachable!("block types are dequantised by the caller"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;

    #[test]
    fn a_nan_is_infinitely_wrong_and_equal_is_zero() {
        let l = Layout::f32([2, 1, 1, 1]);
        let a = Buffer::from_f32(&[1.0, 2.0]);
        let b = Buffer::from_f32(&[1.0, f32::NAN]);
        assert_eq!(difference(&l, a.bytes(), a.bytes()), Difference::default());
        assert!(difference(&l, a.bytes(), b.bytes()).relative.is_infinite());
        let c = Buffer::from_f32(&[1.0, 2.1]);
        let d = difference(&l, a.bytes(), c.bytes());
        assert!((d.relative - 0.1 / 5f64.sqrt()).abs() < 1e-6 && d.bits_differ);
    }
}
