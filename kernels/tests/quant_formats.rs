//! Block formats against ggml's own decoder, and quantisation against its bound.

use std::path::Path;

use deltascope_kernels::DType;
use deltascope_kernels::cpu::Isa;
use deltascope_kernels::quant::{BLOCK_TYPES, activation_for, dequantize_row, quantize_activations, quantize_row};
use proptest::prelude::*;

/// Each file holds two blocks of random bits (scales aside) and, as f32, what the Python package `gguf` decodes them to.
#[test]
fn blocks_decode_as_in_ggml() {
    for dtype in BLOCK_TYPES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/quant/{dtype}.bin"));
        let bytes = std::fs::read(&path).expect("test vectors are in the repository");
        let (blocks, expected) = bytes.split_at(2 * dtype.block_bytes());
        let expected: Vec<f32> = expected.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(expected.len(), 2 * dtype.block_len());
        let mut decoded = vec![0.0; expected.len()];
        dequantize_row(dtype, blocks, &mut decoded);
        for (i, (got, want)) in decoded.iter().zip(&expected).enumerate() {
            assert!((got - want).abs() <= want.abs() * 1e-6 + 1e-9, "{dtype} weight {i}: {got}, not {want}");
        }
    }
}

/// Root mean square error over root mean square of normal weights: what 8 to 2 bits can hold.
fn bound(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 0.0,
        DType::F16 => 1e-3,
        DType::BF16 => 4e-3,
        DType::Q8_0 | DType::Q8_K | DType::Q8_A => 0.01,
        DType::Q6_K => 0.03,
        DType::Q5_0 | DType::Q5_1 | DType::Q5_K => 0.05,
        DType::Q4_0 | DType::Q4_1 | DType::Q4_K | DType::IQ4_NL | DType::IQ4_XS => 0.1,
        DType::Q3_K => 0.2,
        _ => 0.4,
    }
}

#[test]
fn quantised_weights_stay_close() {
    let n = 4096;
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let x: Vec<f32> = (0..n).map(|_| (0..6).map(|_| uniform()).sum::<f32>() * 0.03).collect();
    let norm: f64 = x.iter().map(|&v| f64::from(v).powi(2)).sum();
    for dtype in DType::ALL.into_iter().filter(|&t| t != DType::I32) {
        let mut packed = vec![0; dtype.row_bytes(n).expect("whole blocks")];
        let mut back = vec![0.0; n];
        quantize_row(dtype, &x, &mut packed);
        dequantize_row(dtype, &packed, &mut back);
        let error: f64 = x.iter().zip(&back).map(|(&a, &b)| f64::from(a - b).powi(2)).sum();
        let relative = (error / norm).sqrt();
        assert!(relative <= bound(dtype), "{dtype}: relative error {relative}");
    }
}

#[test]
fn zeros_and_huge_weights_survive() {
    for dtype in BLOCK_TYPES {
        let n = dtype.block_len();
        let mut packed = vec![0; dtype.block_bytes()];
        let mut back = vec![1.0; n];
        quantize_row(dtype, &vec![0.0; n], &mut packed);
        dequantize_row(dtype, &packed, &mut back);
        assert!(back.iter().all(|&v| v == 0.0), "{dtype}: zeros became {back:?}");
        quantize_row(dtype, &vec![1e30; n], &mut packed);
        dequantize_row(dtype, &packed, &mut back);
        assert!(back.iter().all(|v| v.is_finite() && *v > 0.0), "{dtype}: an overflowing scale");
    }
}

fn activation_row() -> impl Strategy<Value = Vec<f32>> {
    let element = prop_oneof![
        8 => -4.0f32..4.0,
        1 => Just(0.0f32),
        1 => -1e30f32..1e30,
        1 => prop::num::f32::ANY,
    ];
    let calm = prop::collection::vec(-4.0f32..4.0, 256);
    prop::collection::vec(prop_oneof![calm, prop::collection::vec(element, 256)], 1..4).prop_map(|v| v.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn activations_quantise_alike_at_every_level(x in activation_row()) {
        for dtype in [DType::Q8_K, DType::Q8_A] {
            let bytes = dtype.row_bytes(x.len()).expect("whole blocks");
            let mut expected = vec![0; bytes];
            quantize_activations(Isa::Scalar, dtype, &x, &mut expected);
            let mut back = vec![0.0; x.len()];
            dequantize_row(dtype, &expected, &mut back);
            for (x, back) in x.chunks(dtype.block_len()).zip(back.chunks(dtype.block_len())) {
                if x.iter().all(|v| v.is_finite()) {
                    let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    let step = largest / 127.0 * 0.51 + 1e-35;
                    prop_assert!(x.iter().zip(back).all(|(a, b)| (a - b).abs() <= step));
                } else {
                    prop_assert!(back.iter().all(|b| b.is_nan()));
                }
            }
            for &isa in Isa::available() {
                let mut got = vec![1; bytes];
                quantize_activations(isa, dtype, &x, &mut got);
                prop_assert!(got == expected, "{isa} {dtype}");
            }
        }
    }
}

#[test]
fn every_block_type_has_an_activation_of_its_length() {
    for dtype in BLOCK_TYPES {
        assert_eq!(activation_for(dtype).map(DType::block_len), Some(dtype.block_len()));
    }
    assert_eq!(activation_for(DType::F16), None);
}
