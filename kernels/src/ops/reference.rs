//! The reference of an op, as a variant among the others.

use super::OpDef;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};

/// Wraps [`OpDef::reference`]: slow, readable, always there.
pub struct Reference {
    /// The op.
    pub def: &'static dyn OpDef,
    /// Made by [`Reference::spec_of`].
    pub spec: Spec,
}

impl Reference {
    /// The variant `reference` of an op.
    pub const fn new(op: crate::Op, def: &'static dyn OpDef) -> Reference {
        let spec = Spec {
            op,
            name: "reference",
            revision: 1,
            backend: crate::Backend::Cpu,
            summary: "scalar code that reads like the definition; one thread",
            tunables: &[],
            tolerance: 0.0,
        };
        Reference { def, spec }
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
