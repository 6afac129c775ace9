//! The CPU at hand.

pub mod isa;

pub use isa::Isa;
