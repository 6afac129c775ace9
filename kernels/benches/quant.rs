//! Speed of the quantised products on one core: bytes of weights per second for decode, products for prefill.
//!
//! `cargo bench -p deltascope-kernels --bench quant -- rows8/Q4_K` runs a part.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deltascope_kernels::DType;
use deltascope_kernels::cpu::Isa;
use deltascope_kernels::quant::{
    BLOCK_TYPES, Columns, PanelBuffer, Rows, TILE_ROWS, Tile, activation_for, dot_f, dot_q, gemm_tile, gemv_rows8,
    pack_rows8, quantize_activations, quantize_row,
};

const N: usize = 2048;
/// 64 MiB at most for any type: well past the last-level cache share of a core.
const ROWS: usize = 16384;

fn values(n: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

/// `ROWS` rows: 64 that differ, over and over.
fn weights(dtype: DType) -> Vec<u8> {
    let row = dtype.row_bytes(N).expect("whole blocks");
    let mut some = vec![0; 64 * row];
    for (x, w) in values(64 * N).chunks_exact(N).zip(some.chunks_exact_mut(row)) {
        quantize_row(dtype, x, w);
    }
    some.repeat(ROWS / 64)
}

fn column(dtype: DType) -> Vec<u8> {
    let activation = activation_for(dtype).expect("a block type");
    let mut x = vec![0; activation.row_bytes(N).expect("whole blocks")];
    quantize_activations(Isa::detect(), activation, &values(N), &mut x);
    x
}

fn decode(c: &mut Criterion) {
    let isa = Isa::detect();
    let mut group = c.benchmark_group("row");
    for dtype in BLOCK_TYPES {
        let (w, x) = (weights(dtype), column(dtype));
        group.throughput(Throughput::Bytes(w.len() as u64));
        group.bench_function(dtype.name(), |b| {
            b.iter(|| w.chunks_exact(w.len() / ROWS).map(|row| dot_q(isa, dtype, row, &x, N)).sum::<f32>());
        });
    }
    let x = values(N);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let w = weights(dtype);
        group.throughput(Throughput::Bytes(w.len() as u64));
        group.bench_function(dtype.name(), |b| {
            b.iter(|| w.chunks_exact(w.len() / ROWS).map(|row| dot_f(isa, dtype, row, &x)).sum::<f32>());
        });
    }
    group.finish();

    for (name, rows) in [("rows8", ROWS), ("rows8-in-cache", 64)] {
        let mut group = c.benchmark_group(name);
        for dtype in BLOCK_TYPES {
            let (w, x) = (weights(dtype), column(dtype));
            let octet = 8 * w.len() / ROWS;
            let w = &w[..rows / 8 * octet];
            let mut packed = vec![0; w.len()];
            for (rows, packed) in w.chunks_exact(octet).zip(packed.chunks_exact_mut(octet)) {
                pack_rows8(dtype, rows, N, packed);
            }
            group.throughput(Throughput::Bytes(w.len() as u64));
            group.bench_function(dtype.name(), |b| {
                b.iter(|| {
                    let mut out = [[0.0; 8]];
                    for octet in packed.chunks_exact(octet) {
                        gemv_rows8(isa, dtype, octet, [&x], N, &mut out);
                        black_box(&mut out);
                    }
                });
            });
        }
        group.finish();
    }
}

/// Products per second on one tile at each level, unpacking included: for many columns, and for as many as an expert of the
/// 80B meets in a prompt.
fn prefill(c: &mut Criterion) {
    for &isa in Isa::available().iter().filter(|isa| isa.avx2().is_some()) {
        for columns in [512, 64, 16, 10, 6] {
            let mut group = c.benchmark_group(format!("gemm/{isa}/{columns}"));
            group.throughput(Throughput::Elements((TILE_ROWS * columns * N) as u64));
            for dtype in BLOCK_TYPES {
                let (w, x) = (weights(dtype), column(dtype).repeat(columns));
                let rows = &w[..TILE_ROWS * w.len() / ROWS];
                let mut packed = vec![0; rows.len()];
                for (from, to) in rows.chunks_exact(rows.len() / 2).zip(packed.chunks_exact_mut(rows.len() / 2)) {
                    pack_rows8(dtype, from, N, to);
                }
                let mut tile = Tile::new(isa);
                let mut buffer = PanelBuffer::new(isa);
                let panel = buffer.pack(dtype, Columns::all(&x, x.len() / columns), 0..columns, N);
                group.bench_function(dtype.name(), |b| {
                    b.iter(|| {
                        gemm_tile(&mut tile, Rows::Packed(&packed), panel, &[], |_, y| {
                            black_box(y);
                        });
                    });
                });
            }
            group.finish();
        }
    }
}

fn activations(c: &mut Criterion) {
    let x = values(N);
    let mut group = c.benchmark_group("activations");
    group.throughput(Throughput::Bytes(4 * N as u64));
    for dtype in [DType::Q8_K, DType::Q8_A] {
        let mut out = vec![0; dtype.row_bytes(N).expect("whole blocks")];
        group.bench_function(dtype.name(), |b| {
            b.iter(|| quantize_activations(Isa::detect(), dtype, black_box(&x), &mut out));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(10)
        .without_plots();
    targets = decode, prefill, activations
}
criterion_main!(benches);
