//! `attention` on the 80B model's heads: 16 query heads over 2 KV heads of 256, the cache in F16.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use deltascope_kernels::check::fill;
use deltascope_kernels::exec::{Bindings, Bound, run};
use deltascope_kernels::graph::{Graph, StorageKind};
use deltascope_kernels::ops::{self, Fill};
use deltascope_kernels::plan::{Chooser, Chosen, Plan};
use deltascope_kernels::pool::Pool;
use deltascope_kernels::{Backend, Buffer, DType, Instance, Layout, Op, Packing, Params};

const HEAD: usize = 256;
const HEADS: usize = 16;
const KV_HEADS: usize = 2;

/// Decodes over a cache of this many cells, in bytes a second.
const DECODE: [usize; 3] = [512, 4096, 16_384];

/// Tokens of a prompt and the depth that they start at, in operations a second.
const PREFILL: [(usize, usize); 2] = [(512, 0), (512, 4096)];

struct One(&'static str);

impl Chooser for One {
    fn choose(&self, name: &str, _inst: &Instance) -> Option<Chosen> {
        (name == "attention").then(|| Chosen { variant: Some(self.0.to_owned()), ..Chosen::default() })
    }
}

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

    fn state(&self, _id: u32) -> Option<(*mut u8, usize)> {
        None
    }
}

fn bench(c: &mut Criterion, name: &str, tokens: usize, depth: usize) {
    let cells = depth + tokens;
    let layouts = [
        Layout::f32([HEAD, HEADS, tokens, 1]),
        Layout::contiguous(DType::F16, [HEAD, cells, KV_HEADS, 1]),
        Layout::contiguous(DType::F16, [HEAD, cells, KV_HEADS, 1]),
        Layout::i32([tokens, 1, 1, 1]),
    ];
    let positions: Vec<i32> = (depth as i32..cells as i32).collect();
    let mut data: Vec<Buffer> = (0..3).map(|i| fill(&layouts[i], Fill::Normal(1.0), i as u64)).collect();
    data.push(Buffer::from_i32(&positions));
    let inputs = Inputs(data);
    let mut graph = Graph::default();
    let mut b = graph.builder();
    let values = [0, 1, 2, 3].map(|i| b.bind(StorageKind::Input(i as u32), layouts[i]));
    let out = b.bind(StorageKind::Output(0), layouts[0]);
    b.node_into("attention", Op::Attention, Params::Softmax { scale: 0.0625, causal: true }, &values, &[out]);
    let mut pool = Pool::new(std::thread::available_parallelism().map_or(1, usize::from));
    let mut group = c.benchmark_group(name);
    for v in ops::variants(Op::Attention) {
        let spec = v.spec();
        if spec.backend != Backend::Cpu || spec.name == "reference" {
            continue;
        }
        let plan = Plan::build(graph.clone(), &One(spec.name), pool.threads()).expect("the variant serves it");
        let cost = plan.nodes[0].cost;
        group.throughput(if tokens == 1 {
            Throughput::Bytes(cost.bytes as u64)
        } else {
            Throughput::Elements(cost.flops as u64)
        });
        // SAFETY: `inputs` outlives `bound`, and nobody else has its buffers.
        let mut bound = unsafe { Bound::new(&plan, &inputs, pool.threads()) }.expect("all inputs are bound");
        if tokens > 1 {
            group.sample_size(10);
        }
        group.bench_function(BenchmarkId::new(spec.name, depth), |b| {
            b.iter(|| run(&mut pool, &plan, &mut bound, 0..plan.steps.len(), None));
        });
    }
    group.finish();
}

fn attention(c: &mut Criterion) {
    for cells in DECODE {
        bench(c, "attention decode", 1, cells - 1);
    }
    for (tokens, depth) in PREFILL {
        bench(c, "attention prefill", tokens, depth);
    }
}

criterion_group!(benches, attention);
criterion_main!(benches);
