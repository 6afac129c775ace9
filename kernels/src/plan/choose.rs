//! What the planner asks of whoever chooses.

use crate::Backend;
use crate::variant::Instance;

/// Says where a node runs and which variant serves it.
pub trait Chooser {
    /// The choice for this node, or `None` for the op's default: the first registered variant that supports it.
    fn choose(&self, name: &str, inst: &Instance) -> Option<Chosen>;

    /// As [`Self::choose`], for a node of this backend: what chooses for more than one looks at it.
    fn choose_on(&self, _backend: Backend, name: &str, inst: &Instance) -> Option<Chosen> {
        self.choose(name, inst)
    }

    /// Where nodes run, and where states lie.
    fn backend(&self) -> Backend {
        Backend::Cpu
    }

    /// Where this node of the graph runs with all its parts and conversions; `None`: as the others.
    fn place(&self, _name: &str) -> Option<Placed> {
        None
    }
}

/// A node's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The backend.
    pub backend: Backend,
    /// Who says so, for the screen.
    pub origin: String,
}

/// An answer of a [`Chooser`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// Name of the variant; `None` keeps the default variant and only sets tunables.
    pub variant: Option<String>,
    /// The row is for this revision; another one makes it stale.
    pub revision: Option<u32>,
    /// Tunables by name.
    pub tunables: Vec<(String, i64)>,
    /// Where the answer comes from, for the screen: `profile zen3.toml`.
    pub origin: String,
}

/// Every op's default.
pub struct Defaults;

impl Chooser for Defaults {
    fn choose(&self, _name: &str, _inst: &Instance) -> Option<Chosen> {
        None
    }
}
