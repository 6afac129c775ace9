//! `profile`: what every op costs.

use super::loading::{place, placed, start};
use super::{engine_options, open_model, stack};
use crate::cli::{BackendArg, EngineArgs, GroupArg, ModelArgs, PhaseArg, SideArg, TableFormat, TimingArg};
use crate::report::{self, op_table, print, render, side_table, timeline_table};
use anyhow::{Context, bail};
use clap::Args;
use deltascope_kernels::Backend;
use deltascope_kernels::cuda::Gauge;
use deltascope_kernels::exec::Clock;
use deltascope_model::profiling::{Group, RunRecord, Stats, Table, Timeline, Timing};
use deltascope_model::{Engine, Options};
use deltascope_tuning::stats::{median, paired_ratio};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Of `profile`.
#[derive(Args, Debug)]
pub struct ProfileArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// How nodes are put together.
    #[arg(long, value_enum, default_value_t)]
    group: GroupArg,
    /// Which phase.
    #[arg(long, value_enum, default_value_t)]
    phase: PhaseArg,
    /// Runs to record (tokens in decode, ubatches in prefill).
    #[arg(short = 'n', long, default_value_t = 64)]
    runs: usize,
    /// Tokens in the context before.
    #[arg(short = 'd', long, default_value_t = 0)]
    depth: usize,
    /// Run on each of these in turn and put their times side by side; what is not there is said, and has no times.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1.., value_name = "BACKEND",
        conflicts_with_all = ["backend", "places", "chrome_trace", "timeline"])]
    backends: Vec<SideArg>,
    /// How to print.
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: TableFormat,
    /// Write the last run as a Chrome trace, a track for each worker.
    #[arg(long, value_name = "FILE")]
    chrome_trace: Option<PathBuf>,
    /// How a GPU's steps are timed.
    #[arg(long, value_enum, default_value_t)]
    timing: TimingArg,
    /// Write every kernel of a GPU's run in order, medians over the runs, as CSV. Takes CUPTI.
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
}

