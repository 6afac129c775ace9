//! Times of the kernels on the shapes of the 80B model, on a GPU. Not a test of anything, so it runs only when asked for:
//! `cargo test --release -p deltascope-kernels --lib cuda::timing -- --ignored --nocapture`.
//!
//! A shape is launched many times in one CUDA graph, over several sets of weights so that a level of cache does not hold
//! them; the median over replays is printed, with what the op's cost makes of it.

use super::*;
use crate::check::fill;
use crate::graph::{Graph, StorageKind};
use crate::ops::{self, Fill};
use crate::plan::{Chooser, Chosen, Plan};
use crate::variant::{Backend, Instance};
use crate::{DType, Layout, Op, Params};
use std::time::Instant;

/// A variant by name and its tunables, for the op that is timed; defaults for what stands around it.
struct Choice {
    op: Op,
    variant: &'static str,
    tunables: Vec<(&'static str, i64)>,
}

impl Chooser for Choice {
    fn choose(&self, _name: &str, inst: &Instance) -> Option<Chosen> {
        (inst.op == self.op).then(|| Chosen {
            variant: Some(self.variant.to_owned()),
            revision: None,
            tunables: self.tunables.iter().map(|&(n, v)| (n.to_owned(), v)).collect(),
            origin: "timing".to_owned(),
        })
    }

    fn backend(&self) -> Backend {
        Backend::Cuda
    }
}

/// An op with its inputs.
struct Shape {
    name: &'static str,
    op: Op,
    params: Params,
    inputs: Vec<(Layout, Fill)>,
    /// Launches in a graph, and sets of inputs among them.
    copies: usize,
    sets: usize,
}

/// Memory by number.
struct Numbered(Vec<DeviceBuffer>);

impl Places for Numbered {
    fn place(&self, kind: StorageKind) -> Option<DeviceSlice> {
        match kind {
            StorageKind::Weight(n) | StorageKind::Input(n) | StorageKind::State(n) => {
                self.0.get(n as usize).map(DeviceBuffer::slice)
            }
            _ => None,
        }
    }
}

/// Bytes of a tensor: a first piece is filled and repeated, as quantising gigabytes takes minutes.
fn bytes(layout: &Layout, with: Fill, seed: u64) -> Vec<u8> {
    let rows = layout.rows().min(64);
    if !layout.dtype.is_quantised() || rows == layout.rows() {
        return fill(layout, with, seed).bytes().to_vec();
    }
    let piece = fill(&Layout::contiguous(layout.dtype, [layout.ne[0], rows, 1, 1]), with, seed);
    piece.bytes().iter().copied().cycle().take(layout.span()).collect()
}

/// Microseconds a launch of each choice, printed.
fn time(device: &Device, shape: &Shape, choices: &[(&'static str, &[(&'static str, i64)])]) {
    let n = shape.inputs.len();
    let mut memory = Vec::new();
    for set in 0..shape.sets {
        for (i, (layout, with)) in shape.inputs.iter().enumerate() {
            memory.push(DeviceBuffer::from_bytes(device, &bytes(layout, *with, (set * n + i) as u64)).unwrap());
        }
    }
    let memory = Numbered(memory);
    let layouts: Vec<Layout> = shape.inputs.iter().map(|i| i.0).collect();
    let def = ops::def(shape.op);
    let outputs = def.infer(&shape.params, &layouts).unwrap();
    let cost = def.cost(&Instance { op: shape.op, params: shape.params, inputs: layouts.clone(), outputs });
    for &(variant, tunables) in choices {
        let mut graph = Graph::default();
        let mut b = graph.builder();
        // Activations are shared, so that they are quantised once a graph and not once a launch.
        let x: Vec<_> = (0..n).map(|i| b.bind(StorageKind::Input(i as u32), layouts[i])).collect();
        for copy in 0..shape.copies {
            let values: Vec<_> = (0..n)
                .map(|i| match layouts[i].dtype {
                    DType::F32 if i < 2 && !(i == 0 && shape.op == Op::MulMat) => x[i],
                    _ if def.updates().contains(&i) => {
                        b.bind(StorageKind::State((copy % shape.sets * n + i) as u32), layouts[i])
                    }
                    _ => b.bind(StorageKind::Weight((copy % shape.sets * n + i) as u32), layouts[i]),
                })
                .collect();
            b.node(&format!("n{copy}"), shape.op, shape.params, &values);
        }
        let chooser = Choice { op: shape.op, variant, tunables: tunables.to_vec() };
        let plan = match Plan::build(graph, &chooser, 1) {
            Ok(plan) => plan,
            Err(e) => {
                println!("{} {variant} {tunables:?}: {e}", shape.name);
                continue;
            }
        };
        // SAFETY: `memory` outlives the bound plan and its graph, and nobody writes it meanwhile.
        let mut bound = match unsafe { Bound::new(device, &plan, &memory) } {
            Ok(bound) => bound,
            Err(e) => {
                println!("{} {variant} {tunables:?}: {e}", shape.name);
                continue;
            }
        };
        let replay = Replay::record(&mut bound, 0..plan.steps.len(), None).unwrap();
        let mut micros: Vec<f64> = (0..9)
            .map(|_| {
                device.synchronize().unwrap();
                let start = Instant::now();
                // SAFETY: plan and memory are alive.
                unsafe { replay.launch() }.unwrap();
                device.synchronize().unwrap();
                start.elapsed().as_secs_f64() * 1e6 / shape.copies as f64
            })
            .collect();
        micros.sort_by(f64::total_cmp);
        let t = micros[micros.len() / 2];
        let (gb, tf) = (cost.bytes / t * 1e-3, cost.flops / t * 1e-6);
        println!("{:28} {variant:12} {tunables:?}: {t:9.2} us {gb:8.1} GB/s {tf:7.2} Tflop/s", shape.name);
    }
}

