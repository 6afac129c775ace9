//! Ops, their variants, backends and the worker pool. Knows no model and no profile file.

pub mod dtype;

pub use dtype::DType;
