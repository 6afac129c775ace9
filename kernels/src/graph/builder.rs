//! Adding values, views and nodes.

use super::{Graph, Node, Storage, StorageId, StorageKind, Value, ValueId};
use crate::{Layout, Op, Params, Tunables, ops};

/// Adds nodes to a graph under a scope of names.
///
/// # Panics
/// Its methods panic where the code that builds the graph is wrong (a view outside its storage, an op with the wrong
/// number of inputs). Shapes that come from files are checked before a graph is built.
pub struct GraphBuilder<'g> {
    graph: &'g mut Graph,
    nodes: Vec<Node>,
    scope: String,
    /// Lowerings keep their nodes apart from the graph's.
    detached: bool,
    tunables: Tunables,
}

impl<'g> GraphBuilder<'g> {
    pub(super) fn new(graph: &'g mut Graph) -> Self {
        GraphBuilder {
            graph,
            nodes: Vec::new(),
            scope: String::new(),
            detached: false,
            tunables: Tunables::defaults(&[]),
        }
    }

    /// A lowering's builder, whose nodes are handed back by [`Self::into_nodes`] instead of joining the graph.
    pub(crate) fn detached(graph: &'g mut Graph, scope: &str, tunables: Tunables) -> Self {
        GraphBuilder { graph, nodes: Vec::new(), scope: scope.to_owned(), detached: true, tunables }
    }

    /// Values of the tunables of the lowering that builds, in the order of its spec; none outside a lowering.
    pub fn tunables(&self) -> &Tunables {
        &self.tunables
    }

    pub(crate) fn into_nodes(mut self) -> Vec<Node> {
        std::mem::take(&mut self.nodes)
    }

    /// Runs `f` with `name.` before the names of its nodes.
    pub fn scoped<R>(&mut self, name: &str, f: impl FnOnce(&mut Self) -> R) -> R {
        let outer = self.scope.len();
        if !self.scope.is_empty() {
            self.scope.push('.');
        }
        self.scope.push_str(name);
        let r = f(self);
        self.scope.truncate(outer);
        r
    }

    /// Shape and strides of a value.
    pub fn layout(&self, v: ValueId) -> Layout {
        self.graph.layout(v)
    }

    /// `ne` of a value.
    pub fn ne(&self, v: ValueId) -> [usize; 4] {
        self.graph.layout(v).ne
    }

    fn storage(&mut self, kind: StorageKind, bytes: usize) -> StorageId {
        self.graph.storages.push(Storage { kind, bytes });
        StorageId(self.graph.storages.len() as u32 - 1)
    }

    fn push(&mut self, value: Value) -> ValueId {
        assert!(
            value.offset + value.layout.span() <= self.graph.storages[value.storage.0 as usize].bytes,
            "view {:?} at {} leaves its storage of {} bytes ({})",
            value.layout,
            value.offset,
            self.graph.storages[value.storage.0 as usize].bytes,
            self.scope,
        );
        self.graph.values.push(value);
        ValueId(self.graph.values.len() as u32 - 1)
    }

    /// A new storage of this kind, seen whole.
    pub fn bind(&mut self, kind: StorageKind, layout: Layout) -> ValueId {
        let storage = self.storage(kind, layout.span());
        self.push(Value { storage, offset: 0, layout })
    }

    /// A new temporary.
    pub fn temp(&mut self, layout: Layout) -> ValueId {
        self.bind(StorageKind::Temp, layout)
    }

    /// A view of a value's storage: `offset` bytes from the value's start.
    pub fn view(&mut self, of: ValueId, offset: usize, layout: Layout) -> ValueId {
        let base = *self.graph.value(of);
        self.push(Value { storage: base.storage, offset: base.offset + offset, layout })
    }

