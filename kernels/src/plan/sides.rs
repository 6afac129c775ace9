//! Which backend's memory holds a storage's bytes, while nodes of one plan run on two.
//!
//! Temporaries and outputs have the same place in both arenas. A step writes on its own side; before a step of the other
//! side reads that, the planner puts a transfer. Constants are wherever they are read, inputs are filled on both sides,
//! states stay where the run is.

use super::{Step, StepKernel};
use crate::Backend;
use crate::graph::{Graph, Node, StorageId, StorageKind, Value, ValueId};
use crate::ops;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The sides on which written storages are whole and up to date. What is not in it was not written yet.
#[derive(Default)]
pub(super) struct Sides(BTreeMap<StorageId, BTreeSet<Backend>>);

impl Sides {
    /// Whether a storage has been written, and not on this side.
    fn lacks(&self, side: Backend, storage: StorageId) -> bool {
        self.0.get(&storage).is_some_and(|on| !on.contains(&side))
    }

    /// A step of this side writes: what the other side has is out of date.
    pub fn wrote(&mut self, side: Backend, graph: &Graph, storages: &[StorageId]) {
        for &s in storages.iter().filter(|&&s| moves(graph, s)) {
            self.0.insert(s, BTreeSet::from([side]));
        }
    }

    /// A transfer brings it.
    pub fn brought(&mut self, side: Backend, storage: StorageId) {
        self.0.entry(storage).or_default().insert(side);
    }

    /// What must be brought to this side before a step that has these inputs and outputs: what it reads, and what it
    /// writes only a part of.
    pub fn missing(&self, side: Backend, graph: &Graph, inputs: &[ValueId], outputs: &[ValueId]) -> Vec<StorageId> {
        let parts = outputs.iter().filter(|&&v| !covers(graph, v));
        let mut missing: Vec<StorageId> = inputs
            .iter()
            .chain(parts)
            .map(|&v| graph.value(v).storage)
            .filter(|&s| moves(graph, s) && self.lacks(side, s))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Outputs of the run that this side does not have at its end.
    pub fn missing_outputs(&self, side: Backend, graph: &Graph) -> Vec<StorageId> {
        let is_output = |s: StorageId| matches!(graph.storages[s.0 as usize].kind, StorageKind::Output(_));
        self.0.keys().copied().filter(|&s| is_output(s) && self.lacks(side, s)).collect()
    }
}

/// Whether bytes of this kind are brought from side to side at all.
fn moves(graph: &Graph, storage: StorageId) -> bool {
    matches!(graph.storages[storage.0 as usize].kind, StorageKind::Temp | StorageKind::Output(_))
}

/// Whether writing a value leaves nothing of its storage as it was.
fn covers(graph: &Graph, v: ValueId) -> bool {
    let Value { offset, layout, .. } = *graph.value(v);
    offset == 0 && layout.is_contiguous() && layout.span() == graph.storage(v).bytes
}

/// Parts of a node that run on two sides, in the order in which they are planned: first those of the device that read nothing
/// that one of the others writes before them, and write nothing that it touches. They are under way while the processor's
/// run.
pub(super) fn device_first(graph: &Graph, parts: Vec<(Backend, Node)>) -> Vec<(Backend, Node)> {
    let storage = |v: &ValueId| graph.value(*v).storage;
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let (mut read, mut written): (BTreeSet<StorageId>, BTreeSet<StorageId>) = Default::default();
    for (backend, part) in parts {
        let updated = ops::def(part.op).updates().iter().filter_map(|&i| part.inputs.get(i));
        let reads: BTreeSet<StorageId> = part.inputs.iter().map(storage).collect();
        let writes: BTreeSet<StorageId> = part.outputs.iter().chain(updated).map(storage).collect();
        let is_free = reads.is_disjoint(&written) && writes.is_disjoint(&written) && writes.is_disjoint(&read);
        if backend == Backend::Cuda && is_free {
            first.push((backend, part));
        } else {
            read.extend(reads);
            written.extend(writes);
            rest.push((backend, part));
        }
    }
    first.append(&mut rest);
    first
}

/// Steps in a row of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Who runs them. Transfers are the device's.
    pub side: Backend,
    /// They.
    pub steps: Range<usize>,
    /// Behind the last transfer: when the steps before it are done, a leg of the processor may follow. Those from it on
    /// touch the device's memory alone, and so may run at the same time.
    pub ready: usize,
}

