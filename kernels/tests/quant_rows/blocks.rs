//! Random blocks and exact products.

use deltascope_kernels::DType;
use deltascope_kernels::cpu::Isa;
use deltascope_kernels::quant::{activation_for, dequantize_row, quantize_activations};
use half::f16;

/// A small generator, so that a seed names a case.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Near enough to normal, variance one.
    pub fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| (self.bits() >> 11) as f64 / (1u64 << 53) as f64).sum();
        (sum - 6.0) as f32
    }
}

/// Rows of random bits with sane floats where the type keeps floats: every code and scale, -128 among them, turns up.
pub fn weight_rows(dtype: DType, rows: usize, n: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut w: Vec<u8> =
        (0..rows * dtype.row_bytes(n).expect("whole blocks")).map(|_| (random.bits() >> 32) as u8).collect();
    set_scales(dtype, &mut w, || random.normal() * 0.02);
    w
}

/// Overwrites the f16 fields of each block.
pub fn set_scales(dtype: DType, w: &mut [u8], mut value: impl FnMut() -> f32) {
    let fields: &[usize] = match dtype {
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K => &[108],
        DType::Q6_K => &[208],
        _ => &[0],
    };
    for block in w.chunks_exact_mut(dtype.block_bytes()) {
        for &at in fields {
            block[at..at + 2].copy_from_slice(&f16::from_f32(value()).to_le_bytes());
        }
    }
}

/// Quantised normal activations for weights of `dtype`, and the bytes of a column.
pub fn activations(dtype: DType, columns: usize, n: usize, seed: u64) -> (Vec<u8>, usize) {
    let mut random = Random(seed);
    let activation = activation_for(dtype).expect("a block type");
    let stride = activation.row_bytes(n).expect("whole blocks");
    let x: Vec<f32> = (0..columns * n).map(|_| random.normal()).collect();
    let mut out = vec![0; columns * stride];
    for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(stride)) {
        quantize_activations(Isa::Scalar, activation, x, out);
    }
    (out, stride)
}

pub fn widen(dtype: DType, row: &[u8], n: usize) -> Vec<f32> {
    let mut out = vec![0.0; n];
    dequantize_row(dtype, row, &mut out);
    out
}

/// The product in f64, and the sum of magnitudes that its error is measured against. Types with mins add two sums that
/// may cancel, so their magnitude takes each weight at its largest possible part.
pub fn exact(dtype: DType, w: &[u8], x: &[u8], n: usize) -> (f64, f64) {
    let (w, x) = (widen(dtype, w, n), widen(activation_for(dtype).expect("a block type"), x, n));
    let products = w.iter().zip(&x).map(|(&w, &x)| f64::from(w) * f64::from(x));
    let largest = w.iter().fold(0.0f64, |m, &w| m.max(f64::from(w.abs())));
    let magnitude: f64 = x.iter().map(|&x| f64::from(x.abs()) * largest * 2.0).sum();
    (products.sum(), magnitude)
}
