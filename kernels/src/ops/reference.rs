//! The reference of an op, as a variant among the others.

use super::OpDef;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};

/// Wraps [`OpDef::reference`]: slow, readable, always there.
pub struct Reference {
    /// The op.
    pub def: &'static dyn OpDef,
    /// Made by [`Reference::new`].
    pub spec: Spec,
}

impl Reference {
    /// The variant `reference` of an op.
    pub const fn new(op: crate::Op, def: &'static dyn OpDef) -> Reference {
        Self::named(op, "reference", "scalar code that reads like the definition; one thread", def)
    }
}

impl Reference {
    /// The same code under another name: where the history's naive variant is what the definition says, element by
    /// element on one thread.
    pub const fn named(op: crate::Op, name: &'static str, summary: &'static str, def: &'static dyn OpDef) -> Reference {
        let (revision, backend, tunables, tolerance) = (1, crate::Backend::Cpu, &[], 0.0);
        Reference { def, spec: Spec { op, name, revision, backend, summary, tunables, tolerance } }
    }
}

impl Variant for Reference {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, _inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Reference {
    fn max_threads(&self, _inst: &Instance, _tunables: &Tunables) -> usize {
        1
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        // SAFETY: the contract is the same, and `max_threads` is 1.
        unsafe { self.def.reference(call) }
    }
}
