//! GGUF, tokenizer, Qwen3-Next's graph, plan, state and engine.

pub mod chat;
pub mod config;
pub mod gguf;
pub mod sampling;
pub mod tokenizer;
pub mod weights;
