//! The rows that are shown: of the snapshot's table those that pass the filter, sorted, with their change.

use crate::session::Snapshot;
use crate::session::interval::{Verdict, notch};
use deltascope_model::profiling::{Group, Row};
use std::cmp::Ordering;

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Time, most first.
    #[default]
    Time,
    /// Name.
    Name,
    /// Number of nodes.
    Count,
    /// 95th percentile.
    P95,
    /// Gigabytes a second.
    Rate,
    /// Share of waiting.
    Wait,
    /// Change against the baseline.
    Change,
}

impl Sort {
    /// The next column.
    pub fn next(self) -> Sort {
        match self {
            Sort::Time => Sort::Name,
            Sort::Name => Sort::Count,
            Sort::Count => Sort::P95,
            Sort::P95 => Sort::Rate,
            Sort::Rate => Sort::Wait,
            Sort::Wait => Sort::Change,
            Sort::Change => Sort::Time,
        }
    }

    /// Its column's name.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Time => "time",
            Sort::Name => "name",
            Sort::Count => "n",
            Sort::P95 => "p95",
            Sort::Rate => "rate",
            Sort::Wait => "wait",
            Sort::Change => "Δ",
        }
    }
}

/// A row with its change against the baseline.
pub struct Shown<'a> {
    /// The row.
    pub row: &'a Row,
    /// Relative change of the median and what it says; `None`: the baseline has no such row.
    pub change: Option<(f64, Verdict)>,
}

/// Rows in the order of the screen.
pub fn shown<'a>(snap: &'a Snapshot, filter: &str, sort: Sort, reverse: bool) -> Vec<Shown<'a>> {
    let needle = filter.to_lowercase();
    let mut rows: Vec<Shown<'_>> = snap
        .table
        .rows
        .iter()
        .filter(|r| matches(r, &needle))
        .map(|row| Shown { row, change: change(snap, snap.group, row) })
        .collect();
    rows.sort_by(|a, b| {
        let order = compare(a, b, sort);
        if reverse { order.reverse() } else { order }
    });
    rows
}

fn matches(row: &Row, needle: &str) -> bool {
    needle.is_empty()
        || row.label.to_lowercase().contains(needle)
        || row.variants.iter().any(|v| v.contains(needle))
        || row.op.is_some_and(|op| op.name().contains(needle))
}

fn compare(a: &Shown<'_>, b: &Shown<'_>, sort: Sort) -> Ordering {
    let falling = |f: &dyn Fn(&Shown<'_>) -> f64| f(b).total_cmp(&f(a));
    match sort {
        Sort::Time => falling(&|s| s.row.total_us),
        Sort::Name => natural(&a.row.label, &b.row.label),
        Sort::Count => b.row.n.cmp(&a.row.n),
        Sort::P95 => falling(&|s| s.row.p95_us),
        Sort::Rate => falling(&|s| s.row.gb_per_s),
        Sort::Wait => falling(&|s| s.row.wait_share),
        Sort::Change => falling(&|s| s.change.map_or(0.0, |(c, _)| c.abs())),
    }
}

/// By text, numbers in it by value: `blk.2` before `blk.10`.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |s: &str| -> Vec<(u64, String)> {
        s.split('.').map(|p| (p.parse().unwrap_or(u64::MAX), p.to_owned())).collect()
    };
    parts(a).cmp(&parts(b))
}

fn change(snap: &Snapshot, group: Group, row: &Row) -> Option<(f64, Verdict)> {
    let baseline = snap.baseline.as_ref()?;
    let old = baseline.rows.get(&(snap.phase, group, row.label.clone()))?;
    let new = notch(&row.samples)?;
    let relative = new.median / old.median - 1.0;
    // Medians that differ by less than a hundredth are called a tie even where many samples tell them apart.
    let verdict = if new.overlaps(old) || relative.abs() < 0.01 {
        Verdict::Tie
    } else if relative < 0.0 {
        Verdict::Faster
    } else {
        Verdict::Slower
    };
    Some((relative, verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_numbers_sort_by_value() {
        let mut names = vec!["blk.10.a", "blk.2.b", "blk.2.a", "output"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["blk.2.a", "blk.2.b", "blk.10.a", "output"]);
    }
}