fn mul_mat(name: &'static str, dtype: DType, [k, n, t]: [usize; 3], copies: usize, sets: usize) -> Shape {
    let w = (Layout::contiguous(dtype, [k, n, 1, 1]), Fill::Normal(0.02));
    let inputs = vec![w, (Layout::f32([k, t, 1, 1]), Fill::Normal(1.0))];
    Shape { name, op: Op::MulMat, params: Params::None, inputs, copies, sets }
}

/// What reads the trunk, for a token.
fn norm_mul_mat(name: &'static str, weights: &[(DType, usize)], copies: usize, sets: usize) -> Shape {
    let row = (Layout::f32([2048, 1, 1, 1]), Fill::Normal(1.0));
    let mut inputs = vec![row, row];
    inputs.extend(weights.iter().map(|&(t, rows)| (Layout::contiguous(t, [2048, rows, 1, 1]), Fill::Normal(0.02))));
    inputs.push(row);
    let params = Params::NormMulMat { eps: 1e-6, residual: true };
    Shape { name, op: Op::NormMulMat, params, inputs, copies, sets }
}

const EXPERTS: usize = 512;
const USED: usize = 10;

fn ids(t: usize) -> (Layout, Fill) {
    (Layout::i32([USED, t, 1, 1]), Fill::DistinctIds(EXPERTS as i32))
}

fn up_gate(name: &'static str, t: usize, copies: usize, sets: usize) -> Shape {
    let w = (Layout::contiguous(DType::IQ4_XS, [2048, 512, EXPERTS, 1]), Fill::Normal(0.02));
    let inputs = vec![(Layout::f32([2048, t, 1, 1]), Fill::Normal(1.0)), ids(t), w, w];
    Shape { name, op: Op::MoeUpGate, params: Params::None, inputs, copies, sets }
}

fn down(name: &'static str, t: usize, copies: usize, sets: usize) -> Shape {
    let w = (Layout::contiguous(DType::IQ4_XS, [512, 2048, EXPERTS, 1]), Fill::Normal(0.02));
    let h = (Layout::f32([512, USED, t, 1]), Fill::Normal(1.0));
    let inputs = vec![h, ids(t), (Layout::f32([USED, t, 1, 1]), Fill::Uniform(0.05, 0.2)), w];
    Shape { name, op: Op::MoeDown, params: Params::None, inputs, copies, sets }
}

