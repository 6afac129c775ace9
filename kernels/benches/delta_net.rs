//! `gated_delta_net` at the shape of the 80B model, every variant: decode (with GB/s of what must be moved at least)
//! and a prompt (with tokens a second).
//!
//! `cargo bench -p deltascope-kernels --bench delta_net -- decode`

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use deltascope_kernels::check::fill;
use deltascope_kernels::exec::{Bindings, Bound, run};
use deltascope_kernels::graph::{Graph, StorageKind};
use deltascope_kernels::ops::{self, Fill};
use deltascope_kernels::plan::{Chooser, Chosen, Plan};
use deltascope_kernels::pool::Pool;

use deltascope_kernels::{Backend, Buffer, Cost, Instance, Layout, Op, Packing, Params};
use std::time::Duration;

const HEAD: usize = 128;
const KEY_HEADS: usize = 16;
const VALUE_HEADS: usize = 32;

/// One variant for the node itself, defaults for its parts.
struct Only(&'static str);

impl Chooser for Only {
    fn choose(&self, name: &str, _inst: &Instance) -> Option<Chosen> {
        (name == NODE).then(|| Chosen {
            variant: Some(self.0.to_owned()),
            origin: "bench".to_owned(),
            ..Chosen::default()
        })
    }
}

const NODE: &str = "delta";

/// The op's inputs; the last is the state.
struct Inputs(Vec<Buffer>);

impl Bindings for Inputs {
    fn weight(&self, _id: u32) -> Option<(*const u8, usize)> {
        None
    }

    fn packed(&self, _id: u32, _packing: Packing) -> Option<(*const u8, usize)> {
        None
    }

    fn input(&self, id: u32) -> Option<(*mut u8, usize)> {
        self.0.get(id as usize).map(|b| (b.as_ptr(), b.len()))
    }

    fn state(&self, id: u32) -> Option<(*mut u8, usize)> {
        self.input(id)
    }
}

/// The op over views of a convolution's output, as the model has it. `None` if the variant declines.
fn plan(variant: &'static str, tokens: usize, threads: usize) -> Option<(Plan, Inputs, Cost)> {
    let channels = (2 * KEY_HEADS + VALUE_HEADS) * HEAD;
    let unit = Fill::Normal(1.0 / (HEAD as f32).sqrt());
    let inputs = [
        (Layout::f32([channels, tokens, 1, 1]), unit),
        (Layout::f32([VALUE_HEADS, tokens, 1, 1]), Fill::Uniform(-1.0, 0.0)),
        (Layout::f32([VALUE_HEADS, tokens, 1, 1]), Fill::Uniform(0.0, 1.0)),
        (Layout::f32([HEAD, HEAD, VALUE_HEADS, 1]), Fill::Normal(1.0)),
    ];
    let mut graph = Graph::default();
    let mut b = graph.builder();
    let [qkv, g, beta] = [0, 1, 2].map(|i| b.bind(StorageKind::Input(i as u32), inputs[i].0));
    let state = b.bind(StorageKind::State(3), inputs[3].0);
    let mut heads = |from: usize, n: usize| {
        let part = b.slice(qkv, 0, from * HEAD, n * HEAD);
        b.split(part, 0, HEAD)
    };
    let (q, k, v) = (heads(0, KEY_HEADS), heads(KEY_HEADS, KEY_HEADS), heads(2 * KEY_HEADS, VALUE_HEADS));
    let out = b.bind(StorageKind::Output(0), Layout::f32([HEAD, VALUE_HEADS, tokens, 1]));
    let params = Params::DeltaNet { scale: 1.0 / (HEAD as f32).sqrt() };
    b.node_into(NODE, Op::GatedDeltaNet, params, &[q, k, v, g, beta, state], &[out]);
    let plan = Plan::build(graph, &Only(variant), threads).ok()?;
    if plan.nodes[0].variant.spec().name != variant {
        return None;
    }
    let buffers = inputs.iter().zip(1..).map(|((l, f), seed)| fill(l, *f, seed)).collect();
    let cost = plan.nodes[0].cost;
    Some((plan, Inputs(buffers), cost))
}

fn delta_rule(c: &mut Criterion) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut pool = Pool::new(threads);
    for tokens in [1, 2, 4, 16, 64, 512] {
        let name = if tokens == 1 { "decode".to_owned() } else { format!("prompt of {tokens}") };
        let mut group = c.benchmark_group(name);
        group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500)).sample_size(10);
        for v in ops::variants(Op::GatedDeltaNet).iter().map(|v| v.spec()).filter(|s| s.backend == Backend::Cpu) {
            // A prompt through scalar F64 or through nodes token by token takes longer than it tells.
            if tokens > 1 && matches!(v.name, "reference" | "lowered_recurrent") {
                continue;
            }
            let Some((plan, inputs, cost)) = plan(v.name, tokens, threads) else { continue };
            // SAFETY: the inputs outlive `bound`, and nobody else has them.
            let mut bound = unsafe { Bound::new(&plan, &inputs, threads) }.expect("every input is bound");
            group.throughput(match tokens {
                1 => Throughput::Bytes(cost.bytes as u64),
                _ => Throughput::Elements(tokens as u64),
            });
            group.bench_function(BenchmarkId::from_parameter(v.name), |b| {
                b.iter(|| run(&mut pool, &plan, &mut bound, 0..plan.steps.len(), None));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, delta_rule);
criterion_main!(benches);
