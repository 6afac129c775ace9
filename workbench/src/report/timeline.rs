//! Every kernel of a GPU's run in order, as a plain table.

use super::{Cell, Table};
use deltascope_model::profiling::Timeline;

/// A row a kernel; times in microseconds.
pub fn timeline_table(t: &Timeline) -> Table {
    let row = |(i, r): (usize, deltascope_model::profiling::TimelineRow)| {
        let s = r.span;
        let times = [s.start, s.duration, s.own, s.gap, s.overlap];
        let names = [r.node, r.label, r.variant.to_owned(), r.kernel.to_owned()];
        let cells = std::iter::once(Cell::int(i)).chain(names.into_iter().map(Cell::text));
        // CUPTI's times are whole nanoseconds.
        cells.chain(times.map(|us| Cell::number((us * 1e3).round() / 1e3, 3))).collect()
    };
    Table {
        columns: vec![
            ("kernel_no", "#"),
            ("node", "node"),
            ("op", "op"),
            ("variant", "variant"),
            ("kernel", "kernel"),
            ("start_us", "start"),
            ("duration_us", "duration"),
            ("own_us", "own"),
            ("gap_us", "gap"),
            ("overlap_us", "overlap"),
        ],
        rows: t.rows().into_iter().enumerate().map(row).collect(),
        notes: vec![format!("medians over {} runs", t.runs())],
    }
}