fn delta(name: &'static str, t: usize, copies: usize) -> Shape {
    let (d, hk, hv) = (128, 16, 32);
    let unit = Fill::Normal(0.09);
    let f = Layout::f32;
    let inputs = vec![
        (f([d, hk, t, 1]), unit),
        (f([d, hk, t, 1]), unit),
        (f([d, hv, t, 1]), Fill::Normal(1.0)),
        (f([hv, t, 1, 1]), Fill::Uniform(-1.0, 0.0)),
        (f([hv, t, 1, 1]), Fill::Uniform(0.0, 1.0)),
        (f([d, d, hv, 1]), Fill::Normal(1.0)),
    ];
    Shape { name, op: Op::GatedDeltaNet, params: Params::DeltaNet { scale: 0.088 }, inputs, copies, sets: 2 }
}

/// A delta-net layer between its projections, for a token; states of more layers than the last level of cache holds.
fn delta_net() -> Shape {
    let (d, hk, hv, f) = (128, 16, 32, Layout::f32);
    let channels = 2 * hk * d + hv * d;
    let inputs = vec![
        (f([channels, 1, 1, 1]), Fill::Normal(1.0)),
        (f([hv * d, 1, 1, 1]), Fill::Normal(1.0)),
        (f([2 * hv, 1, 1, 1]), Fill::Normal(1.0)),
        (f([channels, 3, 1, 1]), Fill::Normal(1.0)),
        (f([d, d, hv, 1]), Fill::Normal(1.0)),
        (f([4, channels, 1, 1]), Fill::Normal(1.0)),
        (f([hv, 1, 1, 1]), Fill::Normal(1.0)),
        (f([hv, 1, 1, 1]), Fill::Uniform(-4.0, 0.0)),
        (f([d, 1, 1, 1]), Fill::Normal(1.0)),
    ];
    let params = Params::DeltaBlock { n_k_heads: hk, head_dim: d, eps: 1e-6 };
    Shape { name: "delta_net", op: Op::DeltaNet, params, inputs, copies: 72, sets: 36 }
}

/// An attention layer between its projections, for a token that sees all of `n_kv` cells, or only its own.
fn attention_block(name: &'static str, n_kv: usize, first: bool) -> Shape {
    let (d, h, kv, f) = (256, 16, 2, Layout::f32);
    let cache = (Layout::contiguous(DType::F16, [d, n_kv, kv, 1]), Fill::Normal(1.0));
    let row = |heads| (f([d, heads, 1, 1]), Fill::Normal(1.0));
    let pos = (Layout::i32([1, 1, 1, 1]), Fill::Positions(if first { 1 } else { i32::MAX }));
    let inputs = vec![row(h), row(h), row(kv), row(kv), pos, cache, cache, row(1), row(1)];
    let params = Params::AttentionBlock { n_rot: 64, base: 1e7, eps: 1e-6, scale: 0.0625, n_kv };
    Shape { name, op: Op::AttentionBlock, params, inputs, copies: 48, sets: 12 }
}

/// Attention of a prompt's tokens that all see `n_kv` cells.
fn attention(name: &'static str, t: usize, n_kv: usize) -> Shape {
    let cache = (Layout::contiguous(DType::F16, [256, n_kv, 2, 1]), Fill::Normal(1.0));
    let pos = (Layout::i32([t, 1, 1, 1]), Fill::Positions(i32::MAX));
    let inputs = vec![(Layout::f32([256, 16, t, 1]), Fill::Normal(1.0)), cache, cache, pos];
    let params = Params::Softmax { scale: 0.0625, causal: true };
    Shape { name, op: Op::Attention, params, inputs, copies: 4, sets: 2 }
}

