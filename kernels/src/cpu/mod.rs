//! The CPU at hand.

pub mod isa;
mod memory;

pub use isa::Isa;
pub use memory::available_memory;
