//! A plan: a graph lowered and scheduled under somebody's choices.
//!
//! Building one takes milliseconds, owns no weights and no state, and changes neither; swapping a variant in a running
//! model is building another plan.
//!
//! `lower` turns nodes into steps (choosing variants, replacing lowerings by their graphs, inserting conversions), `sides`
//! says which bytes must be transferred where nodes are placed on two backends, `redundant` finds the steps that every worker does for itself, `schedule` puts barriers where bytes demand them,
//! `arena` gives temporaries their place.

mod arena;
mod choose;
mod lower;
mod redundant;
mod rounds;
mod schedule;
mod sides;

pub use choose::{Chooser, Chosen, Defaults, Placed};
pub use rounds::{Part, Rounds};
pub use sides::Leg;

use crate::cuda::CudaKernel;
use crate::graph::{Graph, Node, StorageId, StorageKind, ValueId};
use crate::variant::{Form, Instance, Kernel, Tunables, Variant};
use crate::{Backend, Cost, Op};

/// Index of a [`PlanNode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIx(pub usize);

/// A node of the graph, or of a lowering inside it, with the variant that serves it.
pub struct PlanNode {
    /// Stable id: `blk.7.delta_net.scale_q`.
    pub name: String,
    /// Shapes and constants, before conversions.
    pub inst: Instance,
    /// Where it runs. Transfers are the device's.
    pub backend: Backend,
    /// Who computes it.
    pub variant: &'static dyn Variant,
    /// With these tunables.
    pub tunables: Tunables,
    /// Why this variant: the layer that chose it, or why another could not be.
    pub note: Option<String>,
    /// The node whose lowering this belongs to.
    pub parent: Option<NodeIx>,
    /// Its steps. A lowering's steps are those of its parts.
    pub steps: std::ops::Range<usize>,
    /// What it must move and do at least.
    pub cost: Cost,
    /// The values of the graph: for tapping live inputs.
    pub inputs: Vec<ValueId>,
    /// As `inputs`.
    pub outputs: Vec<ValueId>,
    /// Inserted by the planner (a `cont` or `quantize`), not in the graph that was given.
    pub conversion: bool,
}

impl PlanNode {
    /// The op.
    pub fn op(&self) -> Op {
        self.inst.op
    }
}

/// The code of a step.
#[derive(Clone, Copy)]
pub enum StepKernel {
    /// Run by the workers of a pool ([`crate::exec`]).
    Cpu(&'static dyn Kernel),
    /// Launched on a GPU ([`crate::cuda`]).
    Cuda(&'static dyn CudaKernel),
    /// A copy by the GPU of input 0's storage, between its place in the host's arena and that in the device's. Where it
    /// goes is in the instance's parameters.
    Transfer,
}

impl StepKernel {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        match self {
            StepKernel::Cpu(k) => k.form(inst, index),
            StepKernel::Cuda(k) => k.form(inst, index),
            StepKernel::Transfer => Form::AsIs,
        }
    }

    /// Scratch that all of the step shares.
    fn shared_scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        match self {
            StepKernel::Cpu(k) => k.shared_scratch(inst, tunables),
            StepKernel::Cuda(k) => k.scratch(inst, tunables),
            StepKernel::Transfer => 0,
        }
    }
}

/// A kernel call of the plan.
pub struct Step {
    /// Which node it serves.
    pub node: NodeIx,
    /// What runs.
    pub kernel: StepKernel,
    /// Shapes as the kernel sees them, after conversions.
    pub inst: Instance,
    /// Values of the tunables.
    pub tunables: Tunables,
    /// Inputs.
    pub inputs: Vec<ValueId>,
    /// Outputs.
    pub outputs: Vec<ValueId>,
    /// Workers that share the work.
    pub threads: usize,
    /// What each of them does is divided into so many pieces, that others can take if it is late.
    pub pieces: usize,
    /// Every worker that goes on in the same round does all of it first, into memory of its own.
    pub redundant: bool,
    /// Where a redundant step writes a worker's own result; what reads it in the same round reads that.
    pub own_outputs: Vec<ValueId>,
    /// `outputs` are written, by the workers together. Not so where all who read them are in the round of a redundant step.
    pub published: bool,
    /// The worker that is this step's number 0: small steps without a barrier between them run side by side.
    pub first_worker: usize,
    /// Parts with a barrier between them.
    pub phases: usize,
    /// It reads its inputs in later phases than the first too.
    pub reads_later: bool,
    /// All workers meet before it.
    pub barrier: bool,
    /// Bytes of scratch a worker.
    pub scratch: usize,
    /// Scratch of all its workers together: a temporary, so that it has its place in the arena, and steps that run side
    /// by side do not share it.
    pub shared: Option<ValueId>,
}

impl Step {
    /// Who runs it: workers, or a device, whose transfers are too.
    pub fn side(&self) -> Backend {
        match self.kernel {
            StepKernel::Cpu(_) => Backend::Cpu,
            StepKernel::Cuda(_) | StepKernel::Transfer => Backend::Cuda,
        }
    }
}

