//! The selected row's variants and tunables, and the changes that keys make of them.

use crate::session::catalogue::{Choice, TunableRange};
use crate::session::{Candidate, Scope, Snapshot};
use deltascope_kernels::Backend;
use deltascope_model::profiling::{Group, Row};

/// The selected row.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// What it is called.
    pub label: String,
    /// Nodes of it.
    pub nodes: usize,
    /// Where they run; the first of two.
    pub backend: Backend,
    /// What a change of it is for; `None` for a row of many ops.
    pub scope: Option<Scope>,
    /// Variants of its op.
    pub choices: Vec<Choice>,
    /// Which of them is in force; `None` if there are several.
    pub current: Option<usize>,
    /// Tunables of the variant in force.
    pub tunables: Vec<TunableRange>,
    /// Their values; `None`: left to the run.
    pub values: Vec<Option<i64>>,
    /// The shape of its first node.
    pub shape: String,
    /// Why its first node has the variant that it has.
    pub note: Option<String>,
}

impl Selected {
    /// Of a row of a snapshot's table.
    pub fn of(snap: &Snapshot, row: &Row) -> Selected {
        let first = row.nodes.first().and_then(|&i| snap.catalogue.nodes.get(i));
        let scope = first.filter(|_| row.op.is_some()).and_then(|node| match snap.group {
            Group::Op => Some(Scope { op: node.op, dtype: node.dtype, node: None, phase: snap.phase }),
            Group::Node => Some(Scope { op: node.op, dtype: None, node: Some(node.name.clone()), phase: snap.phase }),
            Group::Layer | Group::Block => None,
        });
        let choices = if scope.is_some() { snap.catalogue.for_nodes(&row.nodes) } else { Vec::new() };
        let current = match snap.catalogue.variants_of(&row.nodes)[..] {
            [one] => choices.iter().position(|c| c.variant == one),
            _ => None,
        };
        let tunables = current.map_or_else(Vec::new, |at| choices[at].tunables.clone());
        let value = |t: &TunableRange| {
            first.and_then(|n| n.tunables.iter().find(|(name, _)| *name == t.name)).map(|(_, value)| *value)
        };
        Selected {
            label: row.label.clone(),
            nodes: row.n,
            backend: row.sides.first().map_or(snap.subject.backend, |(b, _)| *b),
            scope,
            values: tunables.iter().map(value).collect(),
            tunables,
            current,
            choices,
            shape: first.map_or_else(String::new, |n| n.shape.clone()),
            note: first.and_then(|n| n.note.clone()),
        }
    }

    /// The variant of a line, with its defaults.
    pub fn candidate(&self, line: usize) -> Option<Candidate> {
        self.choices.get(line).map(|c| Candidate { variant: c.variant.to_owned(), tunables: Vec::new() })
    }

    /// The variant in force with one tunable a step up or down: that of the line, or the first one.
    pub fn stepped(&self, line: usize, up: bool) -> Option<Candidate> {
        let at = line.saturating_sub(self.choices.len());
        let (range, value) = (self.tunables.get(at)?, self.values.get(at)?);
        let value = value.unwrap_or(range.default);
        let place = range.values.iter().position(|v| *v >= value).unwrap_or(range.values.len().checked_sub(1)?);
        let next = if up { place + 1 } else { place.checked_sub(1)? };
        let new = *range.values.get(next)?;
        let mut tunables: Vec<(String, i64)> = Vec::new();
        for (i, (t, v)) in self.tunables.iter().zip(&self.values).enumerate() {
            if let Some(v) = if i == at { Some(new) } else { *v } {
                tunables.push((t.name.to_owned(), v));
            }
        }
        Some(Candidate { variant: self.choices[self.current?].variant.to_owned(), tunables })
    }
}

/// Lines of the detail pane that the cursor can stand on.
pub fn lines(selected: &Selected) -> usize {
    selected.choices.len() + selected.tunables.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected() -> Selected {
        let range = |name, default, values: &[i64]| TunableRange { name, doc: "", default, values: values.to_vec() };
        let tunables = vec![range("block", 64, &[64, 128]), range("threads", 2, &[1, 2])];
        let choice = Choice {
            variant: "blocked",
            summary: "",
            lowering: false,
            reason: None,
            tunables: tunables.clone(),
            tolerance: 0.0,
        };
        Selected {
            label: "scale".into(),
            backend: Backend::Cpu,
            nodes: 1,
            scope: None,
            choices: vec![choice],
            current: Some(0),
            values: vec![Some(64), None],
            tunables,
            shape: String::new(),
            note: None,
        }
    }

    #[test]
    fn a_step_changes_one_tunable_and_stays_in_the_range() {
        let s = selected();
        let step = |line, up| s.stepped(line, up).map(|c| c.tunables);
        assert_eq!(step(0, true), Some(vec![("block".into(), 128)]));
        assert_eq!(step(0, false), None);
        assert_eq!(step(2, false), Some(vec![("block".into(), 64), ("threads".into(), 1)]));
        assert_eq!(step(2, true), None);
        assert_eq!(step(9, true), None);
    }
}
