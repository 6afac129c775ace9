//! No command: the workbench, or where nobody can see it, its report.

use super::loading::{place, placed, start};
use super::{engine_options, open_model, stack};
use crate::cli::{EngineArgs, ModelArgs, PhaseArg, SamplingArgs, TableFormat, TimingArg};
use crate::report;
use crate::session::SessionOptions;
use clap::Args;
use deltascope_model::Options;
use deltascope_model::profiling::{Group, Stats};
use deltascope_model::sampling::Sampler;
use std::path::PathBuf;
use std::time::Instant;

/// Of the workbench.
#[derive(Args, Debug, Default)]
pub struct WorkbenchArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// What text begins with.
    #[arg(short = 'p', long)]
    prompt: Option<String>,
    /// Where `w` saves the profile.
    #[arg(long, value_name = "FILE", default_value = "deltascope.toml")]
    save: PathBuf,
    /// How a GPU's steps are timed.
    #[arg(long, value_enum, default_value_t)]
    timing: TimingArg,
}

impl WorkbenchArgs {
    fn options(&self) -> Options {
        Options { cupti: self.timing != TimingArg::Events, ..engine_options(&self.engine) }
    }
}

/// Opens the workbench.
///
/// # Errors
/// If the model cannot be run or the terminal not be used.
pub fn run(args: &WorkbenchArgs) -> anyhow::Result<()> {
    let (model, label) = open_model(&args.model)?;
    let stack = placed(stack(&args.model, &model)?, &args.engine.places);
    crate::tui::run(SessionOptions {
        model,
        model_path_label: label,
        stack,
        engine: args.options(),
        sampling: args.sampling.params(),
        prompt: args.prompt.clone(),
        save_path: args.save.clone(),
    })
}

/// Tokens that the plain report is made from.
const REPORT_TOKENS: usize = 64;

/// Prints what the workbench would show: some text, its speed, and the table of ops.
///
/// # Errors
/// If the model cannot be run.
pub fn report(args: &WorkbenchArgs) -> anyhow::Result<()> {
    let (model, label) = open_model(&args.model)?;
    let stack = placed(stack(&args.model, &model)?, &args.engine.places);
    let mut engine = start(model.clone(), stack, args.options())?;
    let prompt = args.prompt.clone().unwrap_or_else(|| "The borrow checker ensures that".to_owned());
    let mut sampler = Sampler::new(args.sampling.params())?;
    let mut logits = engine.prompt(0, &model.tokenizer.encode(&prompt, false)?)?;
    let mut stats = Stats::new(REPORT_TOKENS);
    let mut ids = Vec::new();
    engine.record(true);
    let start = Instant::now();
    for _ in 0..REPORT_TOKENS.min(engine.options().n_ctx - engine.position(0)) {
        let id = sampler.sample(&logits);
        ids.push(id);
        logits = engine.decode(0, id)?.to_vec();
        if let Some(r) = engine.take_record() {
            stats.push(&r);
        }
    }
    let speed = ids.len() as f64 / start.elapsed().as_secs_f64();
    println!("{} ({label}), {}, decode {speed:.1} t/s", model.name, place(&engine, PhaseArg::Decode));
    println!("{prompt}{}\n", model.tokenizer.decode(&ids)?);
    let mut table = report::op_table(&stats.table(Group::Op));
    table.notes.extend(engine.timing_note().map(|why| format!("note: {why}")));
    report::print(&table, TableFormat::Text)
}
