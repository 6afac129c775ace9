//! `tune`: the best variants and tunables of some ops, found in the running model, as a profile.

mod progress;
mod table;

use super::engine;
use crate::cli::{EngineArgs, ModelArgs, PhaseArg, TableFormat};
use crate::report::print;
use crate::sample;
use anyhow::{Context, ensure};
use clap::Args;
use deltascope_kernels::{Op, ops};
use deltascope_model::Engine;
use deltascope_profiles::{Choice, Existing, Phase, Profile, diff};
use deltascope_tuning::TuneError;
use deltascope_tuning::journal::Journal;
use deltascope_tuning::measure::{Limits, Workload, over};
use deltascope_tuning::search::{self, Found, ops_by_time};
use deltascope_tuning::stats::MIN_PAIRS;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Of `tune`.
#[derive(Args, Debug)]
pub struct TuneArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// The op to tune, or `all` for every op of the plan, those that take most time first. By commas, or given again.
    #[arg(long, value_name = "OP", value_delimiter = ',', required = true)]
    op: Vec<String>,
    /// Which phase.
    #[arg(long, value_enum, default_value_t)]
    phase: PhaseArg,
    /// Tokens in the context before.
    #[arg(short = 'd', long, default_value_t = 32)]
    depth: usize,
    /// Workers to try for each kernel, by commas, beside all of the run's.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    try_threads: Vec<usize>,
    /// Rounds at most: in each, every candidate that is left runs once between two turns of what is in force.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Runs a turn that count.
    #[arg(short = 'r', long, default_value_t = 3)]
    repetitions: usize,
    /// Seconds at most, for all ops together; a quarter of them is kept to confirm what won.
    #[arg(long, value_name = "SECONDS")]
    budget: Option<f64>,
    /// Note every measurement here, and measure nothing again that is here already.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Try the scalar references too.
    #[arg(long)]
    with_reference: bool,
    /// Also run each variant's test suite before it is measured.
    #[arg(long)]
    suite: bool,
    /// How to print.
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: TableFormat,
    /// Write what won into this profile, beside what else it says.
    #[arg(short = 'w', long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Write over a profile of another machine or model.
    #[arg(long, requires = "write")]
    overwrite: bool,
}

/// Exit status after an interrupt, as shells have it.
const INTERRUPTED: u8 = 130;

/// Searches, prints every candidate with what became of it, and writes what won.
///
/// # Errors
/// If an op does not exist, the model cannot be run, or journal or profile cannot be used.
pub fn run(args: &TuneArgs) -> anyhow::Result<ExitCode> {
    let named = named_ops(&args.op)?;
    ensure!(args.rounds >= MIN_PAIRS, "fewer than {MIN_PAIRS} rounds tell nothing (hint: --rounds {MIN_PAIRS})");
    ensure!(args.try_threads.iter().all(|&t| t > 0), "threads start at 1");
    ensure!(args.budget.is_none_or(|s| s.is_finite() && s > 0.0), "--budget takes seconds, above 0");
    let cancel = on_interrupt()?;
    let mut journal = args.journal.as_ref().map(Journal::open).transpose()?;
    if let Some(lines) = journal.as_ref().map(Journal::unreadable).filter(|&n| n > 0) {
        eprintln!("warning: {lines} lines of the journal cannot be read and are left out");
    }
    let (mut engine, _) = engine(&args.model, &args.engine)?;
    let workload = workload(&mut engine, args)?;
    let ops = match named {
        Some(ops) => ops,
        None => ops_by_time(&mut engine, &workload)?.into_iter().map(|(op, _)| op).collect(),
    };
    let options = search::Options {
        rounds: args.rounds,
        samples: args.repetitions,
        threads: args.try_threads.clone(),
        with_reference: args.with_reference,
        suite: args.suite,
        ..search::Options::default()
    };
    let mut deadlines = Deadlines::new(args.budget);
    let (mut all, mut choices) = (table::empty(), Vec::new());
    for (i, &op) in ops.iter().enumerate() {
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        let limits = Limits { cancel: Some(&cancel), deadline: deadlines.next(ops.len() - i) };
        let mut show = progress::lines(op, workload.phase);
        match search::search(&mut engine, op, &workload, &options, journal.as_mut(), limits, &mut show) {
            Ok(found) => {
                table::add(&mut all, op, workload.phase, &found);
                choices.extend(take(&mut engine, found));
            }
            // What was tuned before may have put a fused kernel in its place.
            Err(TuneError::NoNodes { .. }) if ops.len() > 1 => eprintln!("{op}: not in the plan"),
            Err(e) => return Err(e.into()),
        }
    }
    let stopped = cancel.load(Ordering::Relaxed);
    if stopped {
        all.notes.push(match &args.journal {
            Some(path) => format!("stopped; the same command goes on from {}", path.display()),
            None => "stopped; with --journal FILE it could be gone on with".to_owned(),
        });
    }
    print(&all, args.output)?;
    if !matches!(args.output, TableFormat::Text | TableFormat::Md) {
        all.notes.iter().for_each(|note| eprintln!("{note}"));
    }
    if let Some(path) = &args.write {
        write(path, &engine, choices, args.overwrite)?;
    }
    Ok(if stopped { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// The ops by name, each once; `None` for all.
fn named_ops(names: &[String]) -> anyhow::Result<Option<Vec<Op>>> {
    let mut found = Vec::new();
    for name in names {
        if name == "all" {
            return Ok(None);
        }
        let op = Op::from_name(name).with_context(|| {
            let known: Vec<&str> = ops::all().map(Op::name).collect();
            format!("there is no op `{name}` (hint: all, or some of {})", known.join(", "))
        })?;
        if !found.contains(&op) {
            found.push(op);
        }
    }
    Ok(Some(found))
}

/// Set by the first interrupt, after which the run at hand is the last; the second one ends the program.
fn on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let cancel = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&cancel))?;
        signal_hook::flag::register(signal, Arc::clone(&cancel))?;
    }
    Ok(cancel)
}

