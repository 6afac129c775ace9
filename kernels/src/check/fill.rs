//! Test inputs from a seed.

use crate::Buffer;
use crate::ops::Fill;
use crate::{DType, Layout};

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Box-Muller.
    fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
    }

    fn below(&mut self, n: i32) -> i32 {
        (self.bits() % n.max(1) as u64) as i32
    }
}

/// A contiguous tensor of this layout's shape, filled from a seed.
pub fn fill(layout: &Layout, how: Fill, seed: u64) -> Buffer {
    let mut r = Random(seed);
    let n = layout.elements();
    if layout.dtype == DType::I32 {
        let rows = layout.rows();
        let mut v = Vec::with_capacity(n);
        for _ in 0..rows {
            match how {
                Fill::Ids(top) => v.extend((0..layout.ne[0]).map(|_| r.below(top))),
                Fill::DistinctIds(top) => {
                    let mut all: Vec<i32> = (0..top).collect();
                    for i in 0..layout.ne[0] {
                        let j = i + r.below(top - i as i32) as usize;
                        all.swap(i, j);
                    }
                    v.extend(&all[..layout.ne[0]]);
                }
                Fill::Positions(top) => {
                    let start = r.below(top - layout.ne[0] as i32 + 1);
                    v.extend((0..layout.ne[0] as i32).map(|i| start + i));
                }
                Fill::Normal(_) | Fill::Uniform(..) => v.extend(std::iter::repeat_n(0, layout.ne[0])),
            }
        }
        return Buffer::from_i32(&v);
    }
    let values: Vec<f32> = (0..n)
        .map(|_| match how {
            Fill::Normal(dev) => r.normal() * dev,
            Fill::Uniform(lo, hi) => lo + (hi - lo) * r.unit(),
            _ => 0.0,
        })
        .collect();
    if layout.dtype == DType::F32 {
        return Buffer::from_f32(&values);
    }
    let mut out = Buffer::zeroed(layout.bytes());
    let row = layout.bytes() / layout.rows().max(1);
    for (src, dst) in values.chunks_exact(layout.ne[0].max(1)).zip(out.bytes_mut().chunks_exact_mut(row.max(1))) {
        crate::quant::quantize_row(layout.dtype, src, dst);
    }
    out
}
