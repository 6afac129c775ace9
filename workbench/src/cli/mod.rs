//! The command line: what can be asked for, and how errors reach the user.

mod args;
mod spelling;

pub use args::{
    BackendArg, Cli, Command, EngineArgs, GroupArg, KvArg, ModelArgs, PhaseArg, SamplingArgs, SideArg, TableFormat,
    TimingArg,
};

pub(crate) use args::placement;

use crate::commands;
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Parses and runs; errors are printed with their causes and a hint.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(spelling::long_forms(args));
    match run(cli) {
        Ok(code) => code,
        Err(e) => {
            // A closed pipe (`| head`) is no error of ours.
            if e.chain()
                .any(|c| c.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe))
            {
                return ExitCode::SUCCESS;
            }
            eprintln!("error: {e}");
            for cause in e.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let done = |r: anyhow::Result<()>| r.map(|()| ExitCode::SUCCESS);
    match cli.command {
        None if std::io::stdout().is_terminal() => done(commands::workbench::run(&cli.workbench)),
        None => done(commands::workbench::report(&cli.workbench)),
        Some(Command::Run(a)) => done(commands::run::run(&a)),
        Some(Command::Bench(a)) => done(commands::bench::run(&a)),
        Some(Command::Profile(a)) => done(commands::profile::run(&a)),
        Some(Command::Logits(a)) => done(commands::logits::run(&a)),
        Some(Command::Perplexity(a)) => done(commands::perplexity::run(&a)),
        Some(Command::Tune(a)) => commands::tune::run(&a),
        Some(Command::Check(a)) => commands::check::run(&a),
        Some(Command::Synth(a)) => done(commands::synth::run(&a)),
        Some(Command::Export(a)) => done(commands::export::run(&a)),
        Some(Command::Doctor(a)) => done(commands::doctor::run(&a)),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "deltascope", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Man) => {
            clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
