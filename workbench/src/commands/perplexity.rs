//! `perplexity`: how well the model foretells a text.

use super::engine;
use crate::cli::{EngineArgs, ModelArgs};
use anyhow::Context;
use clap::Args;
use deltascope_model::Batch;
use deltascope_model::qwen3next::Logits;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Held-out documentation text, which the demo model was not trained on.
const EVAL_TEXT: &str = include_str!("../../../model/assets/eval.txt");

/// Of `perplexity`.
#[derive(Args, Debug)]
pub struct PerplexityArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// The text; the demo model's evaluation text if left out.
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// At most so many windows; all if left out.
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
}

/// Scores windows of `-c` tokens (512 if left out), each on its second half, as llama-perplexity does.
///
/// # Errors
/// If the text cannot be read or is shorter than a window.
pub fn run(args: &PerplexityArgs) -> anyhow::Result<()> {
    let mut engine_args = args.engine.clone();
    let window = *engine_args.ctx.get_or_insert(512);
    anyhow::ensure!(window >= 4, "a window of {window} tokens has no second half to score (hint: -c 512)");
    let text = match &args.file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => EVAL_TEXT.to_owned(),
    };
    let (mut engine, _) = engine(&args.model, &engine_args)?;
    let model = engine.model().clone();
    let ids = model.tokenizer.encode(&text, false)?;
    let windows = (ids.len() / window).min(args.chunks.unwrap_or(usize::MAX));
    anyhow::ensure!(windows > 0, "the text has {} tokens, fewer than a window of {window}", ids.len());
    let n_vocab = model.config.n_vocab;
    let mut losses: Vec<f64> = Vec::with_capacity(windows * window / 2);
    let progress = std::io::stderr().is_terminal();
    for w in 0..windows {
        let mut tokens = ids[w * window..(w + 1) * window].to_vec();
        if model.tokenizer.add_bos()
            && let Some(bos) = model.tokenizer.bos()
        {
            tokens[0] = bos;
        }
        engine.reset(0)?;
        let ubatch = engine.options().ubatch;
        let mut at = 0;
        for part in tokens.chunks(ubatch) {
            let logits = engine.eval(Batch { tokens: part, slot: 0, n_seqs: 1, logits: Logits::All })?;
            for (i, row) in logits.chunks_exact(n_vocab).enumerate() {
                let position = at + i;
                if (window / 2..window - 1).contains(&position) {
                    losses.push(loss(row, tokens[position + 1] as usize));
                }
            }
            at += part.len();
        }
        if progress {
            eprint!("\r{}/{windows} windows, perplexity {:.4}  ", w + 1, summary(&losses).0);
            std::io::stderr().flush()?;
        }
    }
    if progress {
        eprintln!();
    }
    let (ppl, error) = summary(&losses);
    println!("perplexity {ppl:.4} ± {error:.4} ({windows} windows of {window} tokens, {} scored)", losses.len());
    Ok(())
}

/// −ln of the softmax at the target.
fn loss(row: &[f32], target: usize) -> f64 {
    let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - top).exp()).sum();
    sum.ln() - f64::from(row[target] - top)
}

/// exp of the mean loss, and its standard error.
fn summary(losses: &[f64]) -> (f64, f64) {
    let n = losses.len() as f64;
    let mean = losses.iter().sum::<f64>() / n;
    let variance = losses.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean.exp(), mean.exp() * (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_row_costs_the_logarithm_of_its_length() {
        assert!((loss(&[3.0; 8], 5) - 8f64.ln()).abs() < 1e-9);
        let (ppl, error) = summary(&[2f64.ln(); 10]);
        assert!((ppl - 2.0).abs() < 1e-9 && error < 1e-9);
    }
}
