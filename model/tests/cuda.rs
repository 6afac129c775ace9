//! The engine on a GPU. What needs none (plans, errors) runs everywhere; the rest says why it is skipped.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

mod common;

use common::{ORACLES, TOLERANCE, demo, engine, logits, no_gpu, options, oracle, relative};
use deltascope_kernels::cuda::{Cache, Compiler, Nvrtc};
use deltascope_kernels::plan::{Plan, StepKernel};
use deltascope_kernels::{Backend, DType, Op, Tunables};
use deltascope_model::choice::ProfileChooser;
use deltascope_model::device_weights::wanted;
use deltascope_model::qwen3next::{BatchShape, Logits, StateShape, build};
use deltascope_model::sampling::{Sampler, SamplingParams, Scores};
use deltascope_model::{Batch, Engine, EngineError, Model, Place};
use deltascope_profiles::{Choice, Origin, Phase, Preset, Rule, Stack, presets};
use std::collections::HashSet;
use std::sync::Arc;

/// Tokens of the prompt.
const PROMPT: usize = 32;

fn on_gpu(model: &Arc<Model>, graphs: bool) -> Engine {
    engine(model, Stack::new(), Place::Cuda, graphs)
}

fn greedy(e: &mut Engine, mut last: Vec<f32>, n: usize) -> Vec<u32> {
    (0..n)
        .map(|_| {
            let id = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap() as u32;
            last = e.decode(0, id).unwrap().to_vec();
            id
        })
        .collect()
}

#[test]
fn every_step_of_the_model_has_a_cuda_variant_that_compiles() {
    let compiler = Nvrtc::load().map(|_| Compiler::new((9, 0), Cache::none()).unwrap());
    if let Err(e) = &compiler {
        println!("kernels are not compiled: {e}");
    }
    let mut compiled = HashSet::new();
    for model in [demo(), oracle(ORACLES[0]), oracle(ORACLES[1])] {
        for n_tokens in [1, 7, 64] {
            let state = StateShape { n_slots: 1, n_ctx: 512, kv_type: DType::F16 };
            let shape = BatchShape { n_tokens, n_seqs: 1, n_kv: 256, logits: Logits::Last };
            let graph = build(&model.config, &model.weights, &model.weight_ids, state, shape);
            let phase = if n_tokens == 1 { Phase::Decode } else { Phase::Prefill };
            let stack = Stack::new();
            let chooser = ProfileChooser { stack: &stack, phase, tokens: n_tokens, backend: Backend::Cuda, gpu: true };
            let plan = Plan::build(graph, &chooser, 1).unwrap();
            for step in &plan.steps {
                let StepKernel::Cuda(kernel) = step.kernel else {
                    panic!("{} runs on the CPU", plan.node(step.node).name);
                };
                let unit = kernel.unit(&step.inst, &step.tunables);
                if let (Ok(compiler), true) = (&compiler, compiled.insert(unit.clone())) {
                    compiler.compile(&unit).unwrap();
                }
            }
            assert!(wanted(&plan).iter().any(|(id, _)| model.weight(*id).unwrap().name() == "output.weight"));
        }
    }
}

/// The profiles that open the blocks up as they once were.
fn history() -> impl Iterator<Item = (&'static Preset, Stack)> {
    presets().iter().filter(|p| p.name.starts_with("cuda-history/")).map(|p| {
        let mut stack = Stack::new();
        stack.push(Origin::Preset(p.name.to_owned()), p.profile().unwrap());
        (p, stack)
    })
}

