//! One weight row times one or a few activation rows: the safe front of the kernels.

use super::{activation, activation_for, check_row, scalar};
use crate::DType;
use crate::cpu::Isa;

#[cfg(target_arch = "x86_64")]
use super::x86;

/// Most activation columns that a kernel takes at a time.
pub const MAX_COLUMNS: usize = 8;

/// Quantises a row of activations to Q8_K; `out` takes `x.len() / 256 * 292` bytes.
///
/// # Panics
/// If `x` is no whole number of blocks or `out` has another size.
pub fn quantize_q8_k(isa: Isa, x: &[f32], out: &mut [u8]) {
    check_row(DType::Q8_K, out.len(), x.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = isa.avx2() {
        return x86::activation::quantize_k(token, x, out);
    }
    let _ = isa;
    activation::quantize_k(x, out);
}

/// Quantises a row of activations to Q8_A; `out` takes `x.len() / 32 * 40` bytes.
///
/// # Panics
/// If `x` is no whole number of blocks or `out` has another size.
pub fn quantize_q8_a(isa: Isa, x: &[f32], out: &mut [u8]) {
    check_row(DType::Q8_A, out.len(), x.len());
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = isa.avx2() {
        return x86::activation::quantize_a(token, x, out);
    }
    let _ = isa;
    activation::quantize_a(x, out);
}

/// Quantises a row of activations to the type that [`activation_for`] gives.
///
/// # Panics
/// If `activation` is neither Q8_K nor Q8_A, or a length is wrong.
pub fn quantize_activations(isa: Isa, activation: DType, x: &[f32], out: &mut [u8]) {
    match activation {
        DType::Q8_K => quantize_q8_k(isa, x, out),
        DType::Q8_A => quantize_q8_a(isa, x, out),
        other => panic!("{other} is no activation type"),
    }
}

/// A row of `n` block-quantised weights times a row of activations of type [`activation_for`]`(dtype)`.
///
/// # Panics
/// If `dtype` is no block type or a length is wrong.
pub fn dot_q(isa: Isa, dtype: DType, w: &[u8], x: &[u8], n: usize) -> f32 {
    let mut out = [0.0];
    dot_rows(isa, dtype, w, [x], n, &mut out);
    out[0]
}

/// One weight row, unpacked once, times `C` activation rows (at most [`MAX_COLUMNS`]): `out[c] = w . xs[c]`, the same
/// bits as [`dot_q`] for each.
///
/// # Panics
/// If `dtype` is no block type or a length is wrong.
pub fn dot_rows<const C: usize>(isa: Isa, dtype: DType, w: &[u8], xs: [&[u8]; C], n: usize, out: &mut [f32; C]) {
    const { assert!(C >= 1 && C <= MAX_COLUMNS) };
    let Some(activation) = activation_for(dtype) else { panic!("{dtype} is no block type") };
    check_row(dtype, w.len(), n);
    for x in xs {
        check_row(activation, x.len(), n);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = isa.avx2() {
        return x86::dot::dot_rows(token, dtype, w, xs, n, out);
    }
    let _ = isa;
    for (y, x) in out.iter_mut().zip(xs) {
        *y = scalar::dot_row(dtype, w, x);
    }
}

/// A row of F32, F16 or BF16 weights times `x`.
///
/// # Panics
/// If `dtype` is another type or `w` has another size.
pub fn dot_f(isa: Isa, dtype: DType, w: &[u8], x: &[f32]) -> f32 {
    assert!(matches!(dtype, DType::F32 | DType::F16 | DType::BF16), "{dtype} is no plain float type");
    check_row(dtype, w.len(), x.len());
    #[cfg(target_arch = "x86_64")]
    match (isa.avx512_vnni(), isa.avx2()) {
        (Some(token), _) => return x86::plain::dot_avx512(token, dtype, w, x),
        (None, Some(token)) => return x86::plain::dot_avx2(token, dtype, w, x),
        (None, None) => {}
    }
    let _ = isa;
    scalar::dot_plain(dtype, w, x)
}
