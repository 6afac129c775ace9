//! The vocabulary as a file holds it, checked.

use std::collections::HashMap;

use super::TokenizerError;
use crate::gguf::Metadata;

const MAX_TOKENS: usize = 1 << 24;

/// What a token is for, as GGUF numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenKind {
    fn from_id(id: i32) -> Option<TokenKind> {
        Some(match id {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => return None,
        })
    }
}

/// Tokens and merges, each of which is known to make sense.
pub(super) struct Vocabulary<'a> {
    pub tokens: &'a [String],
    pub ids: HashMap<&'a str, u32>,
    pub kinds: Vec<TokenKind>,
    pub merges: Vec<(String, String)>,
    /// Merges of or into what is no token.
    pub useless_merges: usize,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(metadata: &'a Metadata) -> Result<Vocabulary<'a>, TokenizerError> {
        let model = metadata.get_str("tokenizer.ggml.model")?;
        if model != "gpt2" {
            return Err(TokenizerError::Model { found: model.to_owned() });
        }
        let pre = metadata.get_str("tokenizer.ggml.pre")?;
        if pre != "qwen2" {
            return Err(TokenizerError::PreTokenizer { found: pre.to_owned() });
        }

        let tokens: &[String] = metadata.get("tokenizer.ggml.tokens")?;
        if !(1..=MAX_TOKENS).contains(&tokens.len()) {
            return Err(TokenizerError::Size { found: tokens.len(), max: MAX_TOKENS });
        }
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0u32..).zip(tokens) {
            if let Some(first) = ids.insert(token.as_str(), id) {
                return Err(TokenizerError::Duplicate { first, second: id, token: token.clone() });
            }
        }
        let kinds = kinds(metadata, tokens.len())?;
        let list: &[String] = metadata.get("tokenizer.ggml.merges")?;
        let merges = merges(list, &ids)?;
        let useless_merges = list.len() - merges.len();
        Ok(Vocabulary { tokens, ids, kinds, merges, useless_merges })
    }

    /// Id and text of the tokens that `wanted` says, less the empty ones, which would be found everywhere.
    pub(super) fn of_kind(&self, wanted: impl Fn(TokenKind) -> bool) -> impl Iterator<Item = (u32, &'a str)> {
        let kinds = self.kinds.iter().zip(self.tokens);
        (0..)
            .zip(kinds)
            .filter(move |(_, (kind, token))| wanted(**kind) && !token.is_empty())
            .map(|(i, (_, t))| (i, &**t))
    }
}

fn kinds(metadata: &Metadata, tokens: usize) -> Result<Vec<TokenKind>, TokenizerError> {
    let Some(types) = metadata.find::<Vec<i32>>("tokenizer.ggml.token_type")? else {
        return Ok(vec![TokenKind::Normal; tokens]);
    };
    if types.len() != tokens {
        return Err(TokenizerError::TypeCount { found: types.len(), tokens });
    }
    let kind = |(id, found): (u32, i32)| TokenKind::from_id(found).ok_or(TokenizerError::Type { id, found });
    (0..).zip(types).map(kind).collect()
}

/// The merges of tokens into tokens. Others can never be applied; vocabularies that were cut down still list them.
fn merges(list: &[String], ids: &HashMap<&str, u32>) -> Result<Vec<(String, String)>, TokenizerError> {
    let mut merges = Vec::with_capacity(list.len());
    let mut joined = String::new();
    for (index, merge) in list.iter().enumerate() {
        let parts = merge.split_once(' ').filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '));
        let Some((a, b)) = parts else {
            return Err(TokenizerError::Merge { index, merge: merge.clone() });
        };
        joined.clear();
        joined.push_str(a);
        joined.push_str(b);
        if [a, b, &joined].into_iter().all(|token| ids.contains_key(token)) {
            merges.push((a.to_owned(), b.to_owned()));
        }
    }
    Ok(merges)
}