#[test]
fn every_choice_of_the_history_is_taken_on_cuda() {
    let model = demo();
    for (preset, stack) in history() {
        let mut taken = HashSet::new();
        for n_tokens in [1, 70] {
            let state = StateShape { n_slots: 1, n_ctx: 512, kv_type: DType::F16 };
            let shape = BatchShape { n_tokens, n_seqs: 1, n_kv: 256, logits: Logits::Last };
            let graph = build(&model.config, &model.weights, &model.weight_ids, state, shape);
            let phase = if n_tokens == 1 { Phase::Decode } else { Phase::Prefill };
            let chooser = ProfileChooser { stack: &stack, phase, tokens: n_tokens, backend: Backend::Cuda, gpu: true };
            let plan = Plan::build(graph, &chooser, 1).unwrap();
            assert!(plan.steps.iter().all(|s| matches!(s.kernel, StepKernel::Cuda(_))), "{}", preset.name);
            taken.extend(plan.nodes.iter().map(|n| (n.op().name().to_owned(), n.variant.spec().name.to_owned())));
        }
        for choice in preset.profile().unwrap().choices {
            let wanted = (choice.rule.op, choice.variant);
            assert!(taken.contains(&wanted), "{}: {wanted:?} is nowhere", preset.name);
        }
    }
}

#[test]
fn the_history_says_the_same_on_cuda() {
    if no_gpu() {
        return;
    }
    let model = oracle(ORACLES[0]);
    let want = logits(&mut engine(&model, Stack::new(), Place::Cpu, true), PROMPT, PROMPT);
    for (preset, stack) in history() {
        let graphs = preset.profile().unwrap().engine.graphs;
        let mut e = engine(&model, stack, Place::Cuda, true);
        assert_eq!(e.options().graphs, graphs.unwrap_or(true), "{}", preset.name);
        let got = logits(&mut e, PROMPT, PROMPT);
        let error = relative(&got, &want);
        println!("{}: relative error {error:e}", preset.name);
        assert!(error <= TOLERANCE, "{}: relative error {error:e}", preset.name);
        assert_eq!(logits(&mut e, PROMPT, PROMPT), got, "{}: another run", preset.name);
    }
}

#[test]
fn without_a_gpu_cuda_is_an_error_and_auto_is_the_processor() {
    let model = oracle(ORACLES[0]);
    let asked = Engine::new(Arc::clone(&model), Stack::new(), options(Place::Cuda, true));
    let mut auto = engine(&model, Stack::new(), Place::Auto, true);
    match asked {
        Ok(e) => assert_eq!((e.backend(), auto.backend()), (Backend::Cuda, Backend::Cuda)),
        Err(e) => {
            assert!(matches!(e, EngineError::Cuda(_)), "{e}");
            assert!(e.to_string().contains("CUDA") || e.to_string().contains("NVRTC"), "{e}");
            assert_eq!(auto.backend(), Backend::Cpu);
        }
    }
    assert_eq!(logits(&mut auto, PROMPT, PROMPT).len(), (PROMPT + PROMPT / 2) * auto.model().config.n_vocab);
}

#[test]
fn logits_agree_with_the_processors_for_every_ubatch_and_repeat() {
    if no_gpu() {
        return;
    }
    for name in ORACLES {
        let model = oracle(name);
        let mut cpu = engine(&model, Stack::new(), Place::Cpu, true);
        let want = logits(&mut cpu, PROMPT, PROMPT);
        let mut e = on_gpu(&model, true);
        for ubatch in [1, 7, 64] {
            let got = logits(&mut e, PROMPT, ubatch);
            let error = relative(&got, &want);
            println!("{name}, ubatch {ubatch}: relative error {error:e}");
            assert!(error <= TOLERANCE, "{name}, ubatch {ubatch}: relative error {error:e}");
            assert_eq!(logits(&mut e, PROMPT, ubatch), got, "{name}, ubatch {ubatch}: another run");
            assert_eq!(
                logits(&mut on_gpu(&model, false), PROMPT, ubatch),
                got,
                "{name}, ubatch {ubatch}: without graphs"
            );
        }
    }
}

