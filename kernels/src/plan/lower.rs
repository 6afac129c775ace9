//! From nodes to steps: choosing variants, opening lowerings, inserting conversions.

use super::sides::{self, Sides};
use super::{Chooser, NodeIx, Placed, PlanError, PlanNode, Step, StepKernel, conversion_node};
use crate::graph::{Graph, GraphBuilder, Node, Storage, StorageId, StorageKind, Value, ValueId};
use crate::variant::{Body, Form, Instance, Packing, Reason, Tunables, Variant};
use crate::{Backend, Cost, Layout, Op, Params, ops};
use std::collections::HashMap;

/// Deeper nesting than any sensible lowering has.
const MAX_DEPTH: usize = 8;

pub(super) struct Lowered {
    pub graph: Graph,
    pub nodes: Vec<PlanNode>,
    pub steps: Vec<Step>,
}

pub(super) fn lower(mut graph: Graph, chooser: &dyn Chooser, threads: usize) -> Result<Lowered, PlanError> {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut l = Lowerer {
        out: Lowered { graph, nodes: Vec::new(), steps: Vec::new() },
        chooser,
        threads,
        converted: HashMap::new(),
        packed: HashMap::new(),
        sides: Sides::default(),
    };
    for node in nodes {
        l.top(node)?;
    }
    for storage in l.sides.missing_outputs(chooser.backend(), &l.out.graph) {
        let name = format!("output.to_{}", chooser.backend());
        l.transfer(name, None, chooser.backend(), storage, 0)?;
    }
    Ok(l.out)
}

/// A view by what it shows: values that differ only in dimensions of one are the same.
#[derive(PartialEq, Eq, Hash)]
struct ViewKey {
    backend: Backend,
    storage: StorageId,
    offset: usize,
    dims: Vec<(usize, usize)>,
    form: Form,
}

struct Lowerer<'a> {
    out: Lowered,
    chooser: &'a dyn Chooser,
    threads: usize,
    /// Conversions made so far whose source has not been written since.
    converted: HashMap<ViewKey, ValueId>,
    packed: HashMap<(u32, Packing), StorageId>,
    sides: Sides,
}

/// What a node is to the planner.
#[derive(Clone, Copy)]
struct Rank {
    backend: Backend,
    parent: Option<NodeIx>,
    conversion: bool,
    /// Bytes that it reads may be on the other side: a node of the graph, or a part of one that runs on both.
    fetches: bool,
    depth: usize,
}