/// Prints the table, the residual and what recording costs.
///
/// # Errors
/// If the model cannot be run.
pub fn run(args: &ProfileArgs) -> anyhow::Result<()> {
    anyhow::ensure!(args.runs > 0, "-n 0 records nothing");
    if !args.backends.is_empty() {
        return side_by_side(args);
    }
    let mut engine = engine(args, &args.engine)?;
    let measured = measure(args, &mut engine)?;
    let times = measured.stats.table(group(args));
    let must = args.timing == TimingArg::Cupti || args.timeline.is_some();
    if must && times.timing != Timing::Cupti {
        bail!("{}", engine.timing_note().unwrap_or("CUPTI sees a GPU's kernels, where all nodes run on it"));
    }
    let mut table = op_table(&times);
    table.notes.extend(measured.notes);
    show(&table, args)?;
    if let Some(path) = &args.timeline {
        std::fs::write(path, render(&timeline_table(&measured.timeline), TableFormat::Csv))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let (Some(path), Some(record)) = (&args.chrome_trace, &measured.last) {
        write_trace(path, record).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn engine(args: &ProfileArgs, on: &EngineArgs) -> anyhow::Result<Engine> {
    let (model, _) = open_model(&args.model)?;
    let stack = placed(stack(&args.model, &model)?, &on.places);
    let cupti = args.timing != TimingArg::Events;
    start(model, stack, Options { cupti, ..engine_options(on) })
}

/// One backend after another, each with the machine to itself.
fn side_by_side(args: &ProfileArgs) -> anyhow::Result<()> {
    let mut sides = Vec::new();
    let mut notes = Vec::new();
    for side in &args.backends {
        let backend = if *side == SideArg::Cpu { BackendArg::Cpu } else { BackendArg::Cuda };
        let name = side.backend();
        let on = EngineArgs { backend, ..args.engine.clone() };
        let measured = engine(args, &on).and_then(|mut engine| measure(args, &mut engine));
        match measured {
            Ok(m) => {
                notes.extend(m.notes.into_iter().map(|note| format!("{name}: {note}")));
                sides.push((name, Some(m.stats.table(group(args)))));
            }
            Err(e) if args.backends.len() > 1 => {
                notes.push(format!("{name}: no times: {e:#}"));
                sides.push((name, None));
            }
            Err(e) => return Err(e),
        }
    }
    anyhow::ensure!(sides.iter().any(|(_, table)| table.is_some()), "{}", notes.join("; "));
    show(&report::Table { notes, ..side_table(&sides) }, args)
}

fn group(args: &ProfileArgs) -> Group {
    match args.group {
        GroupArg::Op => Group::Op,
        GroupArg::Node => Group::Node,
        GroupArg::Layer => Group::Layer,
        GroupArg::Block => Group::Block,
    }
}

fn show(table: &report::Table, args: &ProfileArgs) -> anyhow::Result<()> {
    print(table, args.output)?;
    if !matches!(args.output, TableFormat::Text | TableFormat::Md) {
        for note in &table.notes {
            eprintln!("{note}");
        }
    }
    Ok(())
}

/// What an engine's runs gave.
struct Profiled {
    stats: Stats,
    timeline: Timeline,
    last: Option<RunRecord>,
    /// How fast it was, and what recording costs.
    notes: Vec<String>,
}

fn measure(args: &ProfileArgs, engine: &mut Engine) -> anyhow::Result<Profiled> {
    let per_run = match args.phase {
        PhaseArg::Decode => 1,
        PhaseArg::Prefill => {
            engine.options().ubatch.min(engine.options().n_ctx - args.depth.min(engine.options().n_ctx))
        }
    };
    anyhow::ensure!(per_run > 0, "-d {} leaves no room in the context (hint: a larger -c)", args.depth);
    let n_vocab = engine.model().config.n_vocab;
    let ids: Vec<u32> = (0..args.depth.max(per_run).max(1)).map(|i| ((i * 7919 + 13) % n_vocab) as u32).collect();
    if args.depth > 0 {
        engine.prompt(0, &ids[..args.depth])?;
    }
    let start = engine.checkpoint(0)?;
    let gauge = engine.device().map(Gauge::start);
    let mut stats = Stats::new(args.runs);
    let mut timeline = Timeline::default();
    let mut last = None;
    let (mut on, mut off) = (Vec::new(), Vec::new());
    // Runs with and without recording in turn, the order changing from pair to pair, so that drift falls on both.
    for i in 0..args.runs + 2 {
        for recording in [i % 2 == 0, i % 2 == 1] {
            if engine.position(0) + per_run > engine.options().n_ctx {
                engine.restore(&start)?;
            }
            engine.record(recording);
            let began = Instant::now();
            engine.prompt(0, &ids[..per_run])?;
            let took = began.elapsed().as_secs_f64();
            if i < 2 {
                continue; // plans are made, weights touched
            }
            if recording {
                on.push(took)
            } else {
                off.push(took)
            }
            if let Some(r) = engine.take_record() {
                stats.push(&r);
                timeline.push(&r);
                last = Some(r);
            }
        }
    }
    let mut notes: Vec<String> = engine.timing_note().map(|why| format!("note: {why}")).into_iter().collect();
    notes.push(speed_note(engine, args.phase, per_run, &off));
    notes.extend(outside_note(&stats.table(group(args)), &off));
    notes.extend(gauge.and_then(|g| g.take_summary()).map(|s| format!("GPU {s} ({} readings)", s.readings)));
    notes.push(recording_note(&on, &off));
    Ok(Profiled { stats, timeline, last, notes })
}

fn speed_note(engine: &Engine, phase: PhaseArg, per_run: usize, off: &[f64]) -> String {
    let median = median(off).unwrap_or(f64::NAN);
    let mode = match engine.backend() {
        _ if engine.is_mixed() => "unrecorded, on both sides",
        Backend::Cpu => "unrecorded",
        Backend::Cuda if engine.options().graphs => "whole (one CUDA graph, no events)",
        Backend::Cuda => "whole (single launches, no events)",
    };
    format!("{:.1} t/s, {:.1} µs a run {mode}, {}", per_run as f64 / median, median * 1e6, place(engine, phase))
}

/// What an unrecorded run has beside the kernels that CUPTI saw in recorded ones, which it makes wait for their launch.
fn outside_note(times: &Table, off: &[f64]) -> Option<String> {
    let idle = times.idle?;
    let kernels: f64 = times.rows.iter().map(|r| r.own_us).sum::<f64>() + idle.gap_us;
    let outside = median(off)? * 1e6 - kernels;
    Some(format!("of an unrecorded run {outside:.1} µs are outside of its kernels and the gaps between them"))
}

/// What recording costs: the median over the pairs of their ratio, less one.
fn recording_note(on: &[f64], off: &[f64]) -> String {
    let percent = |x: f64| 100.0 * (x - 1.0);
    match paired_ratio(off.iter().copied().zip(on.iter().copied())) {
        Some(r) => format!(
            "recording costs {:.2}% [{:.2}, {:.2}] of a run ({} pairs)",
            percent(r.median),
            percent(r.lo),
            percent(r.hi),
            r.n
        ),
        None => "recording's cost could not be measured".to_owned(),
    }
}

/// Chrome's trace format: complete events, one thread a worker and one for a GPU, waiting and working apart.
fn write_trace(path: &Path, r: &RunRecord) -> anyhow::Result<()> {
    let clock = Clock::get();
    let origin = r.tracks.iter().map(|t| t.begin).min().unwrap_or_default();
    let mut events = Vec::new();
    for (worker, track) in r.tracks.iter().enumerate() {
        events.push(json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": worker,
            "args": {"name": track.name}}));
        for (t, &node) in track.steps.iter().zip(&r.info.step_nodes) {
            let n = &r.info.nodes[node];
            let mut slice = |name: &str, cat: &str, from, to| {
                let (ts, dur) = (clock.micros(origin, from), clock.micros(from, to));
                if dur > 0.0 {
                    events.push(json!({"name": name, "cat": cat, "ph": "X", "pid": 1, "tid": worker, "ts": ts,
                        "dur": dur, "args": {"node": n.name, "variant": n.variant.spec().name}}));
                }
            };
            slice("wait", "wait", t.arrive, t.start);
            slice(&n.label, "work", t.start, t.end);
        }
    }
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    Ok(serde_json::to_writer(file, &json!({"traceEvents": events, "displayTimeUnit": "ns"}))?)
}
