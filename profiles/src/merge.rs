//! A stack of layers as one profile.

use crate::{Choice, Origin, Profile, Rule, Stack};

/// What [`Stack::merge`] gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// One profile for the whole stack.
    pub profile: Profile,
    /// Lower choices that one file could not keep, and where they stood.
    pub dropped: Vec<(Origin, Choice)>,
}

impl Stack {
    /// Flattens the stack into one profile that answers every query as the stack does.
    ///
    /// In a stack the upper layer wins; in one file the more specific rule wins. A lower choice that would now win over
    /// an upper one is therefore kept for the one phase that the upper one leaves to it, and dropped if that does not
    /// do; where it stood, the merged profile gives the answer of what is below it, or none. `dropped` names those:
    /// while it is empty, the two answer alike.
    ///
    /// Choices that don't fit (see [`Stack::fit`]) are left out. The name is that of the highest layer with one; machine
    /// and model are those of the highest layer that has one and fits.
    pub fn merge(&self) -> Merged {
        let mut profile = Profile { engine: self.engine(), ..Profile::default() };
        let mut placed = Vec::new();
        let mut dropped = Vec::new();
        for place in self.places() {
            if !profile.places.iter().any(|above| above.node == place.node) {
                profile.places.push(place.clone());
            }
        }
        for layer in self.layers() {
            let upper = layer.in_force().map(|choice| (layer.origin.clone(), choice.clone())).collect();
            placed = lay_over(placed, upper, &mut dropped);
            profile.name = layer.profile.name.clone().or(profile.name);
            if layer.mismatches.is_empty() {
                profile.machine = layer.profile.machine.clone().or(profile.machine);
                profile.model = layer.profile.model.clone().or(profile.model);
            }
        }
        profile.choices = placed.into_iter().map(|(_, choice)| choice).collect();
        Merged { profile, dropped }
    }
}

type Placed = (Origin, Choice);

fn lay_over(lower: Vec<Placed>, upper: Vec<Placed>, dropped: &mut Vec<Placed>) -> Vec<Placed> {
    let rules: Vec<&Rule> = upper.iter().map(|(_, choice)| &choice.rule).collect();
    let below: Vec<Rule> = lower.iter().map(|(_, choice)| choice.rule.clone()).collect();
    let mut whole = Vec::new();
    let mut narrowed = Vec::new();
    for (origin, choice) in lower {
        match under(&choice.rule, &rules) {
            Fate::Kept => whole.push((origin, choice)),
            Fate::Shadowed => {}
            Fate::Dropped => dropped.push((origin, choice)),
            // A rule of the same layer that was for this phase alone has answered here all along.
            Fate::Narrowed(rule) if below.contains(&rule) => {}
            Fate::Narrowed(rule) => narrowed.push((origin, Choice { rule, ..choice })),
        }
    }
    // A narrowed rule became as specific as those that were for its phase from the start. They won over it, and do so
    // still if they come later.
    narrowed.into_iter().chain(whole).chain(upper).collect()
}

/// What becomes of a lower rule.
enum Fate {
    /// Upper choices win over it wherever they meet.
    Kept,
    /// An upper choice answers all that it would.
    Shadowed,
    /// It keeps one phase.
    Narrowed(Rule),
    /// It would win over an upper choice somewhere.
    Dropped,
}

