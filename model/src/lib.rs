//! Qwen3-Next: the file, the graph, the states and the engine that runs it.
//!
//! [`gguf`] → [`config`] and [`weights`] → [`model`]; [`qwen3next`] writes the model as a graph; [`engine`] runs it under
//! the choices of a stack of profiles ([`choice`]), keeping sequences' [`state`], packed weights ([`store`])
//! and weights on a GPU ([`device_weights`]);
//! [`profiling`] turns what the workers recorded into tables.

pub mod chat;
pub mod choice;
pub mod config;
pub mod device_weights;
pub mod engine;
pub mod gguf;
pub mod model;
pub mod profiling;
pub mod qwen3next;
pub mod sampling;
pub mod state;
pub mod store;
pub mod tokenizer;
pub mod weights;

pub use engine::{Batch, Engine, EngineError, Options, Place};
pub use model::{LoadError, Model};
