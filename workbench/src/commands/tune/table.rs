//! Every candidate of a search with its interval and what became of it.

use crate::report::{Cell, Table};
use deltascope_kernels::Op;
use deltascope_profiles::Phase;
use deltascope_tuning::journal::Shape;
use deltascope_tuning::search::{Fate, Found, Standing};
use deltascope_tuning::stats::Interval;
use serde_json::Value;

/// No candidate yet. Columns without a heading are for programs.
pub(super) fn empty() -> Table {
    let columns = vec![
        ("op", "op"),
        ("phase", ""),
        ("shape", "shape"),
        ("nodes", "n"),
        ("candidate", "candidate"),
        ("us", "µs"),
        ("us_lo", ""),
        ("us_hi", ""),
        ("ratio", "of the time in force"),
        ("ratio_lo", ""),
        ("ratio_hi", ""),
        ("rounds", ""),
        ("verdict", "verdict"),
        ("reason", "why"),
    ];
    Table { columns, ..Table::default() }
}

/// Adds what a search found, the fastest first, and a line on what whole runs said.
pub(super) fn add(table: &mut Table, op: Op, phase: Phase, found: &Found) {
    let mut shapes: Vec<&Shape> = Vec::new();
    for s in &found.standings {
        if !shapes.contains(&&s.shape) {
            shapes.push(&s.shape);
        }
    }
    for shape in shapes {
        let mut of_shape: Vec<&Standing> = found.standings.iter().filter(|s| s.shape == *shape).collect();
        of_shape.sort_by(|a, b| place(a).total_cmp(&place(b)));
        table.rows.extend(of_shape.into_iter().map(|s| row(op, phase, s)));
    }
    table.notes.push(note(op, found));
}

/// Measured ones by their ratio, then the others.
fn place(s: &Standing) -> f64 {
    match (&s.ratio, &s.fate) {
        (Some(r), _) => r.median,
        (None, Fate::Baseline) => 1.0,
        (None, Fate::NotMeasured) => f64::MAX,
        (None, _) => f64::INFINITY,
    }
}

fn row(op: Op, phase: Phase, s: &Standing) -> Vec<Cell> {
    let (verdict, reason) = words(&s.fate);
    let [us, us_lo, us_hi] = figures(s.us.as_ref(), |x| format!("{x:.2}"));
    let [ratio, ratio_lo, ratio_hi] = figures(s.ratio.as_ref(), |x| format!("{x:.3}"));
    vec![
        Cell::text(op.name()),
        Cell::text(phase.as_str()),
        Cell::text(shape(&s.shape)),
        Cell::int(s.nodes),
        Cell::text(s.candidate.to_string()),
        us,
        us_lo,
        us_hi,
        ratio,
        ratio_lo,
        ratio_hi,
        Cell::int(s.ratio.map_or(0, |r| r.n)),
        Cell::text(verdict),
        reason.map_or_else(|| Cell::shown("", Value::Null), Cell::text),
    ]
}

/// Median (people see the interval with it), and both ends.
fn figures(i: Option<&Interval>, text: impl Fn(f64) -> String) -> [Cell; 3] {
    match i {
        Some(i) => [
            Cell::shown(format!("{} [{}, {}]", text(i.median), text(i.lo), text(i.hi)), i.median),
            Cell::shown("", i.lo),
            Cell::shown("", i.hi),
        ],
        None => ["—", "", ""].map(|t| Cell::shown(t, Value::Null)),
    }
}

fn words(fate: &Fate) -> (String, Option<&str>) {
    match fate {
        Fate::Baseline => ("in force".into(), None),
        Fate::Refused(why) => ("refused".into(), Some(why)),
        Fate::Dropped(why) => ("dropped".into(), Some(why)),
        Fate::NotMeasured => ("not measured".into(), None),
        Fate::Undecided => ("too few rounds".into(), None),
        Fate::Won => ("won".into(), None),
        Fate::Tied => ("tie".into(), None),
        Fate::Behind(verdict) => (verdict.to_string(), None),
    }
}

/// `Q4_K 2048×256, 1 token`: the weight, else the elements of the result.
fn shape(s: &Shape) -> String {
    let size = match (s.rows, s.cols, s.elements) {
        (Some(r), Some(c), _) => format!("{r}×{c}"),
        (_, _, Some(n)) => format!("{n} elements"),
        _ => String::new(),
    };
    let dtype = s.dtype.as_ref().map_or_else(String::new, |t| format!("{t} "));
    format!("{dtype}{size}, {} token{}", s.tokens, if s.tokens == 1 { "" } else { "s" })
}

fn note(op: Op, found: &Found) -> String {
    let told = match (&found.confirmation, found.changes) {
        (_, 0) if found.stopped => "nothing is decided yet".to_owned(),
        (_, 0) => "what is in force stays".to_owned(),
        (None, n) => format!("{n} won, not confirmed by whole runs and so not taken"),
        (Some(r), n) => {
            let percent = |x: f64| 100.0 * (x - 1.0);
            let run = r.run.ratio;
            format!(
                "{n} won and {}: whole runs {} ({:+.1}% [{:+.1}, {:+.1}] of the time, {} pairs), largest KL {:.1e} nats",
                if found.accepted { "taken" } else { "not taken" },
                r.run.verdict,
                percent(run.median),
                percent(run.lo),
                percent(run.hi),
                run.n,
                r.divergence.max_kl
            )
        }
    };
    format!("{op}: {told}{}", if found.stopped { " (ended early)" } else { "" })
}
