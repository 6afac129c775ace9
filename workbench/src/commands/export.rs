//! `export`: the profile in force, for a deployment to load.

use super::{open_model, stack};
use crate::cli::ModelArgs;
use clap::{Args, ValueEnum};
use deltascope_profiles::{to_json, to_markdown, to_toml};

/// Of `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// How to print.
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: ExportFormat,
}

/// How a profile is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The profile file itself.
    #[default]
    Toml,
    /// A table of the choices.
    Md,
    /// JSON.
    Json,
}

/// Prints all layers merged into one profile.
///
/// # Errors
/// If a profile cannot be read.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let (model, _) = open_model(&args.model)?;
    let merged = stack(&args.model, &model)?.merge();
    for lost in &merged.dropped {
        eprintln!("warning: one file cannot say this, so it is left out: {lost:?}");
    }
    let text = match args.output {
        ExportFormat::Toml => to_toml(&merged.profile),
        ExportFormat::Md => to_markdown(&merged.profile),
        ExportFormat::Json => to_json(&merged.profile)?,
    };
    println!("{}", text.trim_end());
    Ok(())
}