#[test]
#[ignore = "takes a GPU"]
fn mixers_of_the_80b_model() {
    let device = match Device::first() {
        Ok(d) => d,
        Err(e) => return println!("no GPU: skipped ({e})"),
    };
    println!("{:?}", device.info());
    let columns: &[(&str, &[(&str, i64)])] =
        &[("fused", &[]), ("fused", &[("columns", 64)]), ("fused", &[("columns", 128)]), ("lowered", &[])];
    time(device, &delta_net(), columns);
    let all: &[(&str, &[(&str, i64)])] = &[
        ("fused", &[("stretch", 16)]),
        ("fused", &[("stretch", 32)]),
        ("fused", &[("stretch", 64)]),
        ("fused", &[("stretch", 128)]),
        ("separate", &[]),
    ];
    time(device, &attention_block("attention, first of 512", 512, true), all);
    time(device, &attention_block("attention, 32 cells", 32, false), all);
    time(device, &attention_block("attention, 512 cells", 512, false), all);
    time(device, &attention_block("attention, 4096 cells", 4096, false), all);
    time(device, &attention_block("attention, 16384 cells", 16384, false), all);
    let tiles: &[(&str, &[(&str, i64)])] =
        &[("flash_tensor", &[("warps", 8)]), ("flash_tensor", &[("warps", 4)]), ("split", &[])];
    time(device, &attention("prompt, 512 at 1024 cells", 512, 1024), tiles);
    time(device, &attention("prompt, 2048 at 4096 cells", 2048, 4096), tiles);
    let rule: &[(&str, &[(&str, i64)])] =
        &[("columns", &[]), ("tokens", &[("columns", 2)]), ("tokens", &[("columns", 4)])];
    for (t, name) in [(512, "delta rule, T=512"), (2048, "delta rule, T=2048")] {
        time(device, &delta(name, t, 2), rule);
    }
}

/// The router, and the smaller weights that are not quantised.
#[test]
#[ignore = "takes a GPU"]
fn f32_products_of_the_80b_model() {
    let device = match Device::first() {
        Ok(d) => d,
        Err(e) => return println!("no GPU: skipped ({e})"),
    };
    println!("{:?}", device.info());
    let all: &[(&str, &[(&str, i64)])] = &[
        ("bf16x3", &[]),
        ("bf16x3", &[("tile", 1)]),
        ("bf16x3", &[("tile", 2)]),
        ("bf16x3", &[("tile", 3)]),
        ("bf16x3", &[("tile", 4)]),
        ("tensor", &[]),
        ("dp4a", &[]),
    ];
    for t in [16, 32, 64, 128, 512, 1024, 2048] {
        println!("-- T={t}");
        time(device, &mul_mat("router F32 2048>512", DType::F32, [2048, 512, t], 16, 4), all);
        time(device, &mul_mat("ba F32 2048>64", DType::F32, [2048, 64, t], 16, 4), all);
        time(device, &mul_mat("gate F32 2048>1", DType::F32, [2048, 1, t], 16, 4), all);
    }
}

#[test]
#[ignore = "takes a minute and a GPU"]
fn projections_of_the_80b_model() {
    let device = match Device::first() {
        Ok(d) => d,
        Err(e) => return println!("no GPU: skipped ({e})"),
    };
    println!("{:?}", device.info());
    let mut settings = Vec::new();
    for warps in [4, 8, 16] {
        for rows in [1, 2, 4] {
            settings.extend([132, 264, 528].map(|blocks| [("warps", warps), ("rows", rows), ("blocks", blocks)]));
        }
    }
    let all = |name| settings.iter().map(|s| (name, s.as_slice())).collect::<Vec<_>>();
    let (mut fused, mut gemv) = (all("fused"), all("gemv"));
    fused.push(("separate", &[]));
    gemv.extend([("staged", &[][..]), ("dp4a", &[])]);
    let delta = [(DType::IQ4_XS, 8192), (DType::IQ4_XS, 4096), (DType::F32, 64)];
    time(device, &norm_mul_mat("delta layer's input", &delta, 40, 8), &fused);
    let attention = [(DType::IQ4_XS, 8192), (DType::IQ4_XS, 512), (DType::IQ4_XS, 512)];
    time(device, &norm_mul_mat("attention layer's input", &attention, 40, 8), &fused);
    time(device, &norm_mul_mat("head Q6_K 2048>151936", &[(DType::Q6_K, 151_936)], 4, 1), &fused);
    time(device, &mul_mat("out IQ4_XS 4096>2048", DType::IQ4_XS, [4096, 2048, 1], 64, 16), &gemv);
    time(device, &mul_mat("qkv|z IQ4_XS 2048>12288", DType::IQ4_XS, [2048, 12288, 1], 40, 8), &gemv);
}

