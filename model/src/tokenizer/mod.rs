//! Text to tokens and back: the byte-level BPE of Qwen, from the vocabulary in the model's file.

mod byte_level;
mod error;
mod stream;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::utils::SysRegex;

use crate::gguf::Metadata;
use byte_level::{CHAR_OF_BYTE, push_bytes};
pub use error::TokenizerError;
pub use stream::Utf8Stream;
use vocabulary::{TokenKind, Vocabulary};

/// How `qwen2` splits text into words, which are encoded one by one: digits stand alone.
const WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Names of the tokens that end a turn or a document, whatever the file's keys say.
const END_NAMES: [&str; 2] = ["<|im_end|>", "<|endoftext|>"];

/// A tokenizer. Encoding takes `&self`, and may be done by several threads.
pub struct Tokenizer {
    bpe: BPE,
    words: SysRegex,
    /// Bytes that have a token of their own; the others cannot be encoded.
    has_byte: [bool; 256],
    /// Tokens that are always taken whole.
    user_defined: Literals,
    /// These and the control tokens.
    special: Literals,
    pieces: Pieces,
    control: Vec<bool>,
    useless_merges: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    end: BTreeSet<u32>,
}

impl Tokenizer {
    /// Builds the tokenizer from a file's metadata.
    pub fn from_metadata(metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
        let vocabulary = Vocabulary::read(metadata)?;
        let n = vocabulary.tokens.len();
        let special_id = |key: &'static str| match metadata.find::<u32>(key)? {
            Some(id) if id as usize >= n => Err(TokenizerError::SpecialId { key, id, tokens: n }),
            id => Ok(id),
        };
        let eos = special_id("tokenizer.ggml.eos_token_id")?;
        let eot = special_id("tokenizer.ggml.eot_token_id")?;
        let bos = special_id("tokenizer.ggml.bos_token_id")?;
        let named = END_NAMES.iter().filter_map(|name| vocabulary.ids.get(name).copied());

        let index = |e: &dyn fmt::Display| TokenizerError::Index(e.to_string());
        let has_byte = CHAR_OF_BYTE.map(|c| vocabulary.ids.contains_key(&*c.encode_utf8(&mut [0; 4])));
        let user_defined = Literals::new(vocabulary.of_kind(|k| k == TokenKind::UserDefined))?;
        let special = Literals::new(vocabulary.of_kind(|k| matches!(k, TokenKind::UserDefined | TokenKind::Control)))?;
        let ids: Vocab = vocabulary.ids.iter().map(|(token, id)| ((*token).to_owned(), *id)).collect();
        Ok(Tokenizer {
            words: SysRegex::new(WORDS).map_err(|e| index(&e))?,
            has_byte,
            user_defined,
            special,
            pieces: Pieces::new(&vocabulary),
            control: vocabulary.kinds.iter().map(|k| *k == TokenKind::Control).collect(),
            useless_merges: vocabulary.useless_merges,
            bos,
            eos,
            add_bos: metadata.find("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
            end: eos.into_iter().chain(eot).chain(named).collect(),
            bpe: BPE::builder().vocab_and_merges(ids, vocabulary.merges).build().map_err(|e| index(&e))?,
        })
    }

    /// Tokens of a text. With `parse_special`, the text of a control token becomes that token, as a rendered chat
    /// wants; without, it is text like any other, as what a user typed must be. Adds no BOS: see [`Tokenizer::bos`].
    pub fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let literals = if parse_special { &self.special } else { &self.user_defined };
        let mut ids = Vec::new();
        let mut word = String::new();
        let mut from = 0;
        for (range, id) in literals.find(text) {
            self.encode_words(&text[from..range.start], &mut word, &mut ids)?;
            ids.push(id);
            from = range.end;
        }
        self.encode_words(&text[from..], &mut word, &mut ids)?;
        Ok(ids)
    }

    fn encode_words(&self, text: &str, word: &mut String, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut done = 0;
        for (start, end) in self.words.find_iter(text) {
            if start != done {
                break;
            }
            word.clear();
            for b in text[start..end].bytes() {
                if !self.has_byte[usize::from(b)] {
                    return Err(TokenizerError::Byte { byte: b });
                }
                word.push(CHAR_OF_BYTE[usize::from(b)]);
            }
            let tokens = self.bpe.tokenize(word).map_err(|e| TokenizerError::Index(e.to_string()))?;
            ids.extend(tokens.into_iter().map(|t| t.id));
            done = end;
        }
        // The pattern matches every text; the engine stops short only where its stack ends, and says so to no one.
        if done == text.len() { Ok(()) } else { Err(TokenizerError::Split { bytes: text.len() - done }) }
    }

    /// Text of tokens, control tokens included. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        let mut bytes = Vec::new();
        for id in ids {
            bytes.extend_from_slice(self.piece(*id)?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Bytes of a token, which may end inside a character: a [`Utf8Stream`] makes text of them.
    pub fn piece(&self, id: u32) -> Result<&[u8], TokenizerError> {
        self.pieces.get(id).ok_or(TokenizerError::Id { id, tokens: self.n_vocab() })
    }

    /// Number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.control.len()
    }

    /// Merges of the file that name something that is no token, and so are never applied. None in a sound vocabulary.
    pub fn useless_merges(&self) -> usize {
        self.useless_merges
    }

    /// True for tokens that steer the model and are no text, as `<|im_start|>`.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.get(id as usize).copied().unwrap_or(false)
    }

    /// True for tokens after which nothing is to be generated.
    pub fn is_end(&self, id: u32) -> bool {
        self.end.contains(&id)
    }

    /// All tokens for which [`Tokenizer::is_end`] is true, in order.
    pub fn end_ids(&self) -> impl Iterator<Item = u32> {
        self.end.iter().copied()
    }

    /// The token that begins a text, if the file names one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that the file names as the end.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// True if a prompt is to begin with [`Tokenizer::bos`].
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.n_vocab())
    }
}

/// Tokens that are found in the text as they are, before it is split into words. The longest wins.
struct Literals {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

impl Literals {
    fn new<'a>(tokens: impl Iterator<Item = (u32, &'a str)>) -> Result<Literals, TokenizerError> {
        let (ids, texts): (Vec<u32>, Vec<&str>) = tokens.unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts)
            .map_err(|e| TokenizerError::Index(e.to_string()))?;
        Ok(Literals { automaton, ids })
    }

    fn find(&self, text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, u32)> {
        self.automaton.find_iter(text).map(|m| (m.range(), self.ids[m.pattern()]))
    }
}

/// Bytes of all tokens, one after another.
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    fn new(vocabulary: &Vocabulary<'_>) -> Pieces {
        let mut pieces = Pieces { bytes: Vec::new(), ends: Vec::with_capacity(vocabulary.tokens.len()) };
        for (token, kind) in vocabulary.tokens.iter().zip(&vocabulary.kinds) {
            match kind {
                TokenKind::Normal | TokenKind::Byte => push_bytes(token, &mut pieces.bytes),
                TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown | TokenKind::Unused => {
                    pieces.bytes.extend_from_slice(token.as_bytes());
                }
            }
            pieces.ends.push(pieces.bytes.len());
        }
        pieces
    }

    fn get(&self, id: u32) -> Option<&[u8]> {
        let end = *self.ends.get(id as usize)?;
        let start = (id as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }
}
