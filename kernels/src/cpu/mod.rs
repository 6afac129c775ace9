//! The CPU at hand.

mod affinity;
pub mod bandwidth;
pub mod isa;
mod memory;
pub mod rates;
mod topology;

pub use isa::Isa;
pub use memory::available_memory;
pub use topology::{Cache, Node, Topology};
