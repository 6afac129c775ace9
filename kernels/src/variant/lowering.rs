//! A lowering as its parts: all of them are this one struct.

use super::{Body, Instance, Lower, Reason, Spec, Variant};

/// A variant that becomes a graph, on every backend.
pub struct LoweringVariant {
    /// What it says of itself.
    pub spec: Spec,
    /// See [`Variant::supports`]; [`always`] where its parts take what the op does.
    pub supports: fn(&Instance) -> Result<(), Reason>,
    /// Adds the graph.
    pub lower: Lower,
}

/// Serves every instance of the op.
///
/// # Errors
/// None.
pub fn always(_inst: &Instance) -> Result<(), Reason> {
    Ok(())
}

impl Variant for LoweringVariant {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        (self.supports)(inst)
    }

    fn body(&self) -> Body<'_> {
        Body::Lowering(self.lower)
    }
}
