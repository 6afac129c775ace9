//! Ops, their variants, backends and the worker pool. Knows no model and no profile file.
//!
//! * [`ops`]: what can be computed. One folder an op: its definition, its scalar reference, and its variants.
//! * [`variant`]: what a variant says of itself; [`graph`] strided values and nodes; [`plan`] a graph lowered to kernel
//!   calls with barriers and places; [`exec`] runs a plan on the [`pool`] and stamps what every worker does.
//! * [`check`]: variants against the reference: tests, the tuner's gate and the check of a live swap.
//! * [`math`]: vector arithmetic on F32, compiled for each instruction-set level.
//! * [`quant`]: block formats and int8 arithmetic below the ops.

pub mod buffer;
pub mod check;
pub mod cpu;
pub mod cuda;
pub mod dtype;
pub mod exec;
pub mod graph;
mod layout;
pub mod math;
pub mod op;
pub mod ops;
pub mod packing;
mod params;
pub mod plan;
pub mod pool;
pub mod quant;
pub mod tensor;
pub mod variant;

pub use buffer::Buffer;
pub use dtype::DType;
pub use graph::ValueId;
pub use layout::Layout;
pub use op::Op;
pub use params::{Params, Triangle};
pub use tensor::TensorPtr;
pub use variant::{
    Backend, Body, Call, Cost, Form, Instance, Kernel, Lower, LoweringVariant, Packing, Reason, Spec, Tunable,
    Tunables, Variant,
};
