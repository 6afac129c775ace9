//! Times of the same rows on several backends.

use super::{Cell, Table};
use deltascope_kernels::Backend;
use deltascope_model::profiling;
use serde_json::Value;

/// A backend, and what was measured there, if it could be.
pub type Side = (Backend, Option<profiling::Table>);

/// A column of times and one of variants a backend, a row for whatever row any of them has, the slowest anywhere first.
/// Of two backends the first's time over the second's.
pub fn side_table(sides: &[Side]) -> Table {
    let mut labels: Vec<(&str, usize, f64)> = Vec::new();
    for row in sides.iter().filter_map(|(_, t)| t.as_ref()).flat_map(|t| &t.rows) {
        match labels.iter_mut().find(|(label, ..)| *label == row.label) {
            Some((_, _, most)) => *most = most.max(row.total_us),
            None => labels.push((&row.label, row.n, row.total_us)),
        }
    }
    labels.sort_by(|a, b| b.2.total_cmp(&a.2));
    let find = |side: &Side, label: &str| {
        side.1
            .as_ref()
            .and_then(|t| t.rows.iter().find(|r| r.label == label))
            .map(|r| (r.total_us, r.variants.join(" ")))
    };
    let none = || Cell::shown("—", Value::Null);
    let rows = labels.iter().map(|&(label, n, _)| {
        let found: Vec<Option<(f64, String)>> = sides.iter().map(|s| find(s, label)).collect();
        let mut cells = vec![Cell::text(label), Cell::int(n)];
        cells.extend(found.iter().map(|f| f.as_ref().map_or_else(none, |(us, _)| Cell::number(*us, 1))));
        if let [a, b] = &found[..] {
            cells.push(match (a, b) {
                (Some((a, _)), Some((b, _))) if *b > 0.0 => Cell::number(a / b, 2),
                _ => none(),
            });
        }
        cells.extend(found.into_iter().map(|f| f.map_or_else(none, |(_, variants)| Cell::text(variants))));
        cells
    });
    let (times, variants): (Vec<_>, Vec<_>) = sides
        .iter()
        .map(|(backend, _)| match backend {
            Backend::Cpu => (("cpu_us", "cpu µs"), ("cpu_variants", "on cpu")),
            Backend::Cuda => (("cuda_us", "cuda µs"), ("cuda_variants", "on cuda")),
        })
        .unzip();
    let mut columns = vec![("name", "op"), ("n", "n")];
    columns.extend(times);
    columns.extend((sides.len() == 2).then_some(("ratio", "ratio")));
    columns.extend(variants);
    Table { columns, rows: rows.collect(), notes: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::TableFormat;
    use crate::report::render;
    use deltascope_kernels::Cost;
    use deltascope_model::profiling::Row;

    fn row(label: &str, us: f64, variant: &'static str) -> Row {
        Row {
            label: label.into(),
            op: None,
            n: 3,
            nodes: Vec::new(),
            own_us: us,
            total_us: us,
            p50_us: us,
            p95_us: us,
            share: 0.5,
            wait_share: 0.0,
            cost: Cost::default(),
            gb_per_s: 0.0,
            variants: vec![variant],
            sides: Vec::new(),
            lowered: false,
            samples: Vec::new(),
        }
    }

    #[test]
    fn rows_of_either_side_stand_beside_one_another() {
        let table = |rows| Some(profiling::Table { rows, ..profiling::Table::default() });
        let cpu = table(vec![row("moe_ffn", 305.0, "fused"), row("quantize", 9.0, "threaded")]);
        let gpu = table(vec![row("add", 12.0, "elements"), row("moe_ffn", 15.5, "two_launches")]);
        let both = side_table(&[(Backend::Cpu, cpu.clone()), (Backend::Cuda, gpu)]);
        insta::assert_snapshot!(render(&both, TableFormat::Text), @r"
        op        n  cpu µs  cuda µs  ratio  on cpu    on cuda
        moe_ffn   3   305.0     15.5  19.68  fused     two_launches
        add       3       —     12.0      —  —         elements
        quantize  3     9.0        —      —  threaded  —
        ");
        let alone = side_table(&[(Backend::Cpu, cpu), (Backend::Cuda, None)]);
        insta::assert_snapshot!(render(&alone, TableFormat::Csv), @r"
        name,n,cpu_us,cuda_us,ratio,cpu_variants,cuda_variants
        moe_ffn,3,305.0,,,fused,
        quantize,3,9.0,,,threaded,
        ");
    }
}
