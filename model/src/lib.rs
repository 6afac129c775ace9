//! GGUF, tokenizer, Qwen3-Next's graph, plan, state and engine.

pub mod config;
pub mod gguf;
pub mod tokenizer;
pub mod weights;