/// The legs of a run.
pub(super) fn legs(steps: &[Step]) -> Vec<Leg> {
    let mut legs: Vec<Leg> = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        match legs.last_mut().filter(|leg| leg.side == step.side()) {
            Some(leg) => leg.steps.end = i + 1,
            None => legs.push(Leg { side: step.side(), steps: i..i + 1, ready: i }),
        }
        if let (StepKernel::Transfer, Some(leg)) = (step.kernel, legs.last_mut()) {
            leg.ready = i + 1;
        }
    }
    legs
}

#[cfg(test)]
mod tests {
    use super::Leg;
    use crate::graph::{Graph, GraphBuilder, StorageKind, ValueId};
    use crate::plan::{Chooser, Chosen, Placed, Plan, Step, StepKernel};
    use crate::{Backend, Instance, Layout, Op, Params};

    /// Nodes of these names run on the other backend.
    struct Split<'a>(Backend, &'a [&'a str]);

    impl Chooser for Split<'_> {
        fn choose(&self, _name: &str, _inst: &Instance) -> Option<Chosen> {
            None
        }

        fn backend(&self) -> Backend {
            self.0
        }

        fn place(&self, name: &str) -> Option<Placed> {
            let backend = if self.0 == Backend::Cpu { Backend::Cuda } else { Backend::Cpu };
            // A name that ends with a dot is a node's for all of its parts.
            let is_other = self.1.iter().any(|p| name == *p || (p.ends_with('.') && name.starts_with(p)));
            is_other.then(|| Placed { backend, origin: "test".into() })
        }
    }

    const N: usize = 4096;

    fn vector(b: &mut GraphBuilder<'_>, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        let params = if op == Op::Scale { Params::Scale { factor: 2.0 } } else { Params::None };
        b.one(name, op, params, inputs)
    }

    /// `y = silu(2x) + x + silu(2x)` with nodes `a`, `b`, `c`, `d`.
    fn chain() -> Graph {
        let mut graph = Graph::default();
        let mut b = graph.builder();
        let x = b.bind(StorageKind::Input(0), Layout::f32([N, 1, 1, 1]));
        let twice = vector(&mut b, "a", Op::Scale, &[x]);
        let gated = vector(&mut b, "b", Op::Silu, &[twice]);
        let sum = vector(&mut b, "c", Op::Add, &[gated, x]);
        let y = b.bind(StorageKind::Output(0), Layout::f32([N, 1, 1, 1]));
        b.node_into("d", Op::Add, Params::None, &[sum, gated], &[y]);
        graph
    }

    /// Steps as `node:side`, transfers as `node>side`.
    fn shown(plan: &Plan) -> Vec<String> {
        let one = |s: &Step| match (s.kernel, s.inst.params) {
            (StepKernel::Transfer, Params::Transfer { to }) => format!("{}>{to}", plan.node(s.node).name),
            _ => format!("{}:{}", plan.node(s.node).name, s.side()),
        };
        plan.steps.iter().map(one).collect()
    }

    fn build(graph: Graph, main: Backend, other: &[&str]) -> Plan {
        Plan::build(graph, &Split(main, other), 4).unwrap()
    }

    #[test]
    fn without_placements_nothing_is_transferred() {
        for main in [Backend::Cpu, Backend::Cuda] {
            for other in [&[][..], &["nobody"]] {
                let plan = build(chain(), main, other);
                assert_eq!(shown(&plan), ["a", "b", "c", "d"].map(|n| format!("{n}:{main}")));
                assert_eq!(plan.legs, [Leg { side: main, steps: 0..4, ready: 0 }]);
                assert!(plan.nodes.iter().all(|n| n.note.is_none() && n.backend == main));
            }
        }
    }

