//! `check`: every variant against its op's reference, as the test suite does it.

use crate::cli::TableFormat;
use crate::report::{Cell, Table, print};
use clap::Args;
use deltascope_kernels::check::suite;
use deltascope_kernels::{Backend, Op, ops};
use std::process::ExitCode;

/// Of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// This op alone.
    #[arg(long)]
    op: Option<String>,
    /// Variants of this name alone.
    #[arg(long)]
    variant: Option<String>,
    /// Thread counts to run with, by commas; results must be the same bits for all.
    #[arg(short = 't', long, value_delimiter = ',', default_value = "1,2,3,4")]
    threads: Vec<usize>,
    /// Seed of the inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How to print.
    #[arg(short = 'o', long, value_enum, default_value_t)]
    output: TableFormat,
}

/// Prints a row for each variant; fails if one is wrong.
///
/// # Errors
/// If the op does not exist or nothing matches.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let op = match &args.op {
        None => None,
        Some(name) => match Op::from_name(name) {
            Some(op) => Some(op),
            None => {
                let known: Vec<&str> = ops::all().map(Op::name).collect();
                anyhow::bail!("there is no op `{name}` (hint: one of {})", known.join(", "));
            }
        },
    };
    anyhow::ensure!(args.threads.iter().all(|&t| t > 0) && !args.threads.is_empty(), "threads start at 1");
    let mut table = Table {
        columns: vec![
            ("op", "op"),
            ("variant", "variant"),
            ("ok", "result"),
            ("runs", "runs"),
            ("worst", "worst error"),
            ("tolerance", "tolerance"),
            ("declined", "declined"),
        ],
        ..Table::default()
    };
    let mut failed = 0;
    for op in ops::all().filter(|o| op.is_none_or(|want| want == *o)) {
        for v in ops::variants(op) {
            let spec = v.spec();
            if spec.backend != Backend::Cpu || args.variant.as_ref().is_some_and(|n| n != spec.name) {
                continue;
            }
            let report = suite(*v, &args.threads, args.seed);
            let absent = v.here().is_err();
            let ok = report.failures.is_empty() && (absent || report.runs > 0);
            let result = match (ok, absent) {
                (false, _) => "FAILED",
                (true, true) => "not on this machine",
                (true, false) => "ok",
            };
            failed += usize::from(!ok);
            table.rows.push(vec![
                Cell::text(op.name()),
                Cell::text(spec.name),
                Cell::shown(result, ok),
                Cell::int(report.runs),
                Cell::shown(format!("{:.1e}", report.worst.relative), report.worst.relative),
                Cell::shown(format!("{:.1e}", spec.tolerance), f64::from(spec.tolerance)),
                Cell::text(report.declined.join("; ")),
            ]);
            for f in report.failures.iter().take(5) {
                eprintln!("{op} {}: {}: {}", spec.name, f.what, f.why);
            }
        }
    }
    anyhow::ensure!(!table.rows.is_empty(), "no variant matches");
    table.notes.push(format!("{} variants, {failed} failed; threads {:?}", table.rows.len(), args.threads));
    print(&table, args.output)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