    /// The same elements with other dimensions; only for contiguous values.
    pub fn reshape(&mut self, of: ValueId, ne: [usize; 4]) -> ValueId {
        let l = self.layout(of);
        assert!(l.is_contiguous(), "reshape of a strided view {l:?} ({})", self.scope);
        assert_eq!(l.elements(), ne.iter().product::<usize>(), "reshape {l:?} to {ne:?} ({})", self.scope);
        self.view(of, 0, Layout::contiguous(l.dtype, ne))
    }

    /// Dimension `i` of the view is dimension `axes[i]` of the value.
    pub fn permute(&mut self, of: ValueId, axes: [usize; 4]) -> ValueId {
        let l = self.layout(of).permuted(axes);
        self.view(of, 0, l)
    }

    /// Dimensions 0 and 1 changed over.
    pub fn transpose(&mut self, of: ValueId) -> ValueId {
        self.permute(of, [1, 0, 2, 3])
    }

    /// Elements `start .. start + len` of dimension `dim`.
    pub fn slice(&mut self, of: ValueId, dim: usize, start: usize, len: usize) -> ValueId {
        let mut l = self.layout(of);
        assert!(start + len <= l.ne[dim], "slice {start}+{len} of {l:?} along {dim} ({})", self.scope);
        let mut at = [0; 4];
        at[dim] = start;
        let offset = l.offset(at);
        l.ne[dim] = len;
        self.view(of, offset, l)
    }

    /// Splits dimension `dim` of `inner * outer` elements in two, `inner` staying in place; the last dimension must be 1.
    pub fn split(&mut self, of: ValueId, dim: usize, inner: usize) -> ValueId {
        let l = self.layout(of);
        assert!(l.ne[3] == 1 && l.ne[dim].is_multiple_of(inner), "split {l:?} along {dim} by {inner} ({})", self.scope);
        let mut s = l;
        for d in (dim + 2..4).rev() {
            s.ne[d] = l.ne[d - 1];
            s.nb[d] = l.nb[d - 1];
        }
        s.ne[dim] = inner;
        s.ne[dim + 1] = l.ne[dim] / inner;
        s.nb[dim + 1] = l.nb[dim] * inner / l.dtype.block_len().max(1);
        if dim > 0 {
            s.nb[dim + 1] = l.nb[dim] * inner;
        }
        self.view(of, 0, s)
    }

    /// Adds a node whose outputs are new temporaries.
    pub fn node(&mut self, name: &str, op: Op, params: Params, inputs: &[ValueId]) -> Vec<ValueId> {
        let layouts: Vec<Layout> = inputs.iter().map(|&v| self.layout(v)).collect();
        let outputs = match ops::def(op).infer(&params, &layouts) {
            Ok(o) => o,
            Err(e) => panic!("{}.{name}: {op}: {e}", self.scope),
        };
        let outputs: Vec<ValueId> = outputs.into_iter().map(|l| self.temp(l)).collect();
        self.node_into(name, op, params, inputs, &outputs);
        outputs
    }

    /// Adds a node with one output, a new temporary.
    pub fn one(&mut self, name: &str, op: Op, params: Params, inputs: &[ValueId]) -> ValueId {
        let out = self.node(name, op, params, inputs);
        assert_eq!(out.len(), 1, "{op} has {} outputs", out.len());
        out[0]
    }

    /// Adds a node that writes into given values.
    pub fn node_into(&mut self, name: &str, op: Op, params: Params, inputs: &[ValueId], outputs: &[ValueId]) {
        let full = match (self.scope.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (false, true) => self.scope.clone(),
            (false, false) => format!("{}.{name}", self.scope),
        };
        let node = Node { name: full, op, params, inputs: inputs.to_vec(), outputs: outputs.to_vec() };
        let inst = self.graph.instance(&node);
        if let Err(e) = ops::def(op).check(&inst) {
            panic!("{}: {op}: {e}; {inst:?}", node.name);
        }
        if self.detached {
            self.nodes.push(node);
        } else {
            self.graph.nodes.push(node);
        }
    }
}
