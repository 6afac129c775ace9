//! Tables over many runs: by op, by node, by layer, by block.

use super::{Idle, PlanInfo, RunRecord, StepCost, Timing};
use deltascope_kernels::{Backend, Cost, Op};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How nodes are put together to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Op and weight type.
    Op,
    /// Every node by itself.
    Node,
    /// Layer; what lies outside layers by name.
    Layer,
    /// The part of a layer: `delta_net`, `attn_qkv`, `ffn`, … over all layers.
    Block,
}

/// A row of a table. Times are microseconds a run (a token in decode).
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is called.
    pub label: String,
    /// The op, where the row is one op.
    pub op: Option<Op>,
    /// Nodes of the row in a run.
    pub n: usize,
    /// Indices of them in the plan.
    pub nodes: Vec<usize>,
    /// Mean time of its own steps: rows' own times sum to the run.
    pub own_us: f64,
    /// Mean time with the parts of lowerings.
    pub total_us: f64,
    /// Median of `total_us` over the runs kept.
    pub p50_us: f64,
    /// 95th percentile of `total_us`.
    pub p95_us: f64,
    /// Share of the run's wall time, of `total_us`.
    pub share: f64,
    /// Part of `total_us` that is waiting at barriers.
    pub wait_share: f64,
    /// What must be moved and done at least.
    pub cost: Cost,
    /// Gigabytes a second: the bytes that must be moved over `total_us`.
    pub gb_per_s: f64,
    /// Variants that serve its nodes.
    pub variants: Vec<&'static str>,
    /// Where its nodes run, and the part of `total_us` that those there take.
    pub sides: Vec<(Backend, f64)>,
    /// All its nodes were lowered: the time is that of its parts, which have rows of their own.
    pub lowered: bool,
    /// `total_us` of each run kept, the latest last: for histograms and intervals.
    pub samples: Vec<f32>,
}

impl Row {
    /// Where its nodes run: `cpu`, or `cpu+cuda` where they are on both.
    pub fn on(&self) -> String {
        self.sides.iter().map(|(b, _)| b.name()).collect::<Vec<_>>().join("+")
    }
}

/// A table of rows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Rows, the most expensive first.
    pub rows: Vec<Row>,
    /// Runs that it is the mean of.
    pub runs: usize,
    /// Wall time of a run, mean, microseconds.
    pub wall_us: f64,
    /// Waiting at barriers, mean (contained in the rows and the end of the run).
    pub wait_us: f64,
    /// Wall time less all steps and gaps.
    pub residual_us: f64,
    /// Time of the GPU's steps while workers ran theirs, mean: contained in the rows of both.
    pub at_once_us: f64,
    /// Barriers in a run.
    pub barriers: usize,
    /// Where the runs were.
    pub backend: Backend,
    /// How their steps were timed.
    pub timing: Timing,
    /// Between kernels and beside them, where CUPTI saw a GPU's.
    pub idle: Option<Idle>,
    /// Some nodes were placed on another backend.
    pub mixed: bool,
}

/// Runs of one plan, the latest `capacity` of them.
pub struct Stats {
    info: Option<Arc<PlanInfo>>,
    /// How these runs were timed.
    timing: Timing,
    runs: VecDeque<Kept>,
    capacity: usize,
}

struct Kept {
    steps: Vec<StepCost>,
    wall_us: f64,
    last_wait_us: f64,
    residual_us: f64,
    idle: Option<Idle>,
    at_once_us: f64,
}

impl Stats {
    /// Keeps so many runs.
    pub fn new(capacity: usize) -> Stats {
        Stats {
            info: None,
            timing: Timing::default(),
            runs: VecDeque::with_capacity(capacity),
            capacity: capacity.max(1),
        }
    }

    /// Adds a run. Runs of a plan of other nodes or variants are forgotten, as are those that were timed otherwise.
    pub fn push(&mut self, r: &RunRecord) {
        if self.timing != r.timing || !self.info.as_ref().is_some_and(|i| same_plan(i, &r.info)) {
            self.runs.clear();
        }
        self.info = Some(Arc::clone(&r.info));
        self.timing = r.timing;
        if self.runs.len() == self.capacity {
            self.runs.pop_front();
        }
        self.runs.push_back(Kept {
            steps: r.steps.clone(),
            wall_us: r.wall_us,
            last_wait_us: r.last_wait_us,
            residual_us: r.residual_us(),
            idle: r.kernels.as_ref().map(Idle::of),
            at_once_us: r.at_once_us,
        });
    }

    /// Forgets all runs.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// The plan of the runs kept.
    pub fn info(&self) -> Option<&Arc<PlanInfo>> {
        self.info.as_ref()
    }

    /// Runs kept.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Wall time of each run kept, microseconds, the latest last.
    pub fn walls(&self) -> impl Iterator<Item = f64> {
        self.runs.iter().map(|r| r.wall_us)
    }

    /// The runs as a table.
    pub fn table(&self, group: Group) -> Table {
        let Some(info) = &self.info else { return Table::default() };
        if self.runs.is_empty() {
            return Table::default();
        }
        let n = self.runs.len() as f64;
        let mean = |f: &dyn Fn(&Kept) -> f64| self.runs.iter().map(f).sum::<f64>() / n;
        let wall_us = mean(&|r| r.wall_us);
        let mut rows: Vec<Row> =
            groups(info, group).into_iter().map(|(label, nodes)| self.row(info, label, nodes, wall_us)).collect();
        rows.sort_by(|a, b| b.total_us.total_cmp(&a.total_us));
        Table {
            rows,
            runs: self.runs.len(),
            wall_us,
            wait_us: mean(&|r| r.last_wait_us + r.steps.iter().map(|s| f64::from(s.wait)).sum::<f64>()),
            residual_us: mean(&|r| r.residual_us),
            at_once_us: mean(&|r| r.at_once_us),
            barriers: info.barriers,
            backend: info.backend,
            timing: self.timing,
            idle: Idle::mean(self.runs.iter().map(|r| r.idle)),
            mixed: info.is_mixed(),
        }
    }

