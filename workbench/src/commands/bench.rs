//! `bench`: tokens a second, with llama-bench's test names and columns.

use super::loading::{placed, start};
use super::{engine_options, open_model, stack};
use crate::cli::{EngineArgs, ModelArgs, TableFormat};
use crate::report::{Cell, Table, print};
use anyhow::{Context, bail};
use clap::Args;
use deltascope_kernels::cuda::Gauge;
use deltascope_model::{Engine, Model};
use deltascope_profiles::Placement;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Of `bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Prompt lengths, by commas; 0 for none.
    #[arg(short = 'p', long, value_delimiter = ',', default_value = "512")]
    n_prompt: Vec<usize>,
    /// Generation lengths, by commas; 0 for none.
    #[arg(short = 'n', long, value_delimiter = ',', default_value = "128")]
    n_gen: Vec<usize>,
    /// A prompt and a generation timed together, `PP,TG`; may be given again (also -pg).
    #[arg(long, value_name = "PP,TG")]
    prompt_gen: Vec<String>,
    /// Depths: tokens in the context before the test.
    #[arg(short = 'd', long, value_delimiter = ',', default_value = "0")]
    n_depth: Vec<usize>,
    /// Threads, by commas; the profile's, or the cores that there are.
    #[arg(short = 't', long, value_delimiter = ',')]
    threads: Vec<usize>,
    /// Tokens of a prompt that run at once, by commas (also -ub).
    #[arg(long, value_delimiter = ',')]
    ubatch: Vec<usize>,
    /// Runs of each test.
    #[arg(short = 'r', long, default_value_t = 5)]
    repetitions: usize,
    /// How to print.
    #[arg(short = 'o', long, value_enum, default_value_t = TableFormat::Md)]
    output: TableFormat,
    /// Type of the KV cache.
    #[arg(long, value_enum, default_value_t)]
    kv_type: crate::cli::KvArg,
    /// Where to run.
    #[arg(long, value_enum, default_value_t)]
    backend: crate::cli::BackendArg,
    /// Where nodes of the model run that are to run elsewhere, as in `'blk.*.ffn=cpu'`. May be given again.
    #[arg(long = "place", value_name = "PATTERN=cpu|cuda", value_parser = crate::cli::placement)]
    places: Vec<Placement>,
    /// On a GPU, launch every step by itself instead of a whole run as one CUDA graph.
    #[arg(long)]
    no_graphs: bool,
}

/// One test: a prompt, a generation or both, at a depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Test {
    prompt: usize,
    gen_: usize,
    depth: usize,
}

impl Test {
    fn name(&self) -> String {
        let what = match (self.prompt, self.gen_) {
            (p, 0) => format!("pp{p}"),
            (0, g) => format!("tg{g}"),
            (p, g) => format!("pp{p}+tg{g}"),
        };
        if self.depth > 0 { format!("{what} @ d{}", self.depth) } else { what }
    }

    fn tokens(&self) -> usize {
        self.prompt + self.gen_
    }
}

/// Runs all tests and prints a row for each.
///
/// # Errors
/// If the model cannot be run or a test does not fit its context.
pub fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let tests = tests(args)?;
    let (model, label) = open_model(&args.model)?;
    let stack = placed(stack(&args.model, &model)?, &args.places);
    let longest = tests.iter().map(|t| t.depth + t.tokens()).max().unwrap_or(1);
    let or_default = |list: &[usize]| if list.is_empty() { vec![0] } else { list.to_vec() };
    let mut table = Table { columns: COLUMNS.to_vec(), ..Table::default() };
    for &threads in &or_default(&args.threads) {
        for &ubatch in &or_default(&args.ubatch) {
            let set = |n: usize| (n > 0).then_some(n);
            let options = engine_options(&EngineArgs {
                threads: set(threads),
                threads_prefill: None,
                ctx: Some(longest.next_multiple_of(256).min(model.config.context_length)),
                ubatch: set(ubatch),
                kv_type: args.kv_type,
                backend: args.backend,
                places: Vec::new(),
                no_graphs: args.no_graphs,
            });
            let mut engine = start(Arc::clone(&model), stack.clone(), options)?;
            let gauge = engine.device().map(Gauge::start);
            for test in &tests {
                let samples = measure(&mut engine, test, args.repetitions).with_context(|| test.name())?;
                let clocks = gauge.as_ref().and_then(Gauge::take_summary);
                table.notes.extend(clocks.map(|s| format!("{}: GPU {s} ({} readings)", test.name(), s.readings)));
                let mut cells = row(&model, &label, &args.model.profiles, &engine, test, &samples);
                cells.push(Cell::shown("", clocks.map_or_else(String::new, |s| s.to_string())));
                table.rows.push(cells);
            }
        }
    }
    print(&table, args.output)
}

fn tests(args: &BenchArgs) -> anyhow::Result<Vec<Test>> {
    if args.repetitions == 0 {
        bail!("-r 0 measures nothing");
    }
    let mut pairs: Vec<(usize, usize)> = args.n_prompt.iter().map(|&p| (p, 0)).collect();
    pairs.extend(args.n_gen.iter().map(|&g| (0, g)));
    for pair in &args.prompt_gen {
        let parsed = pair.split_once(',').and_then(|(p, g)| Some((p.trim().parse().ok()?, g.trim().parse().ok()?)));
        pairs.push(parsed.with_context(|| format!("-pg {pair} is not PP,TG (hint: -pg 512,128)"))?);
    }
    pairs.retain(|&p| p != (0, 0));
    let of_depth = |&depth: &usize| pairs.iter().map(move |&(prompt, gen_)| Test { prompt, gen_, depth });
    let tests: Vec<Test> = args.n_depth.iter().flat_map(of_depth).collect();
    if tests.is_empty() {
        bail!("no test is left (hint: -p 512 or -n 128)");
    }
    Ok(tests)
}

/// Ids without meaning, the same in every run: speed does not depend on them, but for which experts they choose.
fn ids(n: usize, n_vocab: usize, salt: usize) -> Vec<u32> {
    (0..n).map(|i| (((i + salt) * 7919 + 13) % n_vocab) as u32).collect()
}

/// Tokens a second in each run, after one that does not count. The depth is filled once and kept by a checkpoint.
fn measure(engine: &mut Engine, test: &Test, runs: usize) -> anyhow::Result<Vec<f64>> {
    let n_vocab = engine.model().config.n_vocab;
    engine.reset(0)?;
    if test.depth > 0 {
        engine.prompt(0, &ids(test.depth, n_vocab, 1))?;
    }
    let filled = engine.checkpoint(0)?;
    let prompt = ids(test.prompt, n_vocab, 2);
    let generated = ids(test.gen_, n_vocab, 3);
    let mut samples = Vec::with_capacity(runs);
    for i in 0..=runs {
        engine.restore(&filled)?;
        let start = Instant::now();
        if !prompt.is_empty() {
            engine.prompt(0, &prompt)?;
        }
        // The first, uncounted run makes plans and touches weights; a few tokens do that.
        let n = if i == 0 { generated.len().min(8) } else { generated.len() };
        for &id in &generated[..n] {
            engine.decode(0, id)?;
        }
        if i > 0 {
            samples.push(test.tokens() as f64 / start.elapsed().as_secs_f64());
        }
    }
    Ok(samples)
}

const COLUMNS: &[(&str, &str)] = &[
    ("model", "model"),
    ("model_size", "size"),
    ("backend", "backend"),
    ("n_threads", "threads"),
    ("n_ubatch", ""),
    ("test", "test"),
    ("n_prompt", ""),
    ("n_gen", ""),
    ("n_depth", ""),
    ("avg_ts", "t/s"),
    ("stddev_ts", ""),
    ("median_ts", ""),
    ("samples_ts", ""),
    ("model_file", ""),
    ("profiles", ""),
    ("cpu_info", ""),
    ("gpu_info", ""),
    ("build", ""),
    ("gpu_clocks", ""),
];

fn row(model: &Model, label: &str, profiles: &[String], engine: &Engine, test: &Test, samples: &[f64]) -> Vec<Cell> {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let deviation = if samples.len() > 1 {
        (samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
    } else {
        0.0
    };
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    let o = engine.options();
    let threads = if test.gen_ > 0 { o.threads_decode } else { o.threads_prefill };
    let bytes = model.weights.bytes();
    let size = if bytes < 1 << 30 {
        format!("{:.1} MiB", bytes as f64 / (1u64 << 20) as f64)
    } else {
        format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64)
    };
    vec![
        Cell::text(model.name.clone()),
        Cell::shown(size, bytes),
        Cell::text(engine.backend().name().to_uppercase()),
        Cell::int(threads),
        Cell::int(o.ubatch),
        Cell::text(test.name()),
        Cell::int(test.prompt),
        Cell::int(test.gen_),
        Cell::int(test.depth),
        Cell::shown(format!("{mean:.2} ± {deviation:.2}"), mean),
        Cell::number(deviation, 2),
        Cell::number(median, 2),
        Cell::shown("", json!(samples)),
        Cell::text(label),
        Cell::shown("", json!(profiles)),
        Cell::text(deltascope_kernels::cpu::Topology::detect().brand),
        Cell::text(engine.device().map_or_else(String::new, |d| d.name.clone())),
        Cell::text(env!("CARGO_PKG_VERSION")),
    ]
}

#[cfg(test)]
mod tests {
    use super::Test;

    #[test]
    fn tests_are_named_as_llama_bench_names_them() {
        let name = |prompt, gen_, depth| Test { prompt, gen_, depth }.name();
        assert_eq!(name(512, 0, 0), "pp512");
        assert_eq!(name(0, 128, 4096), "tg128 @ d4096");
        assert_eq!(name(512, 128, 0), "pp512+tg128");
    }
}
