use super::*;
use crate::demo;
use crate::measure::over;
use deltascope_profiles::{Choice, Phase, Profile, Rule};
use std::sync::atomic::AtomicBool;

fn with(engine: &Engine, variant: &str) -> Stack {
    let choices = vec![Choice::new(Rule::new("gated_delta_net"), variant)];
    over(engine.stack(), Profile { choices, ..Profile::default() })
}

/// A prompt of 48 tokens, on which the first ports' graph of the delta rule is an order of magnitude behind.
fn prompt(workload: Workload) -> Workload {
    Workload { phase: Phase::Prefill, tokens: (1..49).collect(), ..workload }
}

#[test]
fn the_fused_delta_rule_beats_the_graph_of_the_first_ports() {
    let (mut engine, workload) = demo::engine();
    let workload = prompt(workload);
    let (a, b) = (with(&engine, "lowered_recurrent"), with(&engine, "fused_inplace"));
    let options = Options { min_pairs: 8, max_pairs: 12, ..Options::default() };
    let (before, position) = (engine.stack().clone(), engine.position(0));
    let report = Ab::new(a, b, options).run(&mut engine, &workload, Limits::default(), |_| ()).unwrap().unwrap();
    assert_eq!(report.ops, [Op::GatedDeltaNet]);
    let changed = report.changed.unwrap();
    assert!(changed.verdict.is_faster(), "{changed:?}");
    assert!(changed.ratio.n >= 8 && changed.ratio.hi < 1.0);
    // Activations are rounded to int8 between the layers: a difference in the last bit of F32 can move one by a step.
    assert!(report.divergence.max_kl < 1e-2 && report.divergence.same_argmax > 0.9, "{:?}", report.divergence);
    assert_eq!((engine.stack(), engine.position(0)), (&before, position));
}

#[test]
fn equal_plans_have_no_changed_nodes_and_equal_logits() {
    let (mut engine, workload) = demo::engine();
    let stack = engine.stack().clone();
    let options = Options { min_pairs: 6, max_pairs: 6, ..Options::default() };
    let ab = Ab::new(stack.clone(), stack, options);
    let report = ab.run(&mut engine, &workload, Limits::default(), |_| ()).unwrap().unwrap();
    assert_eq!((report.nodes, report.changed), (0, None));
    assert_eq!((report.divergence.max_kl, report.divergence.same_argmax), (0.0, 1.0));
}

#[test]
fn text_goes_on_as_without_a_comparison() {
    let (mut engine, _) = demo::engine();
    let (mut plain, _) = demo::engine();
    let stack = engine.stack().clone();
    // The reference of an op that both sides share gives other bits; the same stack twice gives the same.
    let mut ab = Ab::new(stack.clone(), stack, Options::default());
    for token in [4, 9, 31] {
        let want = plain.decode(0, token).unwrap().to_vec();
        let batch = Batch { tokens: &[token], slot: 0, n_seqs: 1, logits: deltascope_model::qwen3next::Logits::Last };
        assert_eq!(ab.step(&mut engine, batch).unwrap().logits, want);
        assert_eq!(engine.position(0), plain.position(0));
    }
    ab.end(&mut engine);
    assert_eq!(ab.pairs(), 2, "the first pair is a warm-up");
}

#[test]
fn a_cancelled_comparison_leaves_the_engine_as_it_was() {
    let (mut engine, workload) = demo::engine();
    let (before, position) = (engine.stack().clone(), engine.position(0));
    let ab = Ab::new(with(&engine, "reference"), with(&engine, "fused_inplace"), Options::default());
    let cancel = AtomicBool::new(false);
    let limits = Limits { cancel: Some(&cancel), deadline: None };
    let report = ab.run(&mut engine, &workload, limits, |ab| {
        if ab.pairs() == 2 {
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert_eq!(report.unwrap().unwrap().run.ratio.n, 2);
    assert_eq!((engine.stack(), engine.position(0)), (&before, position));
}

#[test]
fn a_batch_that_does_not_fit_is_an_error_and_leaves_the_engine_as_it_was() {
    let (mut engine, workload) = demo::engine();
    let (before, position) = (engine.stack().clone(), engine.position(0));
    let too_long = Workload { phase: Phase::Prefill, tokens: vec![1; 600], ..workload };
    let ab = Ab::new(with(&engine, "reference"), with(&engine, "fused_inplace"), Options::default());
    assert!(ab.run(&mut engine, &too_long, Limits::default(), |_| ()).is_err());
    assert_eq!((engine.stack(), engine.position(0)), (&before, position));
}
