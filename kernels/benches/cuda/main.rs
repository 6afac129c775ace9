//! CUDA kernels on the 80B model's shapes: `cargo bench -p deltascope-kernels --bench cuda [-- FILTER]`, on a GPU.
//!
//! A shape is launched many times in one CUDA graph, over several sets of weights so that a level of cache does not hold
//! them; a figure is the time of a launch.

mod shapes;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use deltascope_kernels::check::fill;
use deltascope_kernels::cuda::{Bound, Device, DeviceBuffer, DeviceSlice, Places, Replay};
use deltascope_kernels::graph::{Graph, StorageKind};
use deltascope_kernels::ops::{self, Fill};
use deltascope_kernels::plan::{Chooser, Chosen, Plan};
use deltascope_kernels::{Backend, DType, Instance, Layout, Op};
use shapes::{Shape, attention, attention_block, delta, delta_net, down, mul_mat, norm_mul_mat, up_gate};
use std::cell::OnceCell;
use std::time::{Duration, Instant};

/// Tunables that are not at their defaults.
type Settings = Vec<(&'static str, i64)>;

/// A variant by name and its tunables, for the op that is timed; defaults for what stands around it.
struct Choice {
    op: Op,
    variant: &'static str,
    tunables: Settings,
}

impl Chooser for Choice {
    fn choose(&self, _name: &str, inst: &Instance) -> Option<Chosen> {
        (inst.op == self.op).then(|| Chosen {
            variant: Some(self.variant.to_owned()),
            revision: None,
            tunables: self.tunables.iter().map(|&(n, v)| (n.to_owned(), v)).collect(),
            origin: "benchmark".to_owned(),
        })
    }

    fn backend(&self) -> Backend {
        Backend::Cuda
    }
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

/// The graph of a shape's launches.
fn graph(shape: &Shape, layouts: &[Layout]) -> Graph {
    let n = layouts.len();
    let updates = ops::def(shape.op).updates();
    let mut graph = Graph::default();
    let mut b = graph.builder();
    // Activations are shared, so that they are quantised once a graph and not once a launch.
    let x: Vec<_> = (0..n).map(|i| b.bind(StorageKind::Input(i as u32), layouts[i])).collect();
    for copy in 0..shape.copies {
        let values: Vec<_> = (0..n)
            .map(|i| {
                let number = (copy % shape.sets * n + i) as u32;
                match layouts[i].dtype {
                    DType::F32 if i < 2 && !(i == 0 && shape.op == Op::MulMat) => x[i],
                    _ if updates.contains(&i) => b.bind(StorageKind::State(number), layouts[i]),
                    _ => b.bind(StorageKind::Weight(number), layouts[i]),
                }
            })
            .collect();
        b.node(&format!("n{copy}"), shape.op, shape.params, &values);
    }
    graph
}

/// Sets of a shape's inputs on the device.
fn upload(device: &Device, shape: &Shape) -> Numbered {
    let n = shape.inputs.len();
    let tensors = (0..shape.sets).flat_map(|set| shape.inputs.iter().enumerate().map(move |(i, t)| (set * n + i, t)));
    let upload = |(number, (layout, with)): (usize, &(Layout, Fill))| {
        DeviceBuffer::from_bytes(device, &bytes(layout, *with, number as u64)).expect("memory of the device")
    };
    Numbered(tensors.map(upload).collect())
}

/// Times of a launch of each choice. Those that do not serve the shape are said and left out.
fn time(c: &mut Criterion, device: &Device, shape: &Shape, choices: &[(&'static str, Settings)]) {
    let layouts: Vec<Layout> = shape.inputs.iter().map(|i| i.0).collect();
    let def = ops::def(shape.op);
    let outputs = def.infer(&shape.params, &layouts).expect("inputs that fit");
    let cost = def.cost(&Instance { op: shape.op, params: shape.params, inputs: layouts.clone(), outputs });
    // Made when the first choice is run: a filter may leave out all of them.
    let memory = OnceCell::new();
    let mut group = c.benchmark_group(format!("cuda {}", shape.name));
    group.throughput(Throughput::Bytes(cost.bytes as u64));
    for (variant, tunables) in choices {
        let chooser = Choice { op: shape.op, variant, tunables: tunables.clone() };
        let plan = Plan::build(graph(shape, &layouts), &chooser, 1).expect("a variant");
        // A choice that does not serve the shape leaves a default in its place.
        if let Some(node) = plan.nodes.iter().find(|n| n.op() == shape.op && n.variant.spec().name != *variant) {
            eprintln!("{} {variant} {tunables:?}: {}", shape.name, node.note.as_deref().unwrap_or("not chosen"));
            continue;
        }
        let mut ready = None;
        let settings: Vec<String> = tunables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        group.bench_function(BenchmarkId::new(*variant, settings.join(",")), |b| {
            let (_, replay) = ready.get_or_insert_with(|| {
                let memory = memory.get_or_init(|| upload(device, shape));
                // SAFETY: `memory` outlives the bound plan and its graph, and nobody writes it meanwhile.
                let mut bound = unsafe { Bound::new(device, &plan, memory) }.expect("kernels that compile");
                let replay = Replay::record(&mut bound, 0..plan.steps.len(), None).expect("a graph");
                (bound, replay)
            });
            b.iter_custom(|launches| {
                let graphs = launches.div_ceil(shape.copies as u64);
                device.synchronize().expect("an idle device");
                let start = Instant::now();
                for _ in 0..graphs {
                    // SAFETY: bound plan and memory are alive.
                    unsafe { replay.launch() }.expect("a launch");
                }
                device.synchronize().expect("launches that end well");
                start.elapsed().mul_f64(launches as f64 / (graphs * shape.copies as u64) as f64)
            });
        });
    }
    group.finish();
}

/// A variant with each of a tunable's values.
fn each(variant: &'static str, tunable: &'static str, values: &[i64]) -> Vec<(&'static str, Settings)> {
    values.iter().map(|&v| (variant, vec![(tunable, v)])).collect()
}

/// A variant with every pair of two tunables' values.
fn pairs(
    variant: &'static str,
    (one, ones): (&'static str, &[i64]),
    (two, twos): (&'static str, &[i64]),
) -> Vec<(&'static str, Settings)> {
    ones.iter().flat_map(|&a| twos.iter().map(move |&b| (variant, vec![(one, a), (two, b)]))).collect()
}

/// Variants at their defaults.
fn plain(variants: &[&'static str]) -> Vec<(&'static str, Settings)> {
    variants.iter().map(|&v| (v, Settings::new())).collect()
}

/// What lies between projections.
fn mixers(c: &mut Criterion, device: &Device) {
    time(c, device, &delta_net(), &[plain(&["fused", "lowered"]), each("fused", "columns", &[64, 128])].concat());
    let stretches = each("fused", "stretch", &[16, 32, 64, 128]);
    let all = [plain(&["tensor", "separate"]), stretches].concat();
    time(c, device, &attention_block("attention, first of 512 cells", 512, true), &all);
    for cells in [32, 512, 4096, 16_384] {
        time(c, device, &attention_block(format!("attention, {cells} cells"), cells, false), &all);
    }
    let tiles = [plain(&["split"]), each("flash_tensor", "warps", &[4, 8])].concat();
    for (t, cells) in [(512, 1024), (2048, 4096)] {
        time(c, device, &attention(format!("attention, {t} tokens at {cells} cells"), t, cells), &tiles);
    }
    time(c, device, &delta("gated_delta_net, a token", 1, 40), &plain(&["registers", "columns", "tokens"]));
    for t in [512, 2048] {
        let grid = pairs("columns", ("columns", &[1, 2, 4, 8]), ("warps", &[1, 2, 4]));
        let all = [plain(&["registers"]), each("tokens", "columns", &[2, 4]), grid].concat();
        time(c, device, &delta(format!("gated_delta_net, {t} tokens"), t, 2), &all);
    }
}

/// A token's products.
fn decode(c: &mut Criterion, device: &Device) {
    let stripes = |name| pairs(name, ("warps", &[4, 8, 16]), ("room", &[0, 28, 52, 64, 120]));
    let fused = [plain(&["fused", "separate"]), stripes("fused")].concat();
    let gemv = [plain(&["gemv", "staged", "dp4a"]), stripes("gemv")].concat();
    let q = DType::IQ4_XS;
    time(c, device, &norm_mul_mat("delta layer's input", &[(q, 8192), (q, 4096), (DType::F32, 64)], 40, 8), &fused);
    time(c, device, &norm_mul_mat("attention layer's input", &[(q, 8192), (q, 512), (q, 512)], 40, 8), &fused);
    time(c, device, &norm_mul_mat("head Q6_K 2048>151936", &[(DType::Q6_K, 151_936)], 4, 1), &fused);
    time(c, device, &mul_mat("out IQ4_XS 4096>2048", q, [4096, 2048, 1], 64, 16), &gemv);
    time(c, device, &mul_mat("qkv|z IQ4_XS 2048>12288", q, [2048, 12288, 1], 40, 8), &gemv);
    let experts = [plain(&["dp4a"]), pairs("staged", ("warps", &[2, 4, 8]), ("rows", &[1, 2, 4]))].concat();
    time(c, device, &up_gate("up_gate, a token", 1, 40, 8), &experts);
    time(c, device, &down("down, a token", 1, 40, 8), &experts);
}

/// A prompt's products.
fn prefill(c: &mut Criterion, device: &Device) {
    let tiles = each("tensor", "columns", &[64, 128]);
    let grouped = each("grouped", "columns", &[32, 64, 128]);
    for t in [512, 2048] {
        let q = DType::IQ4_XS;
        time(c, device, &mul_mat(format!("qkv|z IQ4_XS 2048>12288, {t}"), q, [2048, 12288, t], 4, 1), &tiles);
        time(c, device, &mul_mat(format!("out IQ4_XS 4096>2048, {t}"), q, [4096, 2048, t], 4, 1), &tiles);
        time(c, device, &up_gate(format!("up_gate, {t}"), t, 2, 1), &grouped);
        time(c, device, &down(format!("down, {t}"), t, 2, 1), &grouped);
    }
    let all = [plain(&["bf16x3", "tensor", "dp4a"]), each("bf16x3", "tile", &[1, 2, 3, 4])].concat();
    for t in [16, 64, 512, 2048] {
        for (name, rows) in [("router", 512), ("ba", 64), ("gate", 1)] {
            time(c, device, &mul_mat(format!("{name} F32 2048>{rows}, {t}"), DType::F32, [2048, rows, t], 16, 4), &all);
        }
    }
}

fn all(c: &mut Criterion) {
    let device = match Device::first() {
        Ok(device) => device,
        Err(e) => return eprintln!("skipped: {e}"),
    };
    mixers(c, device);
    decode(c, device);
    prefill(c, device);
}

fn briefly() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
}

criterion_group! {
    name = benches;
    config = briefly();
    targets = all
}
criterion_main!(benches);
