//! What differs between two profiles, as the save dialog shows it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use toml_edit::TableLike;

use crate::{Choice, Profile, Rule, encode};

/// One difference. Displays as one line: `+` added, `-` removed, `~` changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A setting outside of the choices, by its key.
    Setting {
        /// The key as a path, `engine.threads.decode`.
        key: String,
        /// Its value before, as TOML (placements, whose order matters, as one list); `None`: it was not there.
        before: Option<String>,
        /// Its value after, as TOML.
        after: Option<String>,
    },
    /// A choice that was not there.
    Added(Choice),
    /// A choice that is gone.
    Removed(Choice),
    /// A choice whose rule stayed.
    Changed {
        /// Before.
        before: Box<Choice>,
        /// After.
        after: Box<Choice>,
    },
    /// The choices that stayed come in another order, which decides between equally specific ones.
    Reordered,
}

/// All differences from `before` to `after`: settings, then choices in the order of `after`, then what was removed.
pub fn diff(before: &Profile, after: &Profile) -> Vec<Change> {
    let (old, new) = (settings(before), settings(after));
    let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
    let mut changes: Vec<Change> = keys
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Change::Setting { key: key.clone(), before: old.get(key).cloned(), after: new.get(key).cloned() })
        .collect();

    let index = |profile: &Profile| -> HashMap<Rule, usize> {
        profile.choices.iter().enumerate().map(|(at, choice)| (choice.rule.clone(), at)).collect()
    };
    let (old, new) = (index(before), index(after));
    for choice in &after.choices {
        match old.get(&choice.rule).map(|&at| &before.choices[at]) {
            None => changes.push(Change::Added(choice.clone())),
            Some(was) if was != choice => {
                changes.push(Change::Changed { before: was.clone().into(), after: choice.clone().into() })
            }
            Some(_) => {}
        }
    }
    changes
        .extend(before.choices.iter().filter(|choice| !new.contains_key(&choice.rule)).cloned().map(Change::Removed));
    let stayed: Vec<usize> = after.choices.iter().filter_map(|choice| old.get(&choice.rule).copied()).collect();
    if !stayed.is_sorted() {
        changes.push(Change::Reordered);
    }
    changes
}

/// Every setting but the choices, by its path.
fn settings(profile: &Profile) -> BTreeMap<String, String> {
    fn collect(prefix: &str, table: &dyn TableLike, into: &mut BTreeMap<String, String>) {
        for (key, item) in table.iter() {
            let path = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
            match item.as_table_like() {
                Some(inner) => collect(&path, inner, into),
                None => {
                    into.insert(path, item.to_string().trim().to_owned());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    let bare = Profile { places: Vec::new(), choices: Vec::new(), ..profile.clone() };
    collect("", &encode::document(&bare), &mut found);
    if !profile.places.is_empty() {
        let places: Vec<String> = profile.places.iter().map(ToString::to_string).collect();
        found.insert("place".to_owned(), places.join(", "));
    }
    found
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { key, before: None, after } => {
                write!(f, "+ {key} = {}", after.as_deref().unwrap_or_default())
            }
            Self::Setting { key, before: Some(before), after: None } => write!(f, "- {key} = {before}"),
            Self::Setting { key, before: Some(before), after: Some(after) } => write!(f, "~ {key}: {before} → {after}"),
            Self::Added(choice) => write!(f, "+ {}: {choice}{}", choice.rule, time(choice)),
            Self::Removed(choice) => write!(f, "- {}: {choice}{}", choice.rule, time(choice)),
            Self::Changed { before, after } => write!(f, "~ {}: {}", after.rule, between(before, after).join(", ")),
            Self::Reordered => f.write_str("~ the order of the choices"),
        }
    }
}

fn time(choice: &Choice) -> String {
    choice.measured.as_ref().map(|measured| format!(", {} µs", measured.median_us)).unwrap_or_default()
}

/// Each part in which two choices with one rule differ.
fn between(before: &Choice, after: &Choice) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = |name: &str, before: Option<String>, after: Option<String>| {
        if before != after {
            let [before, after] = [before, after].map(|value| value.unwrap_or_else(|| "unset".to_owned()));
            parts.push(format!("{name}{before} → {after}"));
        }
    };
    part("", Some(before.variant.clone()), Some(after.variant.clone()));
    let revision = |choice: &Choice| choice.revision.map(|revision| revision.to_string());
    part("revision ", revision(before), revision(after));
    let added = after.tunables.keys().filter(|name| !before.tunables.contains_key(*name));
    for name in before.tunables.keys().chain(added) {
        let value = |choice: &Choice| choice.tunables.get(name).map(ToString::to_string);
        part(&format!("{name} "), value(before), value(after));
    }
    if before.measured != after.measured {
        let median = |choice: &Choice| match &choice.measured {
            Some(measured) => format!("{} µs", measured.median_us),
            None => "not measured".to_owned(),
        };
        let (before, after) = (median(before), median(after));
        // Measured anew with the same median is a difference still.
        parts.push(if before == after { format!("measured anew, {after}") } else { format!("{before} → {after}") });
    }
    if before.tied_with != after.tied_with {
        let ties = |choice: &Choice| match choice.tied_with.as_slice() {
            [] => "nothing".to_owned(),
            names => names.join(" and "),
        };
        parts.push(format!("tied with {} → {}", ties(before), ties(after)));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(text: &str) -> Profile {
        crate::parse(text, "test.toml".as_ref()).unwrap()
    }

    #[test]
    fn a_line_for_each_difference() {
        let before = profile(
            r#"schema = 1
            name = "old"
            engine = { ubatch = 512, threads = { decode = 2 } }
            choice = [
              { op = "scale", phase = "decode", elements = "65536..", variant = "serial", tunables = { threads = 1 },
                measured = { median_us = 23.2, ci95_us = [23.0, 23.5], samples = 40 } },
              { op = "sum_rows", variant = "strided" },
              { op = "repeat", variant = "rows" },
              { op = "mul", variant = "rows" },
              { op = "cont", variant = "serial" },
            ]"#,
        );
        let after = profile(
            r#"schema = 1
            engine = { ubatch = 512, threads = { decode = 4, prefill = 4 } }
            choice = [
              { op = "mul", variant = "rows" },
              { op = "scale", phase = "decode", elements = "65536..", variant = "blocked",
                tunables = { block = 1024, threads = 2 }, tied_with = ["rows"],
                measured = { median_us = 12.1, ci95_us = [11.9, 12.4], samples = 40 } },
              { op = "repeat", variant = "rows" },
              { op = "cont", variant = "serial", revision = 2 },
              { op = "gated_delta_net", variant = "fused_inplace", tunables = { split = 2 } },
            ]"#,
        );
        let lines: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ~ engine.threads.decode: 2 → 4
        - name = "old"
        + engine.threads.prefill = 4
        ~ scale (cpu, decode, elements 65536..): serial → blocked, threads 1 → 2, block unset → 1024, 23.2 µs → 12.1 µs, tied with nothing → rows
        ~ cont (cpu): revision unset → 2
        + gated_delta_net (cpu): fused_inplace split=2
        - sum_rows (cpu): strided
        ~ the order of the choices
        "#);
        assert!(diff(&after, &after).is_empty());
    }
}