#[test]
fn text_repeats_and_a_checkpoint_brings_it_back() {
    if no_gpu() {
        return;
    }
    let model = demo();
    let prompt = model.tokenizer.encode("The borrow checker ensures that", false).unwrap();
    let mut e = on_gpu(&model, true);
    let first = e.prompt(0, &prompt).unwrap();
    let before = e.checkpoint(0).unwrap();
    let text = greedy(&mut e, first.clone(), 48);
    println!("{}", model.tokenizer.decode(&text).unwrap());
    e.restore(&before).unwrap();
    assert_eq!(e.position(0), prompt.len());
    assert_eq!(greedy(&mut e, first.clone(), 48), text, "after going back");
    e.reset(0).unwrap();
    e.record(true);
    let again = e.prompt(0, &prompt).unwrap();
    assert_eq!(again, first, "after a reset, recorded");
    assert_eq!(greedy(&mut e, again, 48), text, "recorded");
    let record = e.take_record().unwrap();
    let steps: f64 = record.steps.iter().map(|s| f64::from(s.work)).sum();
    assert!(steps > 0.0 && record.info.backend == Backend::Cuda, "{steps}");
}

#[test]
fn a_sampler_sees_the_largest_logits_alone_and_chooses_the_same() {
    if no_gpu() {
        return;
    }
    let model = demo();
    let prompt = model.tokenizer.encode("The borrow checker ensures that", false).unwrap();
    let mut e = on_gpu(&model, true);
    let drawn = SamplingParams { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.01, seed: 3 };
    for params in [SamplingParams::default(), drawn] {
        let mut texts = Vec::new();
        for top in [false, true] {
            let mut sampler = Sampler::new(params.clone()).unwrap();
            let wanted = sampler.wants().filter(|_| top);
            e.reset(0).unwrap();
            let mut id = sampler.sample(&e.prompt(0, &prompt).unwrap());
            let mut text = Vec::new();
            for _ in 0..24 {
                text.push(id);
                let scores = e.next(0, id, wanted).unwrap();
                assert_eq!(matches!(scores, Scores::Top(_)), top);
                id = sampler.choose(scores);
            }
            texts.push(text);
        }
        assert_eq!(texts[0], texts[1], "{params:?}");
    }
}

#[test]
fn a_swap_between_two_tokens_is_checked_on_live_inputs_and_keeps_the_state() {
    if no_gpu() {
        return;
    }
    let model = demo();
    let prompt = model.tokenizer.encode("The borrow checker ensures that", false).unwrap();
    let mut e = on_gpu(&model, true);
    let first = e.prompt(0, &prompt).unwrap();
    greedy(&mut e, first, 8);
    let before = e.checkpoint(0).unwrap();
    let old = e.decode(0, 5).unwrap().to_vec();
    e.restore(&before).unwrap();
    let batch = Batch { tokens: &[5], slot: 0, n_seqs: 1, logits: Logits::Last };
    let plan = e.plan_info(Phase::Decode).unwrap();
    let name = plan.nodes.iter().find(|n| n.op == Op::DeltaNet).unwrap().name.clone();
    let taps = e.eval_tapped(batch, &[name]).unwrap();
    e.restore(&before).unwrap();
    // From one launch to a launch for each part, one of them another than the default.
    let variant = deltascope_kernels::ops::variant(Op::DeltaNet, Backend::Cuda, "lowered").unwrap();
    let mut inner = Choice::new(Rule::new("gated_delta_net"), "registers");
    inner.tunables = [("parts".to_owned(), 2.into())].into();
    for mut choice in [inner, Choice::new(Rule::new("delta_net"), "lowered")] {
        choice.rule.backend = deltascope_profiles::Backend::Cuda(None);
        e.stack_mut().session_mut().choices.push(choice);
    }
    let (tunables, stack) = (Tunables::defaults(variant.spec().tunables), e.stack().clone());
    let checked = e.check_variant(&taps[0], variant, &tunables, &stack, Phase::Decode).unwrap();
    assert!(checked.passed(), "{checked:?}");
    let new = e.decode(0, 5).unwrap().to_vec();
    let info = e.plan_info(Phase::Decode).unwrap();
    let node = info.nodes.iter().find(|n| n.op == Op::GatedDeltaNet).unwrap();
    assert!(node.tunables.contains(&("parts", 2)), "{:?} {:?}", node.tunables, node.note);
    assert!(relative(&new, &old) < 1e-3, "{}", relative(&new, &old));
}