    #[test]
    fn what_the_other_side_reads_is_brought_there_once_and_results_come_back() {
        let plan = build(chain(), Backend::Cuda, &["b", "c"]);
        let want = ["a:cuda", "b.to_cpu>cpu", "b:cpu", "c:cpu", "d.to_cuda>cuda", "d.to_cuda>cuda", "d:cuda"];
        assert_eq!(shown(&plan), want);
        let legs = [(Backend::Cuda, 0..2, 2), (Backend::Cpu, 2..4, 2), (Backend::Cuda, 4..7, 6)];
        assert_eq!(plan.legs, legs.map(|(side, steps, ready)| Leg { side, steps, ready }));
        assert!(plan.legs[1..].iter().all(|leg| plan.steps[leg.steps.start].barrier), "legs are whole rounds");
        let b = plan.nodes.iter().find(|n| n.name == "b").unwrap();
        assert_eq!((b.backend, b.note.as_deref(), b.steps.clone()), (Backend::Cpu, Some("on cpu: test"), 1..3));
    }

    #[test]
    fn an_output_that_was_made_on_the_other_side_comes_to_where_the_run_is() {
        for (main, other) in [(Backend::Cuda, Backend::Cpu), (Backend::Cpu, Backend::Cuda)] {
            let plan = build(chain(), main, &["d"]);
            let moved = format!("d.to_{other}>{other}");
            let want = [
                format!("a:{main}"),
                format!("b:{main}"),
                format!("c:{main}"),
                moved.clone(),
                moved,
                format!("d:{other}"),
                format!("output.to_{main}>{main}"),
            ];
            assert_eq!(shown(&plan), want);
        }
    }

    /// One half of a temporary is written on each side, and all of it read.
    #[test]
    fn a_part_is_written_into_what_the_other_side_has_written() {
        let mut graph = Graph::default();
        let mut b = graph.builder();
        let x = b.bind(StorageKind::Input(0), Layout::f32([N, 1, 1, 1]));
        let all = b.temp(Layout::f32([2 * N, 1, 1, 1]));
        for (name, at) in [("here", 0), ("there", N)] {
            let half = b.slice(all, 0, at, N);
            b.node_into(name, Op::Silu, Params::None, &[x], &[half]);
        }
        let y = b.bind(StorageKind::Output(0), Layout::f32([2 * N, 1, 1, 1]));
        b.node_into("read", Op::Silu, Params::None, &[all], &[y]);
        let plan = build(graph, Backend::Cuda, &["there"]);
        let want = ["here:cuda", "there.to_cpu>cpu", "there:cpu", "read.to_cuda>cuda", "read:cuda"];
        assert_eq!(shown(&plan), want);
        let whole = plan.graph.storage(plan.steps[3].inputs[0]).bytes;
        assert_eq!(plan.node(plan.steps[3].node).cost.bytes, whole as f64);
    }

