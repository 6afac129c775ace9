//! Scalar dot products: the definition that every vector kernel repeats bit for bit.
//!
//! Inside a block everything is an exact integer. Between blocks there are two float accumulators, one for the scaled
//! products and one for the mins, each a chain of fused multiply-adds in the order of the blocks.

use super::activation::{A_BYTES, A_QUANTS, K_BYTES, K_QUANTS, a_sum, k_sum};
use super::block::{Block32, Block256, read_f32};
use super::{decode32, decode256, plain};
use crate::DType;

/// Weights per step of the plain dot products: element `i` is added into lane `i % LANES`.
pub(super) const LANES: usize = 32;

/// The two accumulators of one row and one column.
#[derive(Clone, Copy, Default)]
pub(super) struct Accumulators {
    products: f32,
    mins: f32,
}

impl Accumulators {
    /// Adds a block of 256 weights times a Q8_K block.
    fn add256(&mut self, block: &Block256, x: &[u8]) {
        let dx = read_f32(x, 0);
        let (mut sum, mut min) = (0i32, 0i32);
        for g in 0..16 {
            let xs = &x[K_QUANTS + 16 * g..K_QUANTS + 16 * g + 16];
            sum += i32::from(block.scale[g]) * dot(&block.q[16 * g..16 * g + 16], xs);
            min += i32::from(block.min[g]) * k_sum(x, g);
        }
        self.products = (sum as f32).mul_add(block.d * dx, self.products);
        self.mins = (min as f32).mul_add(block.dmin * dx, self.mins);
    }

    /// Adds a block of 32 weights times a Q8_A block.
    fn add32(&mut self, block: &Block32, x: &[u8]) {
        let dx = read_f32(x, 0);
        self.products = (dot(&block.q, &x[A_QUANTS..]) as f32).mul_add(block.d * dx, self.products);
        self.mins = block.m.mul_add(dx * a_sum(x) as f32, self.mins);
    }

    /// Adds one block of `dtype` times the block of activations at the same place.
    pub(super) fn add(&mut self, dtype: DType, w: &[u8], x: &[u8]) {
        if dtype.block_len() == 32 {
            self.add32(&decode32(dtype, w), x);
        } else {
            self.add256(&decode256(dtype, w), x);
        }
    }

    /// The product of the row and the column.
    pub(super) fn total(self, dtype: DType) -> f32 {
        if dtype.block_len() == 32 { self.products + self.mins } else { self.products - self.mins }
    }
}

/// A row of quantised blocks times a row of its activation type.
pub(super) fn dot_row(dtype: DType, w: &[u8], x: &[u8]) -> f32 {
    let x_bytes = if dtype.block_len() == 32 { A_BYTES } else { K_BYTES };
    let mut sums = Accumulators::default();
    for (w, x) in w.chunks_exact(dtype.block_bytes()).zip(x.chunks_exact(x_bytes)) {
        sums.add(dtype, w, x);
    }
    sums.total(dtype)
}

fn dot(w: &[i8], x: &[u8]) -> i32 {
    w.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x as i8)).sum()
}

/// A row of floats of `dtype` times f32: 32 chains, then a fixed tree.
pub(super) fn dot_plain(dtype: DType, w: &[u8], x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (i, &x) in x.iter().enumerate() {
        lanes[i % LANES] = plain::element(dtype, w, i).mul_add(x, lanes[i % LANES]);
    }
    reduce(&lanes)
}

/// Sums the lanes by halves: `i` with `i + 16`, then `i + 8`, 4, 2, 1. The order of the vector kernels.
pub(super) fn reduce(lanes: &[f32; LANES]) -> f32 {
    let mut v = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            v[i] += v[i + width];
        }
        width /= 2;
    }
    v[0]
}
