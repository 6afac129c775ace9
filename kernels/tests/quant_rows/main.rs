//! Products with quantised rows: every instruction set gives the scalar bits, and those lie near the exact product.

mod blocks;

use blocks::{activations, exact, weight_rows};
use deltascope_kernels::DType;
use deltascope_kernels::cpu::Isa;
use deltascope_kernels::quant::{
    BLOCK_TYPES, Columns, PanelBuffer, Rows, Tile, activation_for, dot_f, dot_q, dot_rows, gemm_tile, gemv_rows8,
    pack_rows8, quantize_row, unpack_rows8,
};
use proptest::prelude::*;

fn block_type() -> impl Strategy<Value = DType> {
    prop::sample::select(BLOCK_TYPES.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn dot_gives_the_same_bits_at_every_level(dtype in block_type(), blocks in 1usize..6, seed: u64) {
        let n = blocks * dtype.block_len();
        let w = weight_rows(dtype, 1, n, seed);
        let (xs, _) = activations(dtype, 1, n, seed ^ 1);
        let scalar = dot_q(Isa::Scalar, dtype, &w, &xs, n);
        let (truth, magnitude) = exact(dtype, &w, &xs, n);
        let bound = (blocks + 2) as f64 * 2f64.powi(-22) * magnitude;
        prop_assert!((f64::from(scalar) - truth).abs() <= bound, "{dtype}: {scalar} is not near {truth}");
        for &isa in Isa::available() {
            let got = dot_q(isa, dtype, &w, &xs, n);
            prop_assert_eq!(got.to_bits(), scalar.to_bits(), "{} {}: {} and {}", isa, dtype, got, scalar);
        }
    }

    #[test]
    fn columns_together_give_the_bits_of_each_alone(dtype in block_type(), blocks in 1usize..4, seed: u64) {
        let n = blocks * dtype.block_len();
        let w = weight_rows(dtype, 1, n, seed);
        let (xs, stride) = activations(dtype, 8, n, seed ^ 1);
        let columns: [&[u8]; 8] = std::array::from_fn(|c| &xs[c * stride..(c + 1) * stride]);
        for &isa in Isa::available() {
            let mut out = [0.0; 8];
            dot_rows(isa, dtype, &w, columns, n, &mut out);
            for (y, x) in out.iter().zip(columns) {
                prop_assert_eq!(y.to_bits(), dot_q(isa, dtype, &w, x, n).to_bits());
            }
        }
    }

    #[test]
    fn float_rows_give_the_same_bits(n in 0usize..200, seed: u64) {
        let mut random = blocks::Random(seed);
        let x: Vec<f32> = (0..n).map(|_| random.normal()).collect();
        let weights: Vec<f32> = (0..n).map(|_| random.normal()).collect();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let mut w = vec![0; n * dtype.block_bytes()];
            quantize_row(dtype, &weights, &mut w);
            let scalar = dot_f(Isa::Scalar, dtype, &w, &x);
            let rounded = blocks::widen(dtype, &w, n);
            let truth: f64 = rounded.iter().zip(&x).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            let magnitude: f64 = rounded.iter().zip(&x).map(|(&a, &b)| (f64::from(a) * f64::from(b)).abs()).sum();
            prop_assert!((f64::from(scalar) - truth).abs() <= 16.0 * 2f64.powi(-23) * magnitude);
            for &isa in Isa::available() {
                prop_assert_eq!(dot_f(isa, dtype, &w, &x).to_bits(), scalar.to_bits(), "{} {}", isa, dtype);
            }
        }
    }
}