impl Lowerer<'_> {
    /// A node of the graph itself: the only ones that are placed.
    fn top(&mut self, node: Node) -> Result<(), PlanError> {
        let main = self.chooser.backend();
        let placed = self.chooser.place(&node.name).filter(|p| p.backend != main);
        let is_state = |v: &ValueId| matches!(self.out.graph.storage(*v).kind, StorageKind::State(_));
        let at_states = node.inputs.iter().chain(&node.outputs).any(is_state);
        let rank = Rank { backend: main, parent: None, conversion: false, fetches: true, depth: 0 };
        let Some(Placed { backend, origin }) = placed else { return self.node(node, rank) };
        let ix = self.out.nodes.len();
        let why = if at_states {
            self.node(node, rank)?;
            format!("{origin}: not on {backend}, its states are on {main}")
        } else {
            self.node(node, Rank { backend, ..rank })?;
            format!("on {backend}: {origin}")
        };
        let note = &mut self.out.nodes[ix].note;
        *note = Some(note.take().map_or(why.clone(), |chosen| format!("{chosen}; {why}")));
        Ok(())
    }

    fn node(&mut self, node: Node, rank: Rank) -> Result<(), PlanError> {
        let Rank { backend, parent, conversion, fetches, depth } = rank;
        if depth > MAX_DEPTH {
            return Err(PlanError::TooDeep { node: node.name, op: node.op, limit: MAX_DEPTH });
        }
        let inst = self.out.graph.instance(&node);
        let (variant, tunables, note) = self.pick(&node, &inst, backend)?;
        let ix = NodeIx(self.out.nodes.len());
        let first = self.out.steps.len();
        self.out.nodes.push(PlanNode {
            name: node.name.clone(),
            backend,
            cost: ops::def(node.op).cost(&inst),
            inst: inst.clone(),
            variant,
            tunables: tunables.clone(),
            note,
            parent,
            steps: first..first,
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
            conversion,
        });
        if fetches {
            // Before its first part, so that its parts are not torn apart.
            for storage in self.sides.missing(backend, &self.out.graph, &node.inputs, &node.outputs) {
                let name = conversion_node(&node, &format!("to_{backend}"));
                self.transfer(name, Some(ix), backend, storage, depth + 1)?;
            }
        }
        match variant.body() {
            Body::Kernel(kernel) => self.kernel(&node, ix, StepKernel::Cpu(kernel), &inst, tunables, depth)?,
            Body::Cuda(kernel) => self.kernel(&node, ix, StepKernel::Cuda(kernel), &inst, tunables, depth)?,
            Body::Transfer => self.kernel(&node, ix, StepKernel::Transfer, &inst, tunables, depth)?,
            Body::Lowering(lower) => {
                let mut b = GraphBuilder::detached(&mut self.out.graph, &node.name, tunables);
                lower(&inst, &node.inputs, &node.outputs, &mut b);
                let parts = b.into_nodes();
                let below = Rank { backend, parent: Some(ix), conversion: false, fetches: false, depth: depth + 1 };
                if parent.is_none() && backend != self.chooser.backend() {
                    self.on_both(parts, |part| ops::def(node.op).stays(part), &node.name, below)?;
                } else {
                    for part in parts {
                        self.node(part, below)?;
                    }
                }
            }
        }
        self.out.nodes[ix.0].steps.end = self.out.steps.len();
        Ok(())
    }

    /// The parts of a node that is placed elsewhere than the model, of which some stay with the model.
    fn on_both(
        &mut self,
        parts: Vec<Node>,
        stays: impl Fn(&str) -> bool,
        whole: &str,
        below: Rank,
    ) -> Result<(), PlanError> {
        let main = self.chooser.backend();
        let home = |part: &Node| {
            let name = part.name.strip_prefix(whole).and_then(|n| n.strip_prefix('.')).unwrap_or(&part.name);
            // A placement that names the part itself has the last word.
            stays(name) && self.chooser.place(&part.name).is_none_or(|p| p.backend == main)
        };
        let placed: Vec<(Backend, Node)> =
            parts.into_iter().map(|part| (if home(&part) { main } else { below.backend }, part)).collect();
        let split = placed.iter().any(|(backend, _)| *backend == main);
        for (backend, part) in sides::device_first(&self.out.graph, placed) {
            let at = self.out.nodes.len();
            self.node(part, Rank { backend, fetches: split, ..below })?;
            if backend == main {
                self.out.nodes[at].note = Some(format!("stays on {main}, beside the parts that were placed"));
            }
        }
        Ok(())
    }

    fn pick(
        &self,
        node: &Node,
        inst: &Instance,
        backend: Backend,
    ) -> Result<(&'static dyn Variant, Tunables, Option<String>), PlanError> {
        let chosen = self.chooser.choose_on(backend, &node.name, inst);
        let mut note = None;
        let mut variant = None;
        if let Some(c) = &chosen {
            match &c.variant {
                None => {}
                Some(name) => match ops::variant(node.op, backend, name) {
                    None => note = Some(format!("{}: no variant `{name}`", c.origin)),
                    Some(v) if c.revision.is_some_and(|r| r != v.spec().revision) => {
                        note = Some(format!(
                            "{}: `{name}` was tuned at revision {}, this is {}",
                            c.origin,
                            c.revision.unwrap_or_default(),
                            v.spec().revision
                        ));
                    }
                    Some(v) => match self.legal(v, node, inst) {
                        Ok(()) => {
                            variant = Some(v);
                            note = Some(c.origin.clone());
                        }
                        Err(why) => note = Some(format!("{}: `{name}` cannot: {why}", c.origin)),
                    },
                },
            }
        }
        let variant = match variant {
            Some(v) => v,
            None => self.default(node, inst, backend)?,
        };
        let spec = variant.spec();
        let mut tunables = Tunables::defaults(spec.tunables);
        if let Some(c) = chosen.filter(|c| c.variant.as_deref().is_none_or(|n| n == spec.name)) {
            for (name, value) in &c.tunables {
                if let Err(e) = tunables.set(spec.tunables, name, *value) {
                    note = Some(format!("{}: {e}", c.origin));
                }
            }
        }
        Ok((variant, tunables, note))
    }

    /// The first legal variant that is preferred for the instance, or else the first legal one.
    fn default(&self, node: &Node, inst: &Instance, backend: Backend) -> Result<&'static dyn Variant, PlanError> {
        let mut reasons = String::new();
        let mut legal = None;
        for &v in ops::variants(node.op) {
            if !v.serves(backend) {
                continue;
            }
            match self.legal(v, node, inst) {
                Ok(()) if v.preferred(inst) => return Ok(v),
                Ok(()) => legal = legal.or(Some(v)),
                Err(why) => reasons += &format!("{}: {why}; ", v.spec().name),
            }
        }
        legal.ok_or_else(|| PlanError::NoVariant {
            node: node.name.clone(),
            op: node.op,
            backend,
            inst: Box::new(inst.clone()),
            reasons,
        })
    }

    /// Whether a variant may serve a node: its own word, and that a weight to be packed is whole.
    fn legal(&self, v: &dyn Variant, node: &Node, inst: &Instance) -> Result<(), Reason> {
        v.supports(inst)?;
        let body = v.body();
        for (i, &value) in node.inputs.iter().enumerate() {
            if matches!(body.form(inst, i), Form::Packed(_)) {
                let val = self.out.graph.value(value);
                let storage = self.out.graph.storage(value);
                let whole = matches!(storage.kind, StorageKind::Weight(_))
                    && val.offset == 0
                    && val.layout.span() == storage.bytes
                    && val.layout.is_contiguous();
                Reason::unless(whole, || format!("input {i} is no whole weight, so it cannot be packed"))?;
            }
        }
        Ok(())
    }

    fn kernel(
        &mut self,
        node: &Node,
        ix: NodeIx,
        kernel: StepKernel,
        inst: &Instance,
        tunables: Tunables,
        depth: usize,
    ) -> Result<(), PlanError> {
        let updates = ops::def(node.op).updates();
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (i, &v) in node.inputs.iter().enumerate() {
            let form = if updates.contains(&i) { Form::AsIs } else { kernel.form(inst, i) };
            inputs.push(self.convert(node, ix, v, form, depth)?);
        }
        let inst = Instance { inputs: inputs.iter().map(|&v| self.out.graph.layout(v)).collect(), ..inst.clone() };
        let shared = match kernel.shared_scratch(&inst, &tunables) {
            0 => None,
            bytes => Some(self.out.graph.builder().temp(Layout::i32([bytes.div_ceil(4), 1, 1, 1]))),
        };
        let (useful, phases, scratch, little, divisible, at_first) = match kernel {
            StepKernel::Cpu(k) => (
                k.max_threads(&inst, &tunables).max(1),
                k.phases(&inst, &tunables).max(1),
                k.scratch(&inst, &tunables),
                k.redundant(&inst),
                k.divisible(&inst),
                k.reads_at_first(),
            ),
            StepKernel::Cuda(_) | StepKernel::Transfer => (1, 1, 0, false, false, true),
        };
        let on_workers = matches!(kernel, StepKernel::Cpu(_)) && self.threads > 1;
        let threads = useful.min(tunables.threads.unwrap_or(self.threads)).min(self.threads).max(1);
        self.out.steps.push(Step {
            node: ix,
            kernel,
            threads,
            pieces: pieces(ops::def(node.op).cost(&inst), threads, useful, divisible),
            first_worker: 0,
            redundant: on_workers && tunables.redundant.unwrap_or(little),
            own_outputs: Vec::new(),
            published: true,
            phases,
            reads_later: phases > 1 && !at_first,
            barrier: false,
            scratch,
            shared,
            inst,
            tunables,
            inputs,
            outputs: node.outputs.clone(),
        });
        // What was converted from memory that this step writes is out of date.
        let updated = updates.iter().filter_map(|&i| node.inputs.get(i));
        let written: Vec<StorageId> =
            node.outputs.iter().chain(updated).map(|&v| self.out.graph.value(v).storage).collect();
        self.converted.retain(|k, _| !written.contains(&k.storage));
        self.sides.wrote(self.out.nodes[ix.0].backend, &self.out.graph, &written);
        Ok(())
    }

    /// Brings a storage to a side, by a node of the device.
    fn transfer(
        &mut self,
        name: String,
        parent: Option<NodeIx>,
        to: Backend,
        storage: StorageId,
        depth: usize,
    ) -> Result<(), PlanError> {
        let whole = self.out.graph.whole(storage);
        let params = Params::Transfer { to };
        let node = Node { name, op: Op::Transfer, params, inputs: vec![whole], outputs: Vec::new() };
        self.node(node, Rank { backend: Backend::Cuda, parent, conversion: true, fetches: false, depth })?;
        self.sides.brought(to, storage);
        Ok(())
    }

    fn convert(&mut self, node: &Node, ix: NodeIx, v: ValueId, form: Form, depth: usize) -> Result<ValueId, PlanError> {
        let value = *self.out.graph.value(v);
        let backend = self.out.nodes[ix.0].backend;
        let key = ViewKey {
            backend,
            storage: value.storage,
            offset: value.offset,
            dims: (0..4)
                .filter(|&d| value.layout.ne[d] != 1)
                .map(|d| (value.layout.ne[d], value.layout.nb[d]))
                .collect(),
            form,
        };
        let (name, op, params) = match form {
            Form::AsIs => return Ok(v),
            Form::Contiguous if value.layout.is_contiguous() => return Ok(v),
            Form::Packed(packing) => return Ok(self.pack(v, value, packing)),
            Form::Contiguous => ("cont", Op::Cont, Params::None),
            Form::Quantised(to) => ("quantize", Op::Quantize, Params::Quantize { to }),
        };
        if let Some(&done) = self.converted.get(&key) {
            let have = self.out.graph.layout(done);
            let want = Layout::contiguous(have.dtype, value.layout.ne);
            return Ok(if have == want { done } else { self.out.graph.builder().view(done, 0, want) });
        }
        let dtype = if let Form::Quantised(to) = form { to } else { value.layout.dtype };
        let out = self.out.graph.builder().temp(Layout::contiguous(dtype, value.layout.ne));
        let conversion = Node { name: conversion_node(node, name), op, params, inputs: vec![v], outputs: vec![out] };
        let rank = Rank { backend, parent: Some(ix), conversion: true, fetches: false, depth: depth + 1 };
        self.node(conversion, rank)?;
        self.converted.insert(key, out);
        Ok(out)
    }

    fn pack(&mut self, v: ValueId, value: Value, packing: Packing) -> ValueId {
        let StorageKind::Weight(w) = self.out.graph.storage(v).kind else {
            unreachable!("`legal` lets only whole weights be packed");
        };
        let storage = *self.packed.entry((w, packing)).or_insert_with(|| {
            self.out.graph.storages.push(Storage { kind: StorageKind::Packed(w, packing), bytes: value.layout.span() });
            StorageId(self.out.graph.storages.len() as u32 - 1)
        });
        self.out.graph.values.push(Value { storage, ..value });
        ValueId(self.out.graph.values.len() as u32 - 1)
    }
}

