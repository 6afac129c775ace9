//! A graph of ops over strided tensor views: written once by the model, lowered and scheduled by [`crate::plan`].
//!
//! A *storage* is a stretch of memory: a weight, an input, a state that lives on between runs, or a temporary. A
//! *value* is a strided view of a storage. Nodes run in the order in which they were added; what may run side by side
//! follows from the bytes that they read and write.

mod builder;

pub use builder::GraphBuilder;

use crate::{Layout, Op, Params};

/// Index of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StorageId(pub u32);

/// Index of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

/// What a storage is bound to. The numbers are the owner's: the model says which weight is number 17.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageKind {
    /// Read-only for the life of the model.
    Weight(u32),
    /// Written by the caller before each run.
    Input(u32),
    /// Lives on between runs.
    State(u32),
    /// Lives within one run.
    Temp,
    /// Read by the caller after a run.
    Output(u32),
    /// A weight in a packed layout; the planner adds these.
    Packed(u32, crate::Packing),
}

/// A stretch of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// What it is bound to.
    pub kind: StorageKind,
    /// Its size.
    pub bytes: usize,
}

/// A strided view of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// The memory.
    pub storage: StorageId,
    /// Bytes from its start.
    pub offset: usize,
    /// Shape and strides.
    pub layout: Layout,
}

/// One op in the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Stable id that says where it is: `blk.7.delta_net.scale_q`.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Its constants.
    pub params: Params,
    /// What it reads (and, for the op's state inputs, writes).
    pub inputs: Vec<ValueId>,
    /// What it writes.
    pub outputs: Vec<ValueId>,
}

/// Storages, values and nodes.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Memory.
    pub storages: Vec<Storage>,
    /// Views.
    pub values: Vec<Value>,
    /// Ops in order.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// The view.
    pub fn value(&self, v: ValueId) -> &Value {
        &self.values[v.0 as usize]
    }

    /// Shape and strides of a view.
    pub fn layout(&self, v: ValueId) -> Layout {
        self.value(v).layout
    }

    /// The memory of a view.
    pub fn storage(&self, v: ValueId) -> &Storage {
        &self.storages[self.value(v).storage.0 as usize]
    }

    /// The value that a storage was bound with, which shows all of it.
    ///
    /// # Panics
    /// If the storage is none of this graph's.
    pub fn whole(&self, storage: StorageId) -> ValueId {
        let at = self.values.iter().position(|v| v.storage == storage);
        ValueId(at.expect("a storage is bound with a value") as u32)
    }

    /// The shapes and constants of a node.
    pub fn instance(&self, node: &Node) -> crate::Instance {
        crate::Instance {
            op: node.op,
            params: node.params,
            inputs: node.inputs.iter().map(|&v| self.layout(v)).collect(),
            outputs: node.outputs.iter().map(|&v| self.layout(v)).collect(),
        }
    }

    /// A builder that adds to this graph's nodes.
    pub fn builder(&mut self) -> GraphBuilder<'_> {
        GraphBuilder::new(self)
    }
}