#[test]
fn extreme_codes_do_not_saturate() {
    for dtype in BLOCK_TYPES {
        let n = 256;
        for fill in [0x00, 0xff, 0x80, 0x7f, 0xf0, 0x0f] {
            let mut w = vec![fill; dtype.row_bytes(n).expect("whole blocks")];
            blocks::set_scales(dtype, &mut w, || 0.01);
            for sign in [1.0, -1.0] {
                let mut x = vec![0; activation_for(dtype).and_then(|t| t.row_bytes(n)).expect("whole blocks")];
                quantize_row(activation_for(dtype).expect("a block type"), &vec![sign; n], &mut x);
                let scalar = dot_q(Isa::Scalar, dtype, &w, &x, n);
                let (truth, magnitude) = exact(dtype, &w, &x, n);
                assert!((f64::from(scalar) - truth).abs() <= 1e-5 * magnitude, "{dtype} {fill:#x}");
                for &isa in Isa::available() {
                    let got = dot_q(isa, dtype, &w, &x, n);
                    assert_eq!(got.to_bits(), scalar.to_bits(), "{isa} {dtype} {fill:#x}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn packed_rows_give_the_bits_of_the_rows(dtype in block_type(), blocks in 1usize..5, seed: u64) {
        let n = blocks * dtype.block_len();
        let w = weight_rows(dtype, 8, n, seed);
        let mut packed = vec![0; w.len()];
        pack_rows8(dtype, &w, n, &mut packed);
        let mut back = vec![0; w.len()];
        unpack_rows8(dtype, &packed, n, &mut back);
        prop_assert_eq!(&back, &w);

        let (xs, stride) = activations(dtype, 3, n, seed ^ 1);
        let columns: [&[u8]; 3] = std::array::from_fn(|c| &xs[c * stride..(c + 1) * stride]);
        for &isa in Isa::available() {
            let mut together = [[0.0; 8]; 3];
            gemv_rows8(isa, dtype, &packed, columns, n, &mut together);
            for (c, x) in columns.into_iter().enumerate() {
                let mut alone = [[0.0; 8]];
                gemv_rows8(isa, dtype, &packed, [x], n, &mut alone);
                for (r, row) in w.chunks_exact(w.len() / 8).enumerate() {
                    let expected = dot_q(Isa::Scalar, dtype, row, x, n);
                    prop_assert_eq!(alone[0][r].to_bits(), expected.to_bits(), "{} {} row {}", isa, dtype, r);
                    prop_assert_eq!(together[c][r].to_bits(), expected.to_bits(), "{} {} row {}", isa, dtype, r);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn tiles_give_the_bits_of_the_rows(
        dtype in block_type(),
        blocks in 1usize..20,
        rows in 1usize..=16,
        count in 1usize..40,
        seed: u64,
    ) {
        let n = blocks * dtype.block_len();
        let w = weight_rows(dtype, rows, n, seed);
        let stride = w.len() / rows;
        let (xs, column) = activations(dtype, 9, n, seed ^ 1);
        let index: Vec<u32> = (0..count as u32).map(|i| i * 5 % 9).collect();
        let columns = Columns::gathered(&xs, column, &index);
        for &isa in Isa::available() {
            let mut tile = Tile::new(isa);
            // A larger tile first: what it leaves behind must not show.
            let mut buffer = PanelBuffer::new(isa);
            let panel = buffer.pack(dtype, columns, 1..count, n);
            gemm_tile(&mut tile, Rows::Plain(&weight_rows(dtype, 16, n, !seed)), panel, &[], |_, _| {});
            let mut seen = Vec::new();
            let mut wrong = None;
            gemm_tile(&mut tile, Rows::Plain(&w), panel, &w, |i, products| {
                seen.push(i);
                let x = &xs[index[i] as usize * column..][..column];
                let expected: Vec<f32> = w.chunks_exact(stride).map(|row| dot_q(Isa::Scalar, dtype, row, x, n)).collect();
                if products.iter().map(|y| y.to_bits()).ne(expected.iter().map(|y| y.to_bits())) {
                    wrong = Some(format!("{isa} {dtype} column {i}: {products:?}, not {expected:?}"));
                }
            });
            prop_assert_eq!(wrong, None);
            prop_assert_eq!(seen, (1..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn tiles_from_packed_rows_are_the_same(dtype in block_type(), octets in 1usize..=2, seed: u64) {
        let n = 2 * dtype.block_len();
        let w = weight_rows(dtype, 8 * octets, n, seed);
        let mut packed = vec![0; w.len()];
        for (rows, packed) in w.chunks_exact(w.len() / octets).zip(packed.chunks_exact_mut(w.len() / octets)) {
            pack_rows8(dtype, rows, n, packed);
        }
        let (xs, column) = activations(dtype, 5, n, seed ^ 1);
        for &isa in Isa::available() {
            let mut buffer = PanelBuffer::new(isa);
            let panel = buffer.pack(dtype, Columns::all(&xs, column), 0..5, n);
            let products = |rows: Rows<'_>| {
                let mut out = Vec::new();
                gemm_tile(&mut Tile::new(isa), rows, panel, &[], |_, y| out.extend(y.iter().map(|y| y.to_bits())));
                out
            };
            prop_assert_eq!(products(Rows::Plain(&w)), products(Rows::Packed(&packed)), "{} {}", isa, dtype);
        }
    }
}
