//! Speed of `mul_mat` and the expert ops at the shapes of the 80B model: bytes of weights a second for one token,
//! multiply-adds a second for 512.
//!
//! `cargo bench -p deltascope-kernels --bench mul_mat -- decode/rows8/Q4_K` runs a part. `DELTASCOPE_BENCH_THREADS` sets
//! the number of workers, all cores if unset; with 1 it is the CPU time of the thread that is measured, so that a machine
//! may do other work meanwhile. `decode/read` reads as many bytes and does nothing with them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deltascope_kernels::exec::{Bindings, Bound, run};
use deltascope_kernels::graph::{Graph, StorageKind};
use deltascope_kernels::ops::Fill;
use deltascope_kernels::plan::{Chooser, Chosen, Plan};
use deltascope_kernels::pool::Pool;
use deltascope_kernels::variant::share;
use deltascope_kernels::{Backend, Buffer, DType, Instance, Layout, Op, Packing, Params, check, ops, packing};

/// The types that quantised models of this kind are made of.
const TYPES: [DType; 5] = [DType::IQ4_XS, DType::Q4_K, DType::Q6_K, DType::Q8_0, DType::F32];
/// As many experts as fit a benchmark; 512 in the model.
const EXPERTS: usize = 64;
const USED: usize = 10;

fn threads() -> usize {
    let set = std::env::var("DELTASCOPE_BENCH_THREADS").ok().and_then(|v| v.parse().ok());
    set.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
}