/// Steps, the nodes that they serve, and where temporaries lie.
pub struct Plan {
    /// Nodes in order, parents before their parts.
    pub nodes: Vec<PlanNode>,
    /// Kernel calls in order.
    pub steps: Vec<Step>,
    /// Which of them run side by side.
    pub rounds: Rounds,
    /// The graph with what lowering and conversion added.
    pub graph: Graph,
    /// Most workers that a step uses; the run needs so many.
    pub threads: usize,
    /// Bytes that shared temporaries and outputs take.
    pub arena_bytes: usize,
    /// Bytes that each worker's own temporaries take: the results of redundant steps.
    pub own_bytes: usize,
    /// Offset of each storage in its arena; `None` for what the caller binds.
    arena: Vec<Option<usize>>,
    copies: redundant::Copies,
    /// Most scratch that a step wants, a worker.
    pub scratch_bytes: usize,
    /// Steps in a row of one backend: one leg, unless nodes were placed.
    pub legs: Vec<Leg>,
}

/// What a plan cannot be built for.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No variant of the backend serves the node.
    #[error("{node}: no variant of {op} on {backend} serves {inst:?}: {reasons}")]
    NoVariant {
        /// The node.
        node: String,
        /// Its op.
        op: Op,
        /// The backend asked for.
        backend: Backend,
        /// The shapes.
        inst: Box<Instance>,
        /// Each variant's reason.
        reasons: String,
    },
    /// Lowerings that call each other without end.
    #[error("{node}: lowering of {op} nests deeper than {limit}")]
    TooDeep {
        /// The node.
        node: String,
        /// Its op.
        op: Op,
        /// The limit.
        limit: usize,
    },
}

impl Plan {
    /// Lowers and schedules `graph` for `threads` workers.
    ///
    /// # Errors
    /// If a node finds no variant.
    pub fn build(graph: Graph, chooser: &dyn Chooser, threads: usize) -> Result<Plan, PlanError> {
        let mut lowered = lower::lower(graph, chooser, threads)?;
        redundant::qualify(&lowered.graph, &mut lowered.steps);
        let segments = schedule::schedule(&mut lowered.graph, &mut lowered.steps, threads);
        let copies = redundant::settle(&lowered.graph, &mut lowered.steps);
        let arena = arena::place(&lowered.graph, &lowered.steps, &segments, &copies.is_own);
        let scratch_bytes = lowered.steps.iter().map(|s| s.scratch).max().unwrap_or(0);
        Ok(Plan {
            threads: lowered.steps.iter().filter(|s| s.published).map(|s| s.threads).max().unwrap_or(1),
            nodes: lowered.nodes,
            rounds: Rounds::of(&lowered.steps),
            legs: sides::legs(&lowered.steps),
            steps: lowered.steps,
            graph: lowered.graph,
            arena_bytes: arena.shared_bytes,
            own_bytes: arena.own_bytes,
            arena: arena.offsets,
            copies,
            scratch_bytes,
        })
    }

    /// Whether any step runs on this backend.
    pub fn runs_on(&self, side: Backend) -> bool {
        self.legs.iter().any(|leg| leg.side == side)
    }

    /// Packed weights that must be there when the plan's steps of this backend are bound.
    pub fn packed(&self, side: Backend) -> Vec<(u32, crate::Packing)> {
        let mut packed: Vec<_> = self
            .steps
            .iter()
            .filter(|s| s.side() == side)
            .flat_map(|s| &s.inputs)
            .filter_map(|&v| match self.graph.storage(v).kind {
                StorageKind::Packed(w, p) => Some((w, p)),
                _ => None,
            })
            .collect();
        packed.sort_unstable();
        packed.dedup();
        packed
    }

    /// The side that wrote a storage's bytes as they are before a step; `None` if none has.
    pub fn written_on(&self, storage: StorageId, before: usize) -> Option<Backend> {
        let writes = |s: &&Step| schedule::writes(s).any(|v| self.graph.value(v).storage == storage);
        self.steps[..before].iter().rev().find(writes).map(Step::side)
    }

    /// Whether a storage lies in each worker's own memory.
    pub fn is_own(&self, storage: StorageId) -> bool {
        self.copies.is_own[storage.0 as usize]
    }

    /// Where the bytes of a storage are to be found: a worker's own copy, if nothing else is written.
    pub fn written_in(&self, storage: StorageId) -> StorageId {
        self.copies.instead.get(&storage).copied().unwrap_or(storage)
    }

    /// Where a temporary or output lies: in the arena, or in each worker's own.
    pub fn arena_offset(&self, storage: StorageId) -> Option<usize> {
        self.arena[storage.0 as usize]
    }

    /// Nodes of the given graph itself, without the parts of lowerings and without conversions.
    pub fn top_nodes(&self) -> impl Iterator<Item = (NodeIx, &PlanNode)> {
        self.nodes.iter().enumerate().filter(|(_, n)| n.parent.is_none() && !n.conversion).map(|(i, n)| (NodeIx(i), n))
    }

    /// The node.
    pub fn node(&self, ix: NodeIx) -> &PlanNode {
        &self.nodes[ix.0]
    }

    /// Number of barriers in a run: where workers meet, in the middle of what is theirs.
    pub fn barriers(&self) -> usize {
        let within = |leg: &Leg| self.steps[leg.steps.clone()].iter().map(|s| usize::from(s.barrier) + s.phases - 1);
        let cpu = self.legs.iter().filter(|leg| leg.side == Backend::Cpu);
        cpu.map(|leg| within(leg).sum::<usize>() - usize::from(self.steps[leg.steps.start].barrier)).sum()
    }
}

/// A node that the planner put in, named after the value's consumer.
fn conversion_node(consumer: &Node, what: &str) -> String {
    format!("{}.{what}", consumer.name)
}
