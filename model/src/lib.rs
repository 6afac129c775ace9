//! GGUF, tokenizer, Qwen3-Next's graph, plan, state and engine.