#[test]
#[ignore = "takes minutes and a GPU"]
fn shapes_of_the_80b_model() {
    let device = match Device::first() {
        Ok(d) => d,
        Err(e) => return println!("no GPU: skipped ({e})"),
    };
    println!("{:?}", device.info());
    let tiles: &[(&str, &[(&str, i64)])] = &[("tensor", &[("columns", 128)]), ("tensor", &[("columns", 64)])];
    for (t, name) in [(512, "T=512"), (2048, "T=2048")] {
        println!("-- prefill, {name}");
        time(device, &mul_mat("qkv|z IQ4_XS 2048>12288", DType::IQ4_XS, [2048, 12288, t], 4, 1), tiles);
        time(device, &mul_mat("out IQ4_XS 4096>2048", DType::IQ4_XS, [4096, 2048, t], 4, 1), tiles);
        let grouped: &[(&str, &[(&str, i64)])] =
            &[("grouped", &[("columns", 32)]), ("grouped", &[("columns", 64)]), ("grouped", &[("columns", 128)])];
        time(device, &up_gate("up_gate", t, 2, 1), grouped);
        time(device, &down("down", t, 2, 1), grouped);
        let columns: Vec<Vec<(&str, i64)>> =
            [1, 2, 4, 8].iter().flat_map(|&c| [1, 2, 4].map(|w| vec![("columns", c), ("warps", w)])).collect();
        let mut all: Vec<(&str, &[(&str, i64)])> = columns.iter().map(|c| ("columns", c.as_slice())).collect();
        all.extend([("registers", &[][..]), ("tokens", &[("columns", 2)]), ("tokens", &[("columns", 4)])]);
        time(device, &delta("gated_delta_net", t, 2), &all);
    }
    println!("-- prefill as decode's kernels do it, T=512");
    time(device, &mul_mat("qkv|z IQ4_XS 2048>12288", DType::IQ4_XS, [2048, 12288, 512], 1, 1), &[("dp4a", &[])]);
    time(device, &up_gate("up_gate", 512, 1, 1), &[("dp4a", &[])]);
    time(device, &down("down", 512, 1, 1), &[("dp4a", &[])]);
    println!("-- decode");
    let plain: &[(&str, &[(&str, i64)])] = &[("dp4a", &[])];
    let settings: Vec<[(&str, i64); 2]> =
        [2, 4, 8].iter().flat_map(|&w| [1, 2, 4].map(|r| [("warps", w), ("rows", r)])).collect();
    let mut staged: Vec<(&str, &[(&str, i64)])> = settings.iter().map(|t| ("staged", t.as_slice())).collect();
    staged.extend(plain);
    time(device, &mul_mat("qkv|z IQ4_XS 2048>12288", DType::IQ4_XS, [2048, 12288, 1], 40, 8), &staged);
    time(device, &mul_mat("out IQ4_XS 4096>2048", DType::IQ4_XS, [4096, 2048, 1], 64, 16), &staged);
    time(device, &mul_mat("head Q6_K 2048>151936", DType::Q6_K, [2048, 151_936, 1], 4, 1), &staged);
    time(device, &mul_mat("ba F32 2048>64", DType::F32, [2048, 64, 1], 64, 8), plain);
    time(device, &mul_mat("router F32 2048>512", DType::F32, [2048, 512, 1], 64, 16), plain);
    time(device, &up_gate("up_gate", 1, 40, 8), &staged);
    time(device, &down("down", 1, 40, 8), &staged);
    time(
        device,
        &delta("gated_delta_net", 1, 40),
        &[("registers", &[]), ("columns", &[]), ("columns", &[("columns", 8)])],
    );
}
