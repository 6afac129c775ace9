//! Vocabularies that cannot be used.

use crate::gguf::MetadataError;

/// Why a file's vocabulary cannot be used, or a text not be encoded with it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TokenizerError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("key `tokenizer.ggml.model` is `{found}`; only byte-level BPE, `gpt2`, is supported")]
    Model { found: String },
    #[error("key `tokenizer.ggml.pre` is `{found}`; only `qwen2` is supported")]
    PreTokenizer { found: String },
    #[error("key `tokenizer.ggml.tokens` holds {found} tokens; 1 to {max} are supported")]
    Size { found: usize, max: usize },
    #[error("key `tokenizer.ggml.tokens`: tokens {first} and {second} are both `{token}`")]
    Duplicate { first: u32, second: u32, token: String },
    #[error("key `tokenizer.ggml.token_type` holds {found} types for {tokens} tokens")]
    TypeCount { found: usize, tokens: usize },
    #[error("key `tokenizer.ggml.token_type`: token {id} is of type {found}; 1 to 6 exist")]
    Type { id: u32, found: i32 },
    #[error("key `tokenizer.ggml.merges`: merge {index}, `{merge}`, is no two tokens with a space between")]
    Merge { index: usize, merge: String },
    #[error("key `{key}` is {id}, and there are {tokens} tokens")]
    SpecialId { key: &'static str, id: u32, tokens: usize },
    #[error("the vocabulary cannot be indexed: {0}")]
    Index(String),
    #[error("the text has byte {byte:#04x}, for which the vocabulary has no token")]
    Byte { byte: u8 },
    #[error("a run of white space of about {bytes} bytes is too long to be split into words")]
    Split { bytes: usize },
    #[error("token {id} does not exist; there are {tokens}")]
    Id { id: u32, tokens: usize },
}