fn under(rule: &Rule, upper: &[&Rule]) -> Fate {
    let fate = |rule: &Rule| {
        if upper.iter().any(|above| above.covers(rule)) {
            Fate::Shadowed
        } else if upper.iter().any(|above| above.overlaps(rule) && above.specificity() < rule.specificity()) {
            Fate::Dropped
        } else {
            Fate::Kept
        }
    };
    let whole = fate(rule);
    if rule.phase.is_some() || !matches!(whole, Fate::Dropped) {
        return whole;
    }
    let [decode, prefill] = [crate::Phase::Decode, crate::Phase::Prefill].map(|phase| {
        let part = Rule { phase: Some(phase), ..rule.clone() };
        (fate(&part), part)
    });
    match (decode, prefill) {
        ((Fate::Shadowed, _), (Fate::Kept, part)) | ((Fate::Kept, part), (Fate::Shadowed, _)) => Fate::Narrowed(part),
        ((Fate::Shadowed, _), (Fate::Shadowed, _)) => Fate::Shadowed,
        _ => Fate::Dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Phase, Query, SizeRange};
    use proptest::prelude::*;

    fn stack(layers: &[&str]) -> Stack {
        let mut stack = Stack::new();
        for (n, choices) in layers.iter().enumerate() {
            let text = format!("schema = 1\nchoice = [{choices}]");
            stack.push(Origin::Preset(n.to_string()), crate::parse(&text, "test.toml".as_ref()).unwrap());
        }
        stack
    }

    fn shown(merged: &Merged) -> Vec<String> {
        merged.profile.choices.iter().map(|choice| format!("{}: {choice}", choice.rule)).collect()
    }

    #[test]
    fn an_equal_rule_is_replaced() {
        let merged = stack(&[r#"{ op = "mul", variant = "a" }"#, r#"{ op = "mul", variant = "b" }"#]).merge();
        assert_eq!(shown(&merged), ["mul (cpu): b"]);
        assert!(merged.dropped.is_empty());
    }

    #[test]
    fn a_specific_choice_yields_to_a_general_one_above_it() {
        let lower = r#"{ op = "mul", elements = "64..", variant = "a" }"#;
        let merged = stack(&[lower, r#"{ op = "mul", variant = "b" }"#]).merge();
        assert_eq!(shown(&merged), ["mul (cpu): b"]);
        let merged = stack(&[lower, r#"{ op = "mul", phase = "decode", variant = "b" }"#]).merge();
        assert_eq!(shown(&merged), ["mul (cpu, prefill, elements 64..): a", "mul (cpu, decode): b"]);
        assert!(merged.dropped.is_empty());
    }

    #[test]
    fn what_one_file_cannot_say_is_dropped_and_named() {
        let merged = stack(&[
            r#"{ op = "mul", node = "blk.7.gate", variant = "a" }"#,
            r#"{ op = "mul", elements = "64..", variant = "b" }"#,
        ])
        .merge();
        assert_eq!(shown(&merged), ["mul (cpu, elements 64..): b"]);
        assert_eq!(merged.dropped[0].1.variant, "a");
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let phase = prop::option::of(prop::bool::ANY.prop_map(|b| if b { Phase::Decode } else { Phase::Prefill }));
        let range =
            || prop::option::of((0u64..4, 0u64..4).prop_map(|(a, b)| SizeRange::between(a.min(b), a.max(b)).unwrap()));
        let node =
            prop::option::of(prop::sample::select(vec!["a", "b", "*", "a*", "?"]).prop_map(|p| p.parse().unwrap()));
        let backend = prop::sample::select(vec![Backend::Cuda(None), Backend::Cuda(Some(0))]);
        (phase, range(), range(), node, backend).prop_map(|(phase, elements, tokens, node, backend)| Rule {
            phase,
            elements,
            tokens,
            node,
            backend,
            ..Rule::new("mul")
        })
    }

    fn layers() -> impl Strategy<Value = Stack> {
        prop::collection::vec(prop::collection::vec(rule(), 0..4), 1..4).prop_map(|layers| {
            let mut stack = Stack::new();
            for (n, rules) in layers.into_iter().enumerate() {
                let mut profile = Profile::default();
                for (i, rule) in rules.into_iter().enumerate() {
                    // A file has no two equal rules.
                    if !profile.choices.iter().any(|choice: &Choice| choice.rule == rule) {
                        profile.choices.push(Choice::new(rule, format!("{n}.{i}")));
                    }
                }
                stack.push(Origin::Preset(n.to_string()), profile);
            }
            stack
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn merged_and_stack_answer_alike_unless_something_was_dropped(stack in layers()) {
            let merged = stack.merge();
            let dropped: Vec<&str> = merged.dropped.iter().map(|(_, choice)| choice.variant.as_str()).collect();
            for phase in [Phase::Decode, Phase::Prefill] {
                for (backend, node) in [(None, None), (None, Some("a")), (Some(0), Some("b")), (Some(0), Some("ab"))] {
                    for size in 0..16 {
                        let query = Query {
                            elements: Some(size % 4),
                            tokens: Some(size / 4),
                            node,
                            ..Query::new("mul", Backend::Cuda(backend), phase)
                        };
                        let before = stack.lookup(&query).map(|found| found.choice.variant.as_str());
                        let after = merged.profile.lookup(&query).map(|choice| choice.variant.as_str());
                        let excused = before.is_some_and(|variant| dropped.contains(&variant));
                        prop_assert!(before == after || excused, "{:?}: {:?} became {:?}", query, before, after);
                    }
                }
            }
        }
    }
}