/// How many pieces each of `threads` workers cuts its part into. Pieces let workers that are done early take from those
/// that are slow, or have lost their core in the middle. Where each byte is used many times, a call may first bring them
/// into an order that suits it, and a piece does that again: unless the kernel says that it is divisible, those are few.
fn pieces(cost: Cost, threads: usize, useful: usize, divisible: bool) -> usize {
    // What a middling core reads in a microsecond; nothing depends on it but the size of pieces.
    const BYTES: f64 = 10e3;
    const PIECE_US: f64 = 8.0;
    const MOST: usize = 32;
    const STREAMS: f64 = 16.0;
    /// What a fast core computes in a microsecond.
    const FLOPS: f64 = 400e3;
    const LONG_PIECE_US: f64 = 100.0;
    const LONGEST_PIECE_US: f64 = 800.0;
    const FEW: usize = 4;
    let (part_us, piece_us, most) = if cost.flops <= STREAMS * cost.bytes {
        (cost.bytes / BYTES, PIECE_US, MOST)
    } else if divisible {
        (cost.flops / FLOPS, LONG_PIECE_US, MOST)
    } else {
        (cost.flops / FLOPS, LONGEST_PIECE_US, FEW)
    };
    ((part_us / threads as f64 / piece_us) as usize).min(useful / threads).clamp(1, most)
}
