//! Runs of a small plan on a device, step by step and as a graph.

use super::*;
use crate::check::fill;
use crate::graph::{Graph, StorageKind};
use crate::ops::Fill;
use crate::plan::{Chooser, Chosen, Plan};
use crate::variant::{Backend, Instance};
use crate::{DType, Layout, Op, Params};

/// Every op's default on CUDA.
struct OnCuda;

impl Chooser for OnCuda {
    fn choose(&self, _name: &str, _inst: &Instance) -> Option<Chosen> {
        None
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

/// `W rms_norm(x)` with a quantised W, and the layouts of x, the norm's weight and W.
fn plan() -> (Plan, [Layout; 3]) {
    let layouts =
        [Layout::f32([512, 1, 1, 1]), Layout::f32([512, 1, 1, 1]), Layout::contiguous(DType::Q4_K, [512, 96, 1, 1])];
    let mut graph = Graph::default();
    let mut b = graph.builder();
    let x = b.bind(StorageKind::Input(0), layouts[0]);
    let (w, big) = (b.bind(StorageKind::Weight(1), layouts[1]), b.bind(StorageKind::Weight(2), layouts[2]));
    let normed = b.one("norm", Op::RmsNorm, Params::Norm { eps: 1e-6 }, &[x, w]);
    let y = b.bind(StorageKind::Output(0), Layout::f32([96, 1, 1, 1]));
    b.node_into("product", Op::MulMat, Params::None, &[big, normed], &[y]);
    (Plan::build(graph, &OnCuda, 1).unwrap(), layouts)
}

#[test]
fn a_plan_for_cuda_has_no_cpu_step_and_a_pool_refuses_it() {
    let (plan, _) = plan();
    // The norm and the product, which quantises for itself.
    assert_eq!(plan.steps.len(), 2);
    struct Nothing;
    impl crate::exec::Bindings for Nothing {
        fn weight(&self, _: u32) -> Option<(*const u8, usize)> {
            None
        }
        fn packed(&self, _: u32, _: crate::Packing) -> Option<(*const u8, usize)> {
            None
        }
        fn input(&self, _: u32) -> Option<(*mut u8, usize)> {
            None
        }
        fn state(&self, _: u32) -> Option<(*mut u8, usize)> {
            None
        }
    }
    // SAFETY: nothing is bound, so nothing can be used.
    let refused = unsafe { crate::exec::Bound::new(&plan, &Nothing, 1) };
    assert!(matches!(refused.err(), Some(crate::exec::BindError::NotCpu)));
}

#[test]
fn a_graph_gives_the_bits_of_single_launches_and_reads_inputs_anew() {
    let device = match Device::first() {
        Ok(d) => d,
        Err(e) => return println!("no GPU: skipped ({e})"),
    };
    let (plan, layouts) = plan();
    let upload =
        |n: usize, seed| DeviceBuffer::from_bytes(device, fill(&layouts[n], Fill::Normal(1.0), seed).bytes()).unwrap();
    let mut memory = Numbered((0..3).map(|n| upload(n, n as u64)).collect());
    // SAFETY: `memory` outlives the bound plan, and is written between runs only.
    let mut bound = unsafe { Bound::new(device, &plan, &memory) }.unwrap();
    let times = StepTimes::new(device, plan.steps.len()).unwrap();
    let mut single = Vec::new();
    let other = fill(&layouts[0], Fill::Normal(1.0), 9);
    for _ in 0..2 {
        run(&mut bound, 0..plan.steps.len(), Some(&times)).unwrap();
        single.push(bound.output(0).unwrap().unwrap());
        let micros = times.micros(plan.steps.len()).unwrap();
        assert!(micros.len() == plan.steps.len() && micros.iter().all(|&t| t > 0.0), "{micros:?}");
        memory.0[0].write(0, other.bytes()).unwrap();
    }
    assert_ne!(single[0], single[1]);
    // Once as the model runs, once with an event after each step.
    for timed in [None, Some(&times)] {
        let replay = Replay::record(&mut bound, 0..plan.steps.len(), timed).unwrap();
        for (n, first) in [&fill(&layouts[0], Fill::Normal(1.0), 0), &other].into_iter().enumerate() {
            memory.0[0].write(0, first.bytes()).unwrap();
            // SAFETY: plan, memory and times are alive.
            unsafe { replay.launch() }.unwrap();
            assert_eq!(bound.output(0).unwrap().unwrap(), single[n], "input {n}");
        }
    }
    let micros = times.micros(plan.steps.len()).unwrap();
    assert!(micros.iter().all(|&t| t > 0.0 && t < 1e5), "{micros:?}");
    let product = *plan.steps[1].outputs.first().unwrap();
    assert_eq!(bound.read(&plan, product).unwrap(), single[1]);
}

#[test]
fn staging_carries_bytes_there_and_back() {
    let device = match Device::first() {
        Ok(d) => d,
        Err(e) => return println!("no GPU: skipped ({e})"),
    };
    let (mut there, mut back) = (Staging::new(device, 16).unwrap(), Staging::new(device, 64).unwrap());
    let mut buffer = DeviceBuffer::zeroed(device, 32).unwrap();
    for round in 0..3 {
        there.as_i32_mut().unwrap().copy_from_slice(&[round, 1, 2, 3]);
        there.send(&mut buffer).unwrap();
        back.fetch(buffer.slice()).unwrap();
        assert_eq!(&back.bytes()[..16], there.bytes());
        assert!(back.bytes()[16..].iter().all(|&b| b == 0));
    }
}
