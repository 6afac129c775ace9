//! A whole profile.

use serde::Serialize;

use crate::{Choice, Machine, ModelId, Placement};

/// The version of the file format that this crate reads and writes.
pub const SCHEMA: u32 = 1;

/// A profile: choices, with the machine, the model and the engine settings that they were measured under.
///
/// Everything but the schema is optional: a preset is a list of choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// The format's version, [`SCHEMA`].
    pub schema: u32,
    /// What a person calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The machine that it was measured on; absent: it is for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
    /// The model that it was measured on; absent: it is for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelId>,
    /// Settings of the whole engine.
    #[serde(skip_serializing_if = "Engine::is_empty")]
    pub engine: Engine,
    /// Nodes that run elsewhere than the rest, in file order: the first that fits holds.
    #[serde(rename = "place", skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Placement>,
    /// The choices in file order, which breaks ties: the later wins.
    #[serde(rename = "choice")]
    pub choices: Vec<Choice>,
}

impl Default for Profile {
    fn default() -> Self {
        let (engine, places, choices) = (Engine::default(), Vec::new(), Vec::new());
        Self { schema: SCHEMA, name: None, machine: None, model: None, engine, places, choices }
    }
}

/// The engine's part of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// The version of Deltascope that measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deltascope: Option<String>,
    /// Worker threads for each phase.
    #[serde(skip_serializing_if = "Threads::is_empty")]
    pub threads: Threads,
    /// Prompt tokens that are computed at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ubatch: Option<u32>,
    /// On a GPU: whether a run that comes again is launched as one CUDA graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphs: Option<bool>,
}

impl Engine {
    /// Whether it sets nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What `self` sets, and below it what `lower` sets.
    pub fn or(self, lower: Self) -> Self {
        Self {
            deltascope: self.deltascope.or(lower.deltascope),
            threads: Threads {
                decode: self.threads.decode.or(lower.threads.decode),
                prefill: self.threads.prefill.or(lower.threads.prefill),
            },
            ubatch: self.ubatch.or(lower.ubatch),
            graphs: self.graphs.or(lower.graphs),
        }
    }
}

/// Worker threads for each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Threads {
    /// Threads while decoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode: Option<u32>,
    /// Threads while reading a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<u32>,
}

impl Threads {
    /// Whether it sets nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
