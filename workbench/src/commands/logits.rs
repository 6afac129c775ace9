//! `logits`: raw logits of a sequence of ids, for holding the engine against other implementations.

use super::engine;
use crate::cli::{EngineArgs, ModelArgs};
use anyhow::Context;
use clap::Args;
use deltascope_model::Batch;
use deltascope_model::qwen3next::Logits;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Of `logits`.
#[derive(Args, Debug)]
pub struct LogitsArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Token ids, little-endian i32.
    #[arg(long, value_name = "FILE")]
    ids: PathBuf,
    /// So many go as one prompt (split by --ubatch), the rest one at a time; all if left out.
    #[arg(long, value_name = "N")]
    prefill: Option<usize>,
    /// Where to write raw f32, a row of the vocabulary for each token.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// A file of ids that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdsError {
    /// Not whole numbers of four bytes.
    #[error("{0} bytes are no whole number of 4-byte ids")]
    Length(usize),
    /// Outside the vocabulary.
    #[error("id {id} at index {index} is outside the vocabulary of {n_vocab}")]
    Id {
        /// Which.
        index: usize,
        /// What it is.
        id: i32,
        /// Size of the vocabulary.
        n_vocab: usize,
    },
    /// Nothing to do.
    #[error("the file is empty")]
    Empty,
}

/// Reads little-endian i32 ids.
///
/// # Errors
/// If the length is wrong or an id is outside the vocabulary.
pub fn parse_ids(bytes: &[u8], n_vocab: usize) -> Result<Vec<u32>, IdsError> {
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(IdsError::Length(bytes.len()));
    }
    if words.is_empty() {
        return Err(IdsError::Empty);
    }
    words
        .iter()
        .enumerate()
        .map(|(index, &w)| {
            let id = i32::from_le_bytes(w);
            u32::try_from(id).ok().filter(|&u| (u as usize) < n_vocab).ok_or(IdsError::Id { index, id, n_vocab })
        })
        .collect()
}

/// Writes the logits.
///
/// # Errors
/// If the ids are bad or do not fit the context.
pub fn run(args: &LogitsArgs) -> anyhow::Result<()> {
    let bytes = std::fs::read(&args.ids).with_context(|| format!("cannot read {}", args.ids.display()))?;
    let mut engine_args = args.engine.clone();
    // The context must hold the ids; the default may be shorter.
    engine_args.ctx = engine_args.ctx.or(Some((bytes.len() / 4).max(1)));
    let (mut engine, _) = engine(&args.model, &engine_args)?;
    let ids = parse_ids(&bytes, engine.model().config.n_vocab).with_context(|| args.ids.display().to_string())?;
    let prefill = args.prefill.unwrap_or(ids.len());
    anyhow::ensure!(prefill <= ids.len(), "--prefill {prefill} is more than the {} ids", ids.len());
    let file = std::fs::File::create(&args.out).with_context(|| format!("cannot write {}", args.out.display()))?;
    let mut out = BufWriter::new(file);
    let ubatch = engine.options().ubatch;
    let parts = ids[..prefill].chunks(ubatch).chain(ids[prefill..].chunks(1));
    for tokens in parts {
        let logits = engine.eval(Batch { tokens, slot: 0, n_seqs: 1, logits: Logits::All })?;
        for v in logits {
            out.write_all(&v.to_le_bytes())?;
        }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert_eq!(parse_ids(&[1, 0, 0, 0, 2, 0, 0, 0], 3), Ok(vec![1, 2]));
        assert_eq!(parse_ids(&[1, 0, 0], 3), Err(IdsError::Length(3)));
        assert_eq!(parse_ids(&[], 3), Err(IdsError::Empty));
        assert_eq!(parse_ids(&[255; 4], 3), Err(IdsError::Id { index: 0, id: -1, n_vocab: 3 }));
        assert_eq!(parse_ids(&[3, 0, 0, 0], 3), Err(IdsError::Id { index: 0, id: 3, n_vocab: 3 }));
    }
}
