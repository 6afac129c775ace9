//! `check`: every variant against its op's reference, as the test suite does it.

use crate::cli::{BackendArg, TableFormat};
use crate::report::{Cell, Table, print};
use clap::Args;
use deltascope_kernels::check::{SuiteReport, suite_on};
use deltascope_kernels::cuda::Device;
use deltascope_kernels::{Backend, Op, Variant, ops};
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
    /// Where variants run: on the CPU, on the first GPU, or with `auto` on whatever there is. On a GPU each run is made
    /// twice, and must repeat.
    #[arg(long, value_enum, default_value = "cpu")]
    backend: BackendArg,
    /// Run nothing: list what would be.
    #[arg(long)]
    list: bool,
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
    let backends = backends(args)?;
    let wanted: Vec<(Op, Backend, &dyn Variant)> = ops::all()
        .filter(|o| op.is_none_or(|want| want == *o))
        .flat_map(|o| ops::variants(o).iter().map(move |v| (o, *v)))
        .filter(|(_, v)| args.variant.as_ref().is_none_or(|n| n == v.spec().name))
        .flat_map(|(o, v)| backends.iter().filter(move |b| v.serves(**b)).map(move |b| (o, *b, v)))
        .collect();
    anyhow::ensure!(!wanted.is_empty(), "no variant matches");
    if args.list {
        print(&list(&wanted), args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table {
        columns: vec![
            ("op", "op"),
            ("variant", "variant"),
            ("backend", "on"),
            ("ok", "result"),
            ("runs", "runs"),
            ("worst", "worst error"),
            ("tolerance", "tolerance"),
            ("declined", "declined"),
        ],
        ..Table::default()
    };
    let mut failed = 0;
    for (op, backend, v) in wanted {
        let threads = if backend == Backend::Cuda { &[1, 1] } else { &args.threads[..] };
        let report = suite_on(backend, v, threads, args.seed);
        let absent = backend == Backend::Cpu && v.here().is_err();
        let ok = report.failures.is_empty() && (absent || report.runs > 0);
        failed += usize::from(!ok);
        table.rows.push(row(op, backend, v, &report, ok, absent));
        for f in report.failures.iter().take(5) {
            eprintln!("{op} {}: {}: {}", v.spec().name, f.what, f.why);
        }
    }
    table.notes.push(format!("{} variants, {failed} failed; threads {:?}", table.rows.len(), args.threads));
    print(&table, args.output)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where to check.
fn backends(args: &CheckArgs) -> anyhow::Result<Vec<Backend>> {
    let gpu = || Device::first().map(|_| Backend::Cuda);
    Ok(match args.backend {
        BackendArg::Cpu => vec![Backend::Cpu],
        BackendArg::Cuda if args.list => vec![Backend::Cuda],
        BackendArg::Cuda => vec![gpu()?],
        BackendArg::Auto => std::iter::once(Backend::Cpu).chain(gpu().ok()).collect(),
    })
}

fn row(op: Op, backend: Backend, v: &dyn Variant, report: &SuiteReport, ok: bool, absent: bool) -> Vec<Cell> {
    let spec = v.spec();
    let result = match (ok, absent) {
        (false, _) => "FAILED",
        (true, true) => "not on this machine",
        (true, false) => "ok",
    };
    vec![
        Cell::text(op.name()),
        Cell::text(spec.name),
        Cell::text(backend.name()),
        Cell::shown(result, ok),
        Cell::int(report.runs),
        Cell::shown(format!("{:.1e}", report.worst.relative), report.worst.relative),
        Cell::shown(format!("{:.1e}", report.tolerance), f64::from(report.tolerance)),
        Cell::text(report.declined.join("; ")),
    ]
}

fn list(variants: &[(Op, Backend, &dyn Variant)]) -> Table {
    let columns = vec![("op", "op"), ("variant", "variant"), ("backend", "on"), ("summary", "how")];
    let row = |&(op, backend, v): &(Op, Backend, &dyn Variant)| {
        [op.name(), v.spec().name, backend.name(), v.spec().summary].map(Cell::text).to_vec()
    };
    Table { columns, rows: variants.iter().map(row).collect(), ..Table::default() }
}
