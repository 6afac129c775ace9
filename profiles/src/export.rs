//! A profile for other readers: documented TOML, a Markdown table, JSON.

use toml_edit::DocumentMut;

use crate::{Choice, Profile, encode};

const HEAD: &str = "\
# A Deltascope profile: which variant of each op to run, where, and why.
# Keys that are absent mean \"any\" in a rule and \"the default\" elsewhere.

";

const MACHINE: &str = "
# The machine that this was measured on. Where it differs from the machine at hand there is a warning, and measured
# choices are left out; so for the model below. `memory_gib` and `driver` are never compared. \"*\" fits anything.
";

const MODEL: &str = "
# The model that this was measured on; the fingerprint is one of tensor shapes and types, not of weights.
";

const ENGINE: &str = "
# The program that measured, and its settings.
";

const PLACES: &str = "
# Nodes of the model that run elsewhere than the rest (cpu, cuda, cuda:0), by an id or a pattern with * and ?. The first
# that fits holds.

";

const CHOICES: &str = "
# The choices. Each holds where all of its filters fit: `op`, `backend` (cpu, cuda, cuda:0), `phase` (decode, prefill),
# `elements`, `tokens`, `rows`, `cols` (\"65536..\", \"..64\", \"1..=31\" or a number), `types` of the weight, and `node`,
# an id or a pattern with * and ?. The most specific one wins: node, then number of filters, then device, then phase; of
# equals the later. Outside of its range a choice does not hold, and the default stands.
# `measured` says why (times in microseconds); `tied_with` names variants that are as fast within the error.

";

/// The whole file, with a comment for each section. Reading it back gives the same profile.
pub fn to_toml(profile: &Profile) -> String {
    let mut document = DocumentMut::from(encode::document(profile));
    if let Some(mut schema) = document.key_mut("schema") {
        schema.leaf_decor_mut().set_prefix(HEAD);
    }
    for (key, comment) in [("machine", MACHINE), ("model", MODEL), ("engine", ENGINE)] {
        if let Some(table) = document.get_mut(key).and_then(|item| item.as_table_mut()) {
            table.decor_mut().set_prefix(comment);
        }
    }
    for (key, comment) in [("place", PLACES), ("choice", CHOICES)] {
        let tables = document.get_mut(key).and_then(|item| item.as_array_of_tables_mut());
        if let Some(first) = tables.and_then(|tables| tables.get_mut(0)) {
            first.decor_mut().set_prefix(comment);
        }
    }
    document.to_string()
}

/// The choices as a Markdown table, a row each; before it a line for each placement.
pub fn to_markdown(profile: &Profile) -> String {
    let mut text: String = profile.places.iter().map(|p| format!("- `{}` on {}\n", p.node, p.backend)).collect();
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(
        "| op | backend | phase | where | variant | rev. | tunables | median µs | 95 % CI | share | speedup | tied with |\n\
         |---|---|---|---|---|--:|---|--:|--:|--:|--:|---|\n",
    );
    for choice in &profile.choices {
        text.push('|');
        for cell in cells(choice) {
            text.push(' ');
            text.push_str(&cell.replace('|', "\\|"));
            text.push_str(" |");
        }
        text.push('\n');
    }
    text
}

fn cells(choice: &Choice) -> [String; 12] {
    let rule = &choice.rule;
    let measured = choice.measured.as_ref();
    let code = |text: &dyn std::fmt::Display| format!("`{text}`");
    let sizes = rule.ranges().into_iter().filter_map(|(key, range)| Some(format!("{key} {}", range?)));
    let types = (!rule.types.is_empty()).then(|| rule.types.join(", "));
    let filters: Vec<String> = sizes.chain(types).chain(rule.node.as_ref().map(|node| code(node))).collect();
    let tunables: Vec<String> = choice.tunables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    [
        code(&rule.op),
        rule.backend.to_string(),
        rule.phase.map_or("both", |phase| phase.as_str()).to_owned(),
        filters.join("; "),
        code(&choice.variant),
        choice.revision.map(|revision| revision.to_string()).unwrap_or_default(),
        tunables.join(" "),
        measured.map(|m| format!("{:.2}", m.median_us)).unwrap_or_default(),
        measured.map(|m| format!("{:.2} to {:.2}", m.ci95_us[0], m.ci95_us[1])).unwrap_or_default(),
        measured.and_then(|m| m.share).map(|share| format!("{:.1} %", share * 100.0)).unwrap_or_default(),
        measured.map(speedup).unwrap_or_default(),
        choice.tied_with.join(", "),
    ]
}

fn speedup(measured: &crate::Measured) -> String {
    match (measured.speedup, &measured.baseline) {
        (Some(factor), Some(baseline)) => format!("{factor:.2}× `{baseline}`"),
        (Some(factor), None) => format!("{factor:.2}×"),
        (None, Some(baseline)) => format!("against `{baseline}`"),
        (None, None) => String::new(),
    }
}

/// The profile as JSON, with the keys of the TOML file.
pub fn to_json(profile: &Profile) -> serde_json::Result<String> {
    serde_json::to_string_pretty(profile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const EXAMPLE: &str = include_str!("../example.toml");

    fn example() -> Profile {
        crate::parse(EXAMPLE, Path::new("example.toml")).unwrap()
    }

    #[test]
    fn the_example_is_what_is_exported() {
        assert_eq!(to_toml(&example()), EXAMPLE);
    }

    #[test]
    fn an_empty_profile_is_exported_and_read_back() {
        let text = to_toml(&Profile::default());
        assert_eq!(crate::parse(&text, Path::new("empty.toml")).unwrap(), Profile::default());
    }

    #[test]
    fn markdown_has_a_row_for_each_choice() {
        insta::assert_snapshot!(to_markdown(&example()), @r"
        - `blk.*.ffn` on cpu

        | op | backend | phase | where | variant | rev. | tunables | median µs | 95 % CI | share | speedup | tied with |
        |---|---|---|---|---|--:|---|--:|--:|--:|--:|---|
        | `scale` | cpu | decode | elements 65536.. | `blocked` | 1 | block=1024 threads=2 | 12.10 | 11.90 to 12.40 | 3.1 % | 1.92× `serial` | rows |
        | `mul_mat` | cpu | both | tokens 1..=31; rows 1024..; cols 2048; Q4_K, Q6_K | `rows8` | 2 |  | 48.60 | 48.10 to 49.30 | 42.0 % | 1.31× `dot` |  |
        | `scale` | cpu | both | `blk.*.delta_net.scale_q` | `rows` |  |  |  |  |  |  |  |
        | `gated_delta_net` | cuda:0 | decode |  | `fused_inplace` |  | split=rows warps=4 |  |  |  |  |  |
        ");
    }

    #[test]
    fn json_has_the_keys_of_the_file() {
        let json: serde_json::Value = serde_json::from_str(&to_json(&example()).unwrap()).unwrap();
        let file: toml::Table = toml::from_str(EXAMPLE).unwrap();
        assert_eq!(json, serde_json::to_value(&file).unwrap());
    }
}