/// Text in the slot, and what is run on it.
fn workload(engine: &mut Engine, args: &TuneArgs) -> anyhow::Result<Workload> {
    let room = engine.options().n_ctx.saturating_sub(args.depth);
    ensure!(room > 0, "-d {} leaves no room in the context (hint: a larger -c)", args.depth);
    // In decode, some tokens in turn: those of one token alone would always go to the same experts.
    let (phase, n) = match args.phase {
        PhaseArg::Decode => (Phase::Decode, 8),
        PhaseArg::Prefill => (Phase::Prefill, engine.options().ubatch.min(room)),
    };
    let mut tokens = sample::tokens(engine.model(), args.depth + n);
    let run = tokens.split_off(args.depth);
    if !tokens.is_empty() {
        engine.prompt(0, &tokens)?;
    }
    Ok(Workload { phase, slot: 0, tokens: run })
}

/// The time that is left, shared out evenly over the ops that are left.
struct Deadlines(Option<Instant>);

impl Deadlines {
    fn new(budget: Option<f64>) -> Deadlines {
        Deadlines(budget.map(|s| Instant::now() + Duration::from_secs_f64(s.min(1e9))))
    }

    fn next(&mut self, ops_left: usize) -> Option<Instant> {
        let now = Instant::now();
        self.0.map(|end| now + end.saturating_duration_since(now) / ops_left.max(1) as u32)
    }
}

/// Puts what was accepted in force for the ops that follow.
fn take(engine: &mut Engine, found: Found) -> Vec<Choice> {
    if !found.accepted {
        return Vec::new();
    }
    if found.changes > 0 {
        let rows = Profile { choices: found.choices.clone(), ..Profile::default() };
        let stack = over(engine.stack(), rows);
        engine.set_stack(stack);
    }
    found.choices
}

/// Shows what changes in the profile, then writes it.
fn write(path: &Path, engine: &Engine, choices: Vec<Choice>, overwrite: bool) -> anyhow::Result<()> {
    if choices.is_empty() {
        eprintln!("{}: not written, there is nothing to add", path.display());
        return Ok(());
    }
    let mut profile = Profile {
        machine: Some(deltascope_tuning::machine::of_engine(engine)),
        model: Some(engine.model().id()),
        ..Profile::default()
    };
    let before = if path.exists() { Profile::read(path) } else { Ok(Profile::default()) };
    let before = match before {
        Ok(before) => before,
        Err(_) if overwrite => Profile::default(),
        Err(e) => return Err(e).context("cannot write into this profile (hint: --overwrite replaces it)"),
    };
    let existing = if overwrite { Existing::Overwrite } else { Existing::Protect };
    let foreign = profile.text_to_save(path, Existing::Protect).is_err();
    if !foreign {
        // Ours: what else it says stays.
        profile = Profile { machine: profile.machine, model: profile.model, ..before.clone() };
    }
    profile.engine.deltascope = Some(env!("CARGO_PKG_VERSION").to_owned());
    for choice in choices {
        match profile.choices.iter_mut().find(|c| c.rule == choice.rule) {
            Some(old) => *old = choice,
            None => profile.choices.push(choice),
        }
    }
    for change in diff(&before, &profile) {
        eprintln!("{change}");
    }
    profile.save(path, existing).context("the profile is not written (hint: --overwrite)")?;
    eprintln!("{}: written", path.display());
    Ok(())
}
