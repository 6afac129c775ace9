//! Text without end: one sequence, and the prompts that it starts anew from.

use deltascope_model::qwen3next::Logits;
use deltascope_model::sampling::{Sampler, SamplingError, SamplingParams};
use deltascope_model::tokenizer::Utf8Stream;
use deltascope_model::{Engine, EngineError, Model};
use std::sync::Arc;

/// The slot that text is generated in.
pub const SLOT: usize = 0;

/// Tokens after which a text ends and the next prompt begins: greedy text of a small model repeats itself.
const LONGEST: usize = 400;

/// What is begun with where the user says nothing: the demo model has read Rust and Python documentation.
const PROMPTS: [&str; 5] = [
    "The `Iterator` trait",
    "The borrow checker ensures that",
    "Returns the number of elements in the",
    "# Examples\n\n```rust\nlet mut map = HashMap::new();\n",
    "This function reads the entire contents of a file into a string",
];

/// Characters of text kept for the screen.
const KEPT: usize = 6000;

/// The sequence.
pub struct Generator {
    model: Arc<Model>,
    sampler: Sampler,
    stream: Utf8Stream,
    prompt: Arc<str>,
    text: String,
    /// Sampled, not yet run.
    pending: Option<u32>,
    generated: usize,
    next_prompt: usize,
}

/// Why no token came.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The engine's.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The prompt's.
    #[error("the prompt cannot be tokenised: {0}")]
    Tokenizer(#[from] deltascope_model::tokenizer::TokenizerError),
    /// Nothing to start from.
    #[error("the prompt is empty")]
    Empty,
    /// No room for an answer.
    #[error("the prompt has {tokens} tokens; the context has room for {room} and an answer")]
    Long {
        /// Of the prompt.
        tokens: usize,
        /// Tokens that a prompt may have.
        room: usize,
    },
}

impl Generator {
    /// Before any text.
    ///
    /// # Errors
    /// If the sampling parameters make no sense.
    pub fn new(model: Arc<Model>, params: SamplingParams) -> Result<Generator, SamplingError> {
        Ok(Generator {
            model,
            sampler: Sampler::new(params)?,
            stream: Utf8Stream::default(),
            prompt: "".into(),
            text: String::new(),
            pending: None,
            generated: 0,
            next_prompt: 0,
        })
    }

    /// Whether a text is under way.
    pub fn is_started(&self) -> bool {
        self.pending.is_some()
    }

    /// Forgets the text and runs a prompt: the user's, or the next of the built-in ones.
    ///
    /// # Errors
    /// If the prompt is empty or too long, or the engine fails; the old text goes on then, unless the engine failed.
    pub fn start(&mut self, engine: &mut Engine, prompt: Option<&str>) -> Result<(), GenerateError> {
        let prompt: Arc<str> = match prompt {
            Some(text) => text.into(),
            None => {
                self.next_prompt += 1;
                PROMPTS[(self.next_prompt - 1) % PROMPTS.len()].into()
            }
        };
        let mut tokens = self.model.tokenizer.encode(&prompt, true)?;
        if let Some(bos) = self.model.tokenizer.bos().filter(|_| self.model.tokenizer.add_bos()) {
            tokens.insert(0, bos);
        }
        let room = engine.options().n_ctx.saturating_sub(16);
        if tokens.is_empty() {
            return Err(GenerateError::Empty);
        }
        if tokens.len() > room {
            return Err(GenerateError::Long { tokens: tokens.len(), room });
        }
        engine.reset(SLOT)?;
        self.pending = None;
        let logits = engine.prompt(SLOT, &tokens)?;
        self.prompt = prompt;
        self.text.clear();
        self.stream = Utf8Stream::default();
        self.generated = 0;
        self.pending = Some(self.sampler.sample(&logits));
        Ok(())
    }

    /// The token that the next [`Self::step`] runs.
    pub fn pending(&self) -> Option<u32> {
        self.pending
    }

    /// What the runs of [`Self::step`] compute of logits.
    pub fn logits(&self, engine: &Engine) -> Logits {
        engine.logits_for(self.sampler.wants())
    }

    /// Whether the text has come to its end: an end token, its greatest length, or the context's.
    pub fn at_end(&self, engine: &Engine) -> bool {
        self.pending.is_none_or(|t| self.model.tokenizer.is_end(t))
            || self.generated >= LONGEST
            || engine.position(SLOT) + 1 >= engine.options().n_ctx
    }

    /// Runs the pending token and samples the next one.
    ///
    /// # Errors
    /// If the engine fails.
    pub fn step(&mut self, engine: &mut Engine) -> Result<(), GenerateError> {
        let Some(token) = self.pending else { return Err(GenerateError::Empty) };
        let next = self.sampler.choose(engine.next(SLOT, token, self.sampler.wants())?);
        if let Ok(bytes) = self.model.tokenizer.piece(token) {
            self.text.push_str(&self.stream.push(bytes));
        }
        self.generated += 1;
        self.pending = Some(next);
        if self.text.len() > 2 * KEPT {
            let from = self.text.ceil_char_boundary(self.text.len() - KEPT);
            self.text.drain(..from);
        }
        Ok(())
    }

    /// What the text began with.
    pub fn prompt(&self) -> Arc<str> {
        Arc::clone(&self.prompt)
    }

    /// What was generated, or the end of it.
    pub fn text(&self) -> &str {
        &self.text
    }
}
