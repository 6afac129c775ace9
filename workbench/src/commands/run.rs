//! `run`: generate text.

use super::engine;
use crate::cli::{EngineArgs, ModelArgs, SamplingArgs};
use clap::Args;
use deltascope_model::chat::{Message, Role};
use deltascope_model::sampling::Sampler;
use deltascope_model::tokenizer::Utf8Stream;
use std::io::{Read, Write};
use std::time::Instant;

/// Of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The prompt; standard input if left out.
    #[arg(short = 'p', long)]
    prompt: Option<String>,
    /// Tokens to generate.
    #[arg(short = 'n', long, default_value_t = 128)]
    n_predict: usize,
    /// Put the prompt into the model's chat template, as the user's turn.
    #[arg(long)]
    chat: bool,
}

/// Streams text to standard output, speed to standard error.
///
/// # Errors
/// If the model cannot be run or the prompt does not fit.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let (mut engine, _) = engine(&args.model, &args.engine)?;
    let model = engine.model().clone();
    let mut prompt = match &args.prompt {
        Some(p) => p.clone(),
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            text
        }
    };
    if args.chat {
        prompt = model.chat.render(&[Message::new(Role::User, prompt)], true)?;
    }
    let mut ids = model.tokenizer.encode(&prompt, args.chat)?;
    if model.tokenizer.add_bos()
        && let Some(bos) = model.tokenizer.bos()
    {
        ids.insert(0, bos);
    }
    anyhow::ensure!(!ids.is_empty(), "the prompt is empty (hint: -p \"The borrow checker ensures that\")");
    let mut sampler = Sampler::new(args.sampling.params())?;
    let mut out = std::io::stdout().lock();
    let mut stream = Utf8Stream::default();
    let start = Instant::now();
    let mut id = sampler.sample(&engine.prompt(0, &ids)?);
    let prompt_time = start.elapsed().as_secs_f64();
    if !args.chat {
        write!(out, "{prompt}")?;
    }
    let start = Instant::now();
    let mut n = 0;
    while n < args.n_predict && engine.position(0) < engine.options().n_ctx {
        if model.tokenizer.is_end(id) {
            break;
        }
        write!(out, "{}", stream.push(model.tokenizer.piece(id)?))?;
        out.flush()?;
        n += 1;
        id = sampler.choose(engine.next(0, id, sampler.wants())?);
    }
    writeln!(out, "{}", stream.finish())?;
    let gen_time = start.elapsed().as_secs_f64();
    eprintln!(
        "prompt {} tokens, {:.1} t/s; generated {n} tokens, {:.1} t/s",
        ids.len(),
        ids.len() as f64 / prompt_time,
        n as f64 / gen_time.max(f64::MIN_POSITIVE)
    );
    Ok(())
}