    fn row(&self, info: &PlanInfo, label: String, nodes: Vec<usize>, wall_us: f64) -> Row {
        // A group may hold a node and its parts (a layer does): each step counts once.
        let mut steps: Vec<usize> = nodes.iter().flat_map(|&i| info.nodes[i].steps.clone()).collect();
        steps.sort_unstable();
        steps.dedup();
        let own: Vec<usize> = steps.iter().copied().filter(|&s| nodes.contains(&info.step_nodes[s])).collect();
        let sum =
            |r: &Kept, of: &[usize]| of.iter().map(|&s| f64::from(r.steps[s].work + r.steps[s].wait)).sum::<f64>();
        let samples: Vec<f32> = self.runs.iter().map(|r| sum(r, &steps) as f32).collect();
        let runs = self.runs.len() as f64;
        let total_us = samples.iter().map(|&s| f64::from(s)).sum::<f64>() / runs;
        // An empty sum is −0.
        let own_us = self.runs.iter().map(|r| sum(r, &own) + 0.0).sum::<f64>() / runs;
        let wait_us =
            self.runs.iter().flat_map(|r| steps.iter().map(|&s| f64::from(r.steps[s].wait))).sum::<f64>() / runs;
        let mut sorted = samples.clone();
        sorted.sort_by(f32::total_cmp);
        let at = |q: f64| f64::from(sorted[((sorted.len() - 1) as f64 * q).round() as usize]);
        let top = nodes.iter().copied().filter(|&i| !info.nodes[i].parent.is_some_and(|p| nodes.contains(&p)));
        let cost = top.fold(Cost::default(), |c, i| {
            let n = &info.nodes[i].cost;
            Cost { bytes: c.bytes + n.bytes, flops: c.flops + n.flops }
        });
        let mut variants: Vec<&'static str> = nodes.iter().map(|&i| info.nodes[i].variant.spec().name).collect();
        variants.sort_unstable();
        variants.dedup();
        let mut sides: Vec<(Backend, f64)> = Vec::new();
        for backend in nodes.iter().map(|&i| info.nodes[i].backend) {
            if sides.iter().all(|(b, _)| *b != backend) {
                let mut there: Vec<usize> = nodes
                    .iter()
                    .map(|&i| &info.nodes[i])
                    .filter(|n| n.backend == backend)
                    .flat_map(|n| n.steps.clone())
                    .collect();
                there.sort_unstable();
                there.dedup();
                sides.push((backend, self.runs.iter().map(|r| sum(r, &there)).sum::<f64>() / runs));
            }
        }
        sides.sort_unstable_by_key(|(backend, _)| *backend);
        let first_op = info.nodes[nodes[0]].op;
        Row {
            label,
            op: nodes.iter().all(|&i| info.nodes[i].op == first_op).then_some(first_op),
            n: nodes.len(),
            own_us,
            total_us,
            p50_us: at(0.5),
            p95_us: at(0.95),
            share: if wall_us > 0.0 { total_us / wall_us } else { 0.0 },
            wait_share: if total_us > 0.0 { wait_us / total_us } else { 0.0 },
            gb_per_s: if total_us > 0.0 { cost.bytes / total_us / 1e3 } else { 0.0 },
            cost,
            variants,
            sides,
            lowered: nodes.iter().all(|&i| info.nodes[i].lowered),
            samples,
            nodes,
        }
    }
}

/// Nodes by row, in the order of first appearance.
fn groups(info: &PlanInfo, group: Group) -> Vec<(String, Vec<usize>)> {
    let mut order: Vec<(String, Vec<usize>)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for (i, node) in info.nodes.iter().enumerate() {
        let label = match group {
            Group::Op => node.label.clone(),
            Group::Node => node.name.clone(),
            Group::Layer => node.layer.map_or_else(|| node.name.clone(), |l| format!("blk.{l}")),
            Group::Block => block_of(&node.name),
        };
        let at = *index.entry(label.clone()).or_insert_with(|| {
            order.push((label, Vec::new()));
            order.len() - 1
        });
        order[at].1.push(i);
    }
    order
}

/// `blk.7.delta_net.conv` → `delta_net`; names outside layers stay.
fn block_of(name: &str) -> String {
    let mut parts = name.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("blk"), Some(_), Some(block)) => block.to_owned(),
        _ => name.to_owned(),
    }
}

/// Same nodes served by the same variants under the same tunables.
fn same_plan(a: &Arc<PlanInfo>, b: &Arc<PlanInfo>) -> bool {
    Arc::ptr_eq(a, b)
        || (a.phase == b.phase
            && a.nodes.len() == b.nodes.len()
            && a.step_nodes == b.step_nodes
            && a.nodes.iter().zip(&b.nodes).all(|(x, y)| {
                let same_code = std::ptr::addr_eq(x.variant, y.variant) && x.tunables == y.tunables;
                x.name == y.name && x.backend == y.backend && same_code
            }))
}
