use super::*;
use crate::demo;
use crate::measure::over;
use deltascope_profiles::{Choice, Rule};
use std::sync::atomic::{AtomicBool, Ordering};

/// The demo model with the slow graph of the first ports in force, and a prompt of four tokens to run.
fn slow_engine() -> (Engine, Workload) {
    let (mut engine, workload) = demo::engine();
    engine.stack_mut().session_mut().choices.push(Choice::new(Rule::new("gated_delta_net"), "lowered_recurrent"));
    (engine, Workload { phase: Phase::Prefill, tokens: (1..5).collect(), ..workload })
}

fn quick() -> Options {
    let confirm = ab::Options { min_pairs: 8, max_pairs: 10, ..ab::Options::default() };
    Options { rounds: 6, samples: 1, drift: 10.0, confirm: Some(confirm), ..Options::default() }
}

#[test]
fn a_search_ends_in_a_profile_that_loads_and_a_journal_that_saves_doing_it_again() {
    let (mut engine, workload) = slow_engine();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let (before, position) = (engine.stack().clone(), engine.position(0));
    let mut journal = Journal::open(&path).unwrap();
    let op = Op::GatedDeltaNet;
    let go = |engine: &mut Engine, journal: &mut Journal| {
        search(engine, op, &workload, &quick(), Some(journal), Limits::default(), &mut |_| ()).unwrap()
    };
    let found = go(&mut engine, &mut journal);
    assert_eq!((engine.stack(), engine.position(0)), (&before, position));
    assert!(found.changes > 0 && found.accepted && !found.stopped, "{found:?}");
    let row = &found.choices[0];
    let m = row.measured.as_ref().unwrap();
    assert!(m.speedup.unwrap() > 1.0 && m.ci95_us[0] <= m.median_us && m.median_us <= m.ci95_us[1]);
    assert_eq!((m.baseline.as_deref(), row.rule.phase), (Some("lowered_recurrent"), Some(Phase::Prefill)));

    // Through a file's text, and into a plan.
    let text = deltascope_profiles::to_toml(&found.profile(&engine));
    let again = deltascope_profiles::parse(&text, std::path::Path::new("found.toml")).unwrap();
    assert_eq!(again.choices.len(), found.choices.len());
    let stack = over(engine.stack(), again);
    engine.set_stack(stack);
    let record = run(&mut engine, workload.batch(0).unwrap()).unwrap().0;
    let node = record.info.nodes.iter().find(|n| n.op == op).unwrap();
    assert_eq!(node.variant.spec().name, row.variant);

    // Every candidate is accounted for, and one of them is what was in force.
    let count = |fate: &dyn Fn(&Fate) -> bool| found.standings.iter().filter(|s| fate(&s.fate)).count();
    assert_eq!((count(&|f| *f == Fate::Baseline), count(&|f| *f == Fate::Won)), (1, 1));
    assert_eq!(count(&|f| *f == Fate::NotMeasured), 0);
    let won = found.standings.iter().find(|s| s.fate == Fate::Won).unwrap();
    assert!(won.ratio.unwrap().hi < 1.0 && won.candidate.variant.spec().name == row.variant);

    // Nothing is measured twice.
    let count = |j: &Journal| j.lines().iter().filter(|l| matches!(l.entry, Entry::Measured { .. })).count();
    let (mut engine, _) = slow_engine();
    let mut journal = Journal::open(&path).unwrap();
    let measured = count(&journal);
    assert!(measured >= 6);
    assert_eq!(go(&mut engine, &mut journal).choices[0].variant, row.variant);
    assert_eq!(count(&journal), measured);
}

#[test]
fn cancelling_ends_it_and_nothing_is_claimed() {
    let (mut engine, workload) = slow_engine();
    let (before, position) = (engine.stack().clone(), engine.position(0));
    let cancel = AtomicBool::new(false);
    let limits = Limits { cancel: Some(&cancel), deadline: None };
    let found = search(&mut engine, Op::GatedDeltaNet, &workload, &quick(), None, limits, &mut |e| {
        if matches!(e, Event::Round { .. }) {
            cancel.store(true, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert!(found.stopped && found.choices.is_empty(), "one round has no verdict, not even a tie: {found:?}");
    assert!(found.standings.iter().any(|s| s.fate == Fate::Undecided));
    assert_eq!((engine.stack(), engine.position(0)), (&before, position));
}

#[test]
fn an_op_that_the_plan_lacks_is_an_error() {
    let (mut engine, workload) = demo::engine();
    let e = search(&mut engine, Op::SolveTri, &workload, &quick(), None, Limits::default(), &mut |_| ());
    assert!(matches!(e, Err(TuneError::NoNodes { op: Op::SolveTri, .. })));
}
