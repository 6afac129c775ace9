//! Every command and flag.

use crate::commands;
use clap::{Args, Parser, Subcommand, ValueEnum};
use deltascope_profiles::{Backend, Placement, PlacementError};
use std::path::PathBuf;

/// Run Qwen3-Next, see what each op costs, swap how it is computed, keep what won.
#[derive(Debug, Parser)]
#[command(name = "deltascope", version, about, args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(after_help = "Without a command: the workbench on MODEL, or on the built-in demo model. \
Where standard output is no terminal, a plain report instead.")]
pub struct Cli {
    /// What to do; the workbench if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Of the workbench.
    #[command(flatten)]
    pub workbench: commands::workbench::WorkbenchArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate text.
    Run(commands::run::RunArgs),
    /// Measure prompt processing (pp) and token generation (tg), as llama-bench does.
    Bench(commands::bench::BenchArgs),
    /// Time every op; also as JSON, CSV, Markdown or a Chrome trace.
    Profile(commands::profile::ProfileArgs),
    /// Write the logits of a sequence of token ids.
    Logits(commands::logits::LogitsArgs),
    /// Perplexity of a text.
    Perplexity(commands::perplexity::PerplexityArgs),
    /// Search the best variants and tunables of some ops in the running model; write a profile.
    Tune(commands::tune::TuneArgs),
    /// Hold every variant against its op's reference.
    Check(commands::check::CheckArgs),
    /// Write a GGUF of any Qwen3-Next geometry with random weights.
    Synth(commands::synth::SynthArgs),
    /// Print the profile in force.
    Export(commands::export::ExportArgs),
    /// Say what this machine is, what the program makes of it, and which profiles apply.
    Doctor(commands::doctor::DoctorArgs),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    Man,
}

/// Which model and profiles.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// A GGUF file, or the first part of a split one; the built-in demo model if left out.
    #[arg(value_name = "MODEL")]
    pub path: Option<PathBuf>,
    /// The same, as llama.cpp's tools spell it.
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "path")]
    pub model: Option<PathBuf>,
    /// A profile file, or `preset:NAME` for one that ships (`preset:history/0-start`). May be given again; the last is
    /// on top.
    #[arg(long = "profile", value_name = "FILE")]
    pub profiles: Vec<String>,
}

/// How the engine runs.
#[derive(Args, Clone, Debug, Default)]
pub struct EngineArgs {
    /// Threads (of decode and prefill); the profile's, or the cores that there are.
    #[arg(short = 't', long, value_name = "N")]
    pub threads: Option<usize>,
    /// Threads of prefill, if others (also -tb).
    #[arg(long, value_name = "N")]
    pub threads_prefill: Option<usize>,
    /// Context, in tokens.
    #[arg(short = 'c', long, value_name = "N")]
    pub ctx: Option<usize>,
    /// Tokens of a prompt that run at once (also -ub).
    #[arg(long, value_name = "N")]
    pub ubatch: Option<usize>,
    /// Type of the KV cache.
    #[arg(long, value_enum, default_value_t)]
    pub kv_type: KvArg,
    /// Where to run.
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendArg,
    /// Where nodes of the model run that are to run elsewhere: `'blk.*.ffn=cpu'` leaves the experts to the CPU and their
    /// weights in the file; the shared one stays and runs beside them, unless it is named too: `'blk.*.ffn*=cpu'`. May be given again; the first that fits holds.
    #[arg(long = "place", value_name = "PATTERN=cpu|cuda", value_parser = placement)]
    pub places: Vec<Placement>,
    /// On a GPU, launch every step by itself instead of a whole run as one CUDA graph; a profile's `graphs = false` does
    /// the same.
    #[arg(long)]
    pub no_graphs: bool,
}

/// A placement on what there is: the CPU and the first GPU.
pub(crate) fn placement(text: &str) -> Result<Placement, String> {
    let place: Placement = text.parse().map_err(|e: PlacementError| e.to_string())?;
    match place.backend {
        Backend::Cuda(Some(n)) if n > 0 => Err(format!("only the first GPU is used: cuda or cuda:0, not cuda:{n}")),
        _ => Ok(place),
    }
}

/// Type of the KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KvArg {
    /// F32 for a model of F32 matrices, else F16.
    #[default]
    Auto,
    /// Two bytes an element.
    F16,
    /// Four bytes an element.
    F32,
}

/// Where to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    /// A GPU if there is one that the model fits, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
}

/// A backend to put beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SideArg {
    /// The CPU.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
}

impl SideArg {
    /// As kernels name it.
    pub fn backend(self) -> deltascope_kernels::Backend {
        match self {
            SideArg::Cpu => deltascope_kernels::Backend::Cpu,
            SideArg::Cuda => deltascope_kernels::Backend::Cuda,
        }
    }
}

/// How tokens are chosen.
#[derive(Args, Clone, Debug, Default)]
pub struct SamplingArgs {
    /// Temperature; 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.0)]
    pub temp: f32,
    /// Keep so many of the likeliest; 0 keeps all.
    #[arg(long, default_value_t = 40)]
    pub top_k: usize,
    /// Keep the fewest that make up this probability.
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f32,
    /// Keep those at least this share as likely as the likeliest.
    #[arg(long, default_value_t = 0.05)]
    pub min_p: f32,
    /// Equal seeds give equal text.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    /// As the model crate wants them.
    pub fn params(&self) -> deltascope_model::sampling::SamplingParams {
        deltascope_model::sampling::SamplingParams {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: self.seed,
        }
    }
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Columns for people.
    #[default]
    Text,
    /// Markdown.
    Md,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values.
    Csv,
}

/// How nodes are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GroupArg {
    /// By op and weight type.
    #[default]
    Op,
    /// Every node.
    Node,
    /// By layer.
    Layer,
    /// By part of a layer.
    Block,
}

/// How the steps of a GPU are timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TimingArg {
    /// By CUPTI where it serves, else by events.
    #[default]
    Auto,
    /// By an event after each step, which holds steps apart.
    Events,
    /// By CUPTI: each kernel's own time, in runs that nothing was put into.
    Cupti,
}

/// Which phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PhaseArg {
    /// One token at a time.
    #[default]
    Decode,
    /// A prompt's ubatch.
    Prefill,
}