/// Time of `n` runs: on one thread its CPU time, else wall time.
fn time(n: u64, mut run: impl FnMut()) -> Duration {
    let (wall, cpu) = (Instant::now(), cpu_time());
    (0..n).for_each(|_| run());
    if threads() == 1 { cpu_time() - cpu } else { wall.elapsed() }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a live timespec.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    assert_eq!(failed, 0, "this system has no CPU clock of threads");
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// An input: a weight, or what the caller writes before each run.
struct Input {
    layout: Layout,
    data: Buffer,
    weight: bool,
}

impl Input {
    fn activations(ne: [usize; 4]) -> Input {
        let layout = Layout::f32(ne);
        Input { data: check::fill(&layout, Fill::Normal(1.0), 1), layout, weight: false }
    }

    fn ids(tokens: usize) -> Input {
        let layout = Layout::i32([USED, tokens, 1, 1]);
        Input { data: check::fill(&layout, Fill::DistinctIds(EXPERTS as i32), 2), layout, weight: false }
    }

    /// 64 rows that differ, over and over: quantising all would take longer than the benchmark.
    fn weight(dtype: DType, ne: [usize; 4]) -> Input {
        let some = check::fill(&Layout::contiguous(dtype, [ne[0], 64, 1, 1]), Fill::Normal(0.1), 3);
        let layout = Layout::contiguous(dtype, ne);
        let mut data = Buffer::zeroed(layout.bytes());
        for to in data.bytes_mut().chunks_mut(some.len()) {
            to.copy_from_slice(&some.bytes()[..to.len()]);
        }
        Input { layout, data, weight: true }
    }
}

struct Memory {
    inputs: Vec<Input>,
    packed: Vec<((u32, Packing), Buffer)>,
}

impl Bindings for Memory {
    fn weight(&self, id: u32) -> Option<(*const u8, usize)> {
        self.inputs.get(id as usize).map(|i| (i.data.as_ptr().cast_const(), i.data.len()))
    }

    fn packed(&self, id: u32, packing: Packing) -> Option<(*const u8, usize)> {
        let (_, b) = self.packed.iter().find(|(key, _)| *key == (id, packing))?;
        Some((b.as_ptr().cast_const(), b.len()))
    }

    fn input(&self, id: u32) -> Option<(*mut u8, usize)> {
        self.inputs.get(id as usize).map(|i| (i.data.as_ptr(), i.data.len()))
    }

    fn state(&self, _id: u32) -> Option<(*mut u8, usize)> {
        None
    }
}

/// Chooses one variant for the op.
struct Only(Op, &'static str);

impl Chooser for Only {
    fn choose(&self, _name: &str, inst: &Instance) -> Option<Chosen> {
        (inst.op == self.0).then(|| Chosen { variant: Some(self.1.to_owned()), ..Chosen::default() })
    }
}

/// A variant on inputs, if it takes them.
fn bench(c: &mut Criterion, group: &str, op: Op, variant: &'static str, inputs: Vec<Input>, what: Throughput) {
    let layouts: Vec<Layout> = inputs.iter().map(|i| i.layout).collect();
    let outputs = ops::def(op).infer(&Params::None, &layouts).expect("the shapes fit");
    let mut graph = Graph::default();
    let mut b = graph.builder();
    let values: Vec<_> = (0u32..)
        .zip(&inputs)
        .map(|(n, i)| b.bind(if i.weight { StorageKind::Weight(n) } else { StorageKind::Input(n) }, i.layout))
        .collect();
    let outputs: Vec<_> = (0u32..).zip(outputs).map(|(n, l)| b.bind(StorageKind::Output(n), l)).collect();
    b.node_into("op", op, Params::None, &values, &outputs);
    let plan = Plan::build(graph, &Only(op, variant), threads()).expect("every op has a variant for F32 activations");
    if plan.nodes[0].variant.spec().name != variant {
        return;
    }
    let packed = plan
        .packed(Backend::Cpu)
        .into_iter()
        .map(|(w, p)| ((w, p), packing::pack(p, &inputs[w as usize].layout, inputs[w as usize].data.bytes())))
        .collect();
    let dtype = inputs.iter().rfind(|i| i.weight).map_or("", |i| i.layout.dtype.name());
    let memory = Memory { inputs, packed };
    let mut pool = Pool::new(threads());
    // SAFETY: `memory` outlives `bound`, and nobody else has it.
    let mut bound = unsafe { Bound::new(&plan, &memory, threads()) }.expect("all is bound");
    let mut group = c.benchmark_group(group);
    group.throughput(what).bench_function(format!("{variant}/{dtype}"), |b| {
        b.iter_custom(|n| time(n, || run(&mut pool, &plan, &mut bound, 0..plan.steps.len(), None)));
    });
    group.finish();
}

/// What all workers read of some memory together.
fn read(c: &mut Criterion) {
    let words = vec![1u64; 8 << 20];
    let mut pool = Pool::new(threads());
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Bytes(8 * words.len() as u64)).bench_function("read", |b| {
        b.iter_custom(|n| {
            time(n, || {
                pool.run(threads(), |ith, team| {
                    let mine = &words[share(words.len(), ith, team.nth())];
                    black_box(mine.iter().fold(0, |a, b| a ^ b));
                });
            })
        });
    });
    group.finish();
}

fn decode(c: &mut Criterion) {
    read(c);
    for variant in ["rows8", "dot"] {
        for dtype in TYPES {
            let w = Input::weight(dtype, [2048, 32768, 1, 1]);
            let bytes = Throughput::Bytes(w.layout.bytes() as u64);
            bench(c, "decode", Op::MulMat, variant, vec![w, Input::activations([2048, 1, 1, 1])], bytes);
        }
    }
    for variant in ["rows8", "dot"] {
        for dtype in [DType::IQ4_XS, DType::Q4_K] {
            let (up_gate, down) = experts(dtype, 1);
            let bytes = |inputs: &[Input]| {
                let w = inputs.iter().filter(|i| i.weight).map(|i| i.layout.bytes() * USED / EXPERTS).sum::<usize>();
                Throughput::Bytes(w as u64)
            };
            let (a, b) = (bytes(&up_gate), bytes(&down));
            bench(c, "decode-up_gate", Op::MoeUpGate, variant, up_gate, a);
            bench(c, "decode-down", Op::MoeDown, variant, down, b);
        }
    }
}

fn experts(dtype: DType, tokens: usize) -> (Vec<Input>, Vec<Input>) {
    let wide = || Input::weight(dtype, [2048, 512, EXPERTS, 1]);
    let up_gate = vec![Input::activations([2048, tokens, 1, 1]), Input::ids(tokens), wide(), wide()];
    let h = Input::activations([512, USED, tokens, 1]);
    let weights = Input::activations([USED, tokens, 1, 1]);
    let down = vec![h, Input::ids(tokens), weights, Input::weight(dtype, [512, 2048, EXPERTS, 1])];
    (up_gate, down)
}

fn prefill(c: &mut Criterion) {
    const TOKENS: usize = 512;
    for variant in ["gemm_amx", "gemm_rows8", "gemm", "rows8"] {
        for dtype in TYPES {
            let inputs = vec![Input::weight(dtype, [2048, 2048, 1, 1]), Input::activations([2048, TOKENS, 1, 1])];
            let products = Throughput::Elements((TOKENS * 2048 * 2048) as u64);
            bench(c, "prefill", Op::MulMat, variant, inputs, products);
        }
        for dtype in [DType::IQ4_XS, DType::Q4_K] {
            let (up_gate, down) = experts(dtype, TOKENS);
            let products = (TOKENS * USED * 2048 * 512) as u64;
            bench(c, "prefill-up_gate", Op::MoeUpGate, variant, up_gate, Throughput::Elements(2 * products));
            bench(c, "prefill-down", Op::MoeDown, variant, down, Throughput::Elements(products));
        }
    }
}

/// Where the ways to multiply cross over.
fn few_columns(c: &mut Criterion) {
    for tokens in [2, 4, 8, 12, 16, 32] {
        for variant in ["rows8", "gemm_amx", "gemm_rows8", "dot", "gemm"] {
            for dtype in [DType::IQ4_XS, DType::Q4_K, DType::F32] {
                let inputs = vec![Input::weight(dtype, [2048, 1024, 1, 1]), Input::activations([2048, tokens, 1, 1])];
                let products = Throughput::Elements((tokens * 2048 * 1024) as u64);
                bench(c, &format!("columns-{tokens}"), Op::MulMat, variant, inputs, products);
            }
        }
    }
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700))
        .without_plots()
}

criterion_group! { name = benches; config = config(); targets = decode, prefill, few_columns }
criterion_main!(benches);
