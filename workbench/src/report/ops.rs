//! The op table of the workbench as a plain table.

use super::{Cell, Table};
use deltascope_kernels::Backend;
use deltascope_model::profiling::{self, Idle, Timing};
use serde_json::Value;

/// Share of the wall time beyond which a residual is said to be too large for the table to be trusted.
const RESIDUAL_LIMIT: f64 = 0.01;

/// Rows by time; waiting and residual as notes. Own times and the residual sum to the wall time.
pub fn op_table(t: &profiling::Table) -> Table {
    let mut rows: Vec<Vec<Cell>> = t
        .rows
        .iter()
        .map(|r| {
            let label = if r.lowered { format!("{} (its parts below)", r.label) } else { r.label.clone() };
            vec![
                Cell::shown(label, r.label.clone()),
                Cell::int(r.n),
                Cell::number(r.total_us, 1),
                Cell::shown(format!("{:.1}", r.own_us), r.own_us),
                Cell::shown(format!("{:.1}%", 100.0 * r.share), r.share),
                Cell::number(r.p50_us, 1),
                Cell::number(r.p95_us, 1),
                Cell::number(r.gb_per_s, 2),
                Cell::shown(format!("{:.0}%", 100.0 * r.wait_share), r.wait_share),
                Cell::text(r.on()),
                Cell::text(r.variants.join(" ")),
                Cell::shown("", r.lowered),
            ]
        })
        .collect();
    if let Some(idle) = &t.idle {
        rows.extend(beside_kernels(t, idle));
    }
    Table {
        columns: vec![
            ("name", "op"),
            ("n", "n"),
            ("total_us", "µs"),
            ("own_us", "own µs"),
            ("share", "share"),
            ("p50_us", "p50"),
            ("p95_us", "p95"),
            ("gb_per_s", "GB/s"),
            ("wait_share", "wait"),
            ("backend", if t.mixed { "on" } else { "" }),
            ("variants", "variant"),
            ("lowered", ""),
        ],
        rows,
        notes: notes(t),
    }
}

/// What no kernel's row has: the gaps between them, the time outside of them all, and what ran beside another.
fn beside_kernels(t: &profiling::Table, idle: &Idle) -> [Vec<Cell>; 3] {
    let row = |name: &str, n: Option<f64>, total: f64, own: f64| {
        let share = total / t.wall_us.max(f64::MIN_POSITIVE);
        let none = || Cell::shown("", Value::Null);
        vec![
            Cell::text(name),
            n.map_or_else(none, |n| Cell::shown(format!("{n:.0}"), n)),
            Cell::number(total, 1),
            Cell::shown(format!("{own:.1}"), own),
            Cell::shown(format!("{:.1}%", 100.0 * share), share),
            none(),
            none(),
            none(),
            none(),
            Cell::text(t.backend.name()),
            Cell::text(""),
            Cell::shown("", false),
        ]
    };
    [
        row("launch gaps", Some(idle.gaps), idle.gap_us, idle.gap_us),
        row("idle before and after", None, t.residual_us, t.residual_us),
        row("early starts (hidden)", Some(idle.overlaps), idle.overlap_us, 0.0),
    ]
}

/// How the rows were timed, and what they do not have.
fn notes(t: &profiling::Table) -> Vec<String> {
    let steps: f64 = t.rows.iter().map(|r| r.own_us).sum();
    let residual = t.residual_us / t.wall_us.max(f64::MIN_POSITIVE);
    let percent = 100.0 * residual;
    match t.backend {
        _ if t.mixed => vec![
            format!(
                "{} runs on both sides: the GPU's steps and transfers from event to event, the CPU's by its workers; \
                 wall {:.1} µs a run, {} barriers",
                t.runs, t.wall_us, t.barriers
            ),
            format!("barrier wait {:.1} µs, contained in the rows", t.wait_us),
            format!("own times of all rows sum to {steps:.1} µs"),
            format!("on both sides at once {:.1} µs, contained in the rows of both", t.at_once_us),
            format!("launches and waits {:.1} µs ({percent:.2}%): wall time outside of the steps", t.residual_us),
        ],
        Backend::Cpu => {
            let too_much =
                if residual > RESIDUAL_LIMIT { "; above 1%: the machine is busy, or steps are missing" } else { "" };
            vec![
                format!("{} runs; wall {:.1} µs a run, {} barriers", t.runs, t.wall_us, t.barriers),
                format!("barrier wait {:.1} µs, contained in the rows", t.wait_us),
                format!(
                    "residual {:.1} µs ({percent:.2}%): wall time that no step accounts for{too_much}; steps and last barrier {:.1} µs",
                    t.residual_us,
                    t.wall_us - t.residual_us
                ),
                format!("own times of all rows sum to {steps:.1} µs"),
            ]
        }
        Backend::Cuda if t.timing == Timing::Cupti => vec![
            format!(
                "{} runs, whole: each kernel's own time by CUPTI, {:.0} kernels a run; wall {:.1} µs a run",
                t.runs,
                t.idle.map_or(0.0, |i| i.kernels),
                t.wall_us
            ),
            format!(
                "own times of all kernels sum to {steps:.1} µs; a kernel that starts early is charged from the end of those before it"
            ),
        ],
        Backend::Cuda => vec![
            format!("{} runs, attributed: by events, one after each step; wall {:.1} µs a run", t.runs, t.wall_us),
            format!("own times of all rows sum to {steps:.1} µs, the gaps between steps contained"),
            format!("launch and copies {:.1} µs ({percent:.2}%): wall time outside of the steps", t.residual_us),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_run_that_cupti_saw_sum_to_its_wall_time_and_say_who_timed_them() {
        let idle = Idle { kernels: 350.0, gaps: 20.0, gap_us: 15.0, overlaps: 300.0, overlap_us: 900.0 };
        let table = profiling::Table {
            runs: 40,
            wall_us: 115.0,
            residual_us: 100.0,
            backend: Backend::Cuda,
            timing: Timing::Cupti,
            idle: Some(idle),
            ..profiling::Table::default()
        };
        let shown = op_table(&table);
        let own = shown.columns.iter().position(|c| c.0 == "own_us").unwrap();
        let sum: f64 = shown.rows.iter().map(|r| r[own].value.as_f64().unwrap()).sum();
        assert_eq!(sum, 115.0);
        let names: Vec<&str> = shown.rows.iter().map(|r| r[0].text.as_str()).collect();
        assert_eq!(names, ["launch gaps", "idle before and after", "early starts (hidden)"]);
        assert!(shown.notes[0].contains("by CUPTI, 350 kernels a run"), "{}", shown.notes[0]);
        let by_events = profiling::Table { timing: Timing::Events, idle: None, ..table };
        assert!(op_table(&by_events).rows.is_empty() && op_table(&by_events).notes[0].contains("by events"));
    }
}