    /// Where the shared expert's parts come in the order of steps, and that the processor waits for none of them.
    #[test]
    fn parts_that_stay_run_beside_those_that_were_placed() {
        let experts = || {
            let (k, f, n) = (256, 256, 4);
            let mut graph = Graph::default();
            let mut b = graph.builder();
            let x = b.bind(StorageKind::Input(0), Layout::f32([k, 1, 1, 1]));
            let ids = b.bind(StorageKind::Input(1), Layout::i32([2, 1, 1, 1]));
            let weights = b.bind(StorageKind::Input(2), Layout::f32([2, 1, 1, 1]));
            let mut inputs = vec![vector(&mut b, "norm", Op::Silu, &[x]), ids, weights];
            let shapes = [[k, f, n, 1], [k, f, n, 1], [f, k, n, 1], [k, f, 1, 1], [k, f, 1, 1], [f, k, 1, 1]];
            for (id, ne) in (0..).zip(shapes) {
                inputs.push(b.bind(StorageKind::Weight(id), Layout::contiguous(crate::DType::Q8_0, ne)));
            }
            inputs.push(b.bind(StorageKind::Weight(9), Layout::f32([k, 1, 1, 1])));
            let y = b.bind(StorageKind::Output(0), Layout::f32([k, 1, 1, 1]));
            b.node_into("ffn", Op::MoeFfn, Params::None, &inputs, &[y]);
            graph
        };
        let plan = build(experts(), Backend::Cuda, &["ffn"]);
        let steps = shown(&plan);
        let at = |name: &str| steps.iter().position(|s| s == name).unwrap_or_else(|| panic!("{name} in {steps:?}"));
        let order =
            ["ffn.to_cpu>cpu", "ffn.shared.sigmoid_mul:cuda", "ffn.down:cpu", "ffn.add.to_cuda>cuda", "ffn.add:cuda"];
        assert!(order.map(at).is_sorted(), "{steps:?}");
        let [first, second, third] = &plan.legs[..] else { panic!("{:?}", plan.legs) };
        assert_eq!((first.side, second.side, third.side), (Backend::Cuda, Backend::Cpu, Backend::Cuda));
        assert_eq!(first.ready, at("ffn.to_cpu>cpu") + 1);
        let beside = &steps[first.ready..first.steps.end];
        assert!(beside.len() >= 4 && beside.iter().all(|s| s.starts_with("ffn.shared.")), "{steps:?}");
        // All of it goes where its parts are placed by name too.
        let plan = build(experts(), Backend::Cuda, &["ffn", "ffn."]);
        assert!(plan.steps.iter().all(|s| plan.node(s.node).op() != Op::Add || s.side() == Backend::Cpu));
    }

    #[test]
    fn a_node_at_states_stays_and_says_why() {
        let mut graph = Graph::default();
        let mut b = graph.builder();
        let state = b.bind(StorageKind::State(0), Layout::f32([N, 1, 1, 1]));
        let y = b.bind(StorageKind::Output(0), Layout::f32([N, 1, 1, 1]));
        b.node_into("kept", Op::Silu, Params::None, &[state], &[y]);
        let plan = build(graph, Backend::Cuda, &["kept"]);
        assert_eq!(shown(&plan), ["kept:cuda"]);
        assert_eq!(plan.nodes[0].note.as_deref(), Some("test: not on cpu, its states are on cuda"));
    }

    /// Parts and conversions go where their node goes, and packed weights are asked for by the side that reads them.
    #[test]
    fn parts_and_conversions_follow_their_node() {
        use crate::DType;
        let product = |other: &[&str]| {
            let mut graph = Graph::default();
            let mut b = graph.builder();
            let x = b.bind(StorageKind::Input(0), Layout::f32([512, 2, 1, 1]));
            let norm = b.bind(StorageKind::Weight(0), Layout::f32([512, 1, 1, 1]));
            let w = b.bind(StorageKind::Weight(1), Layout::contiguous(DType::Q4_K, [512, 96, 1, 1]));
            let normed = b.one("norm", Op::RmsNorm, Params::Norm { eps: 1e-6 }, &[x, norm]);
            for (name, out) in [("first", 0), ("second", 1)] {
                let y = b.bind(StorageKind::Output(out), Layout::f32([96, 2, 1, 1]));
                b.node_into(name, Op::MulMat, Params::None, &[w, normed], &[y]);
            }
            build(graph, Backend::Cuda, other)
        };
        let plan = product(&["second"]);
        let on = |side| plan.nodes.iter().filter(move |n| n.op() == Op::Quantize && n.backend == side).count();
        // The norm is quantised on each side, from the same values: two tokens, as one is quantised by the product itself.
        assert_eq!((on(Backend::Cpu), on(Backend::Cuda)), (1, 1), "{:?}", shown(&plan));
        let all_on_cpu = product(&["norm", "first", "second"]);
        assert_eq!(plan.packed(Backend::Cpu), all_on_cpu.packed(Backend::Cpu));
        assert!(plan.packed(Backend::Cuda).is_empty());
    }
}
