//! A table of named columns.

use crate::cli::TableFormat;
use serde_json::{Map, Value};
use std::io::Write;

/// A value with how people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// For people.
    pub text: String,
    /// For programs.
    pub value: Value,
}

impl Cell {
    /// Text.
    pub fn text(s: impl Into<String>) -> Cell {
        let text = s.into();
        Cell { value: Value::String(text.clone()), text }
    }

    /// A number, shown with so many decimals.
    pub fn number(x: f64, decimals: usize) -> Cell {
        Cell { text: format!("{x:.decimals$}"), value: x.into() }
    }

    /// A whole number.
    pub fn int(x: usize) -> Cell {
        Cell { text: x.to_string(), value: x.into() }
    }

    /// A value that people see as this text.
    pub fn shown(text: impl Into<String>, value: impl Into<Value>) -> Cell {
        Cell { text: text.into(), value: value.into() }
    }
}

/// Columns, by the name that programs use and the heading that people see; rows of cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// (name, heading); an empty heading is for programs alone.
    pub columns: Vec<(&'static str, &'static str)>,
    /// A cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// Lines after the table, for people.
    pub notes: Vec<String>,
}

/// Prints to standard output.
///
/// # Errors
/// If it cannot be written.
pub fn print(table: &Table, format: TableFormat) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(render(table, format).as_bytes())?)
}

/// The table as text in a format.
pub fn render(t: &Table, format: TableFormat) -> String {
    match format {
        TableFormat::Text => people(t, "  ", None),
        TableFormat::Md => people(t, " | ", Some(('|', '-'))),
        TableFormat::Json => {
            let rows: Vec<Value> = t.rows.iter().map(|r| object(t, r)).collect();
            format!("{:#}\n", Value::Array(rows))
        }
        TableFormat::Jsonl => t.rows.iter().map(|r| format!("{}\n", object(t, r))).collect(),
        TableFormat::Csv => csv(t),
    }
}

fn object(t: &Table, row: &[Cell]) -> Value {
    let fields = t.columns.iter().zip(row).map(|(c, cell)| (c.0.to_owned(), cell.value.clone()));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn people(t: &Table, gap: &str, frame: Option<(char, char)>) -> String {
    let shown: Vec<usize> = (0..t.columns.len()).filter(|&i| !t.columns[i].1.is_empty()).collect();
    let escape = |s: &str| if frame.is_some() { s.replace('|', "\\|") } else { s.to_owned() };
    let width = |i: usize| {
        let cells = t.rows.iter().map(|r| escape(&r[i].text).chars().count());
        cells.chain([t.columns[i].1.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = shown.iter().map(|&i| width(i)).collect();
    let right = |i: usize| t.rows.iter().any(|r| r[i].value.is_number());
    let line = |cell: &dyn Fn(usize) -> String| {
        let cells: Vec<String> = shown
            .iter()
            .zip(&widths)
            .map(|(&i, &w)| {
                let s = cell(i);
                if right(i) { format!("{s:>w$}") } else { format!("{s:<w$}") }
            })
            .collect();
        let joined = cells.join(gap);
        match frame {
            Some((side, _)) => format!("{side} {joined} {side}\n"),
            None => format!("{}\n", joined.trim_end()),
        }
    };
    let mut out = line(&|i| t.columns[i].1.to_owned());
    if let Some((side, rule)) = frame {
        let rules = shown.iter().zip(&widths).map(|(&i, &w)| {
            let dashes = rule.to_string().repeat(w + 1);
            if right(i) { format!("{dashes}:") } else { format!(":{dashes}") }
        });
        out += &format!("{side}{}{side}\n", rules.collect::<Vec<_>>().join("|"));
    }
    for row in &t.rows {
        out += &line(&|i| escape(&row[i].text));
    }
    if !t.notes.is_empty() {
        out.push('\n');
    }
    for note in &t.notes {
        out += &format!("{note}\n");
    }
    out
}

fn csv(t: &Table) -> String {
    let field = |s: &str| {
        if s.contains([',', '"', '\n']) { format!("\"{}\"", s.replace('"', "\"\"")) } else { s.to_owned() }
    };
    let mut out = t.columns.iter().map(|c| c.0).collect::<Vec<_>>().join(",") + "\n";
    for row in &t.rows {
        let cells = row.iter().map(|c| match &c.value {
            Value::String(s) => field(s),
            Value::Null => String::new(),
            other => field(&other.to_string()),
        });
        out += &(cells.collect::<Vec<_>>().join(",") + "\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        Table {
            columns: vec![("op", "op"), ("us", "µs"), ("raw", "")],
            rows: vec![
                vec![Cell::text("mul|mat, Q4_K"), Cell::number(12.345, 1), Cell::int(3)],
                vec![Cell::text("scale"), Cell::number(1.0, 1), Cell::int(4)],
            ],
            notes: vec!["residual 1 µs".into()],
        }
    }

    #[test]
    fn people_see_headings_and_programs_names() {
        insta::assert_snapshot!(render(&sample(), TableFormat::Text), @r"
        op               µs
        mul|mat, Q4_K  12.3
        scale           1.0

        residual 1 µs
        ");
        insta::assert_snapshot!(render(&sample(), TableFormat::Md), @r"
        | op             |   µs |
        |:---------------|-----:|
        | mul\|mat, Q4_K | 12.3 |
        | scale          |  1.0 |

        residual 1 µs
        ");
        insta::assert_snapshot!(render(&sample(), TableFormat::Csv), @r#"
        op,us,raw
        "mul|mat, Q4_K",12.345,3
        scale,1.0,4
        "#);
        insta::assert_snapshot!(render(&sample(), TableFormat::Jsonl), @r#"
        {"op":"mul|mat, Q4_K","us":12.345,"raw":3}
        {"op":"scale","us":1.0,"raw":4}
        "#);
    }
}
