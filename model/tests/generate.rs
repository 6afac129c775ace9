//! The engine on the demo model: text, several sequences, checkpoints, changes of plan between two tokens.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

use deltascope_model::engine::swap::kl_divergence;
use deltascope_model::qwen3next::Logits;
use deltascope_model::sampling::argmax;
use deltascope_model::{Batch, Engine, Model, Options};
use deltascope_profiles::{Choice, Preset, Rule, Stack};
use std::sync::{Arc, OnceLock};

fn demo() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/deltascope-demo-q4_k_m.gguf");
    Arc::clone(MODEL.get_or_init(|| Arc::new(Model::open(path).unwrap())))
}

fn engine(options: Options) -> Engine {
    Engine::new(demo(), Stack::new(), Options { n_ctx: 512, threads_decode: 2, threads_prefill: 2, ..options }).unwrap()
}

fn greedy(e: &mut Engine, prompt: &str, n: usize) -> String {
    let model = demo();
    let ids = model.tokenizer.encode(prompt, false).unwrap();
    let mut logits = e.prompt(0, &ids).unwrap();
    let mut out = Vec::new();
    for _ in 0..n {
        let next = argmax(&logits);
        out.push(next);
        logits = e.decode(0, next).unwrap().to_vec();
    }
    model.tokenizer.decode(&out).unwrap()
}

const PROMPT: &str = "The borrow checker ensures that";

/// Choices under which no activation is rounded to int8: every weight is dequantised and multiplied in F32.
fn exact() -> Stack {
    let mut stack = Stack::new();
    stack.session_mut().choices =
        ["mul_mat", "mul_mat_id", "moe_up_gate", "moe_down"].map(|op| Choice::new(Rule::new(op), "dequant")).to_vec();
    stack
}

#[test]
fn int8_activations_stay_close_to_exact_arithmetic() {
    let model = demo();
    let text = "The borrow checker ensures that references are valid for as long as they are used.";
    let ids = model.tokenizer.encode(text, false).unwrap();
    let all = |stack: Stack| {
        let options = Options { n_ctx: 512, threads_decode: 2, threads_prefill: 2, ..Options::default() };
        let mut e = Engine::new(demo(), stack, options).unwrap();
        e.eval(Batch { tokens: &ids, slot: 0, n_seqs: 1, logits: Logits::All }).unwrap().to_vec()
    };
    let (fast, exact) = (all(Stack::new()), all(exact()));
    let n = model.config.n_vocab;
    let kl: Vec<f64> = exact.chunks(n).zip(fast.chunks(n)).map(|(p, q)| kl_divergence(p, q)).collect();
    let mean = kl.iter().sum::<f64>() / kl.len() as f64;
    assert!(mean > 0.0, "the two must not be the same code");
    assert!(mean < 0.02, "mean divergence {mean} nats: {kl:?}");
}

#[test]
fn writes_words_of_its_subject() {
    let text = greedy(&mut engine(Options::default()), PROMPT, 40);
    assert!(text.contains(" the ") && text.contains('`'), "{text:?}");
    assert!(text.chars().filter(|c| c.is_alphabetic()).count() > 60, "{text:?}");
}

#[test]
fn sequences_side_by_side_do_not_see_each_other() {
    let model = demo();
    let (a, b) = ("The `Iterator` trait is", "fn main() { let x");
    let ids: Vec<Vec<u32>> = [a, b].iter().map(|t| model.tokenizer.encode(t, false).unwrap()).collect();
    let n = ids[0].len().min(ids[1].len());
    let mut alone = Vec::new();
    for ids in &ids {
        let mut e = engine(Options::default());
        let first = e.prompt(0, &ids[..n]).unwrap();
        let next = e.decode(0, 7).unwrap().to_vec();
        alone.push((first, next));
    }
    // Slots 1 and 2 of 3, so that slots that are not the first are bound right.
    let mut e = engine(Options { n_slots: 3, ..Options::default() });
    let both: Vec<u32> = ids.iter().flat_map(|i| i[..n].to_vec()).collect();
    let n_vocab = model.config.n_vocab;
    let first = e.eval(Batch { tokens: &both, slot: 1, n_seqs: 2, logits: Logits::Last }).unwrap().to_vec();
    let next = e.eval(Batch { tokens: &[7, 7], slot: 1, n_seqs: 2, logits: Logits::Last }).unwrap().to_vec();
    for s in 0..2 {
        assert_eq!(first[s * n_vocab..][..n_vocab], alone[s].0, "prompt of sequence {s}");
        assert!(kl_divergence(&next[s * n_vocab..][..n_vocab], &alone[s].1) < 1e-6, "token of sequence {s}");
    }
}

#[test]
fn a_checkpoint_takes_a_sequence_back() {
    let mut e = engine(Options::default());
    let model = demo();
    e.prompt(0, &model.tokenizer.encode(PROMPT, false).unwrap()).unwrap();
    let c = e.checkpoint(0).unwrap();
    let a = e.decode(0, 100).unwrap().to_vec();
    e.decode(0, 200).unwrap();
    e.restore(&c).unwrap();
    assert_eq!(e.decode(0, 100).unwrap(), a);
}

#[test]
fn variants_change_between_two_tokens_and_the_text_goes_on() {
    let mut e = engine(Options::default());
    let model = demo();
    let ids = model.tokenizer.encode(PROMPT, false).unwrap();
    let mut logits = e.prompt(0, &ids).unwrap();
    let mut out = Vec::new();
    for i in 0..24 {
        let variant = match i {
            6 => Some("lowered_recurrent"),
            12 => Some("lowered_chunked"),
            18 => Some("fused_recurrent"),
            _ => None,
        };
        if let Some(v) = variant {
            e.stack_mut().session_mut().choices = vec![Choice::new(Rule::new("gated_delta_net"), v)];
        }
        let next = argmax(&logits);
        out.push(next);
        e.record(true);
        logits = e.decode(0, next).unwrap().to_vec();
        let record = e.take_record().expect("recording is on");
        let used: Vec<&str> = record
            .info
            .nodes
            .iter()
            .filter(|n| n.op.name() == "gated_delta_net")
            .map(|n| n.variant.spec().name)
            .collect();
        assert!(!used.is_empty());
        if let Some(v) = variant {
            assert!(used.iter().all(|u| *u == v), "{used:?} where {v} was chosen");
        }
        assert!(record.residual_us() >= -1.0, "steps take longer than the run: {}", record.residual_us());
    }
    // The variants differ in the last bits only, so the text is that of a run without swaps.
    let text = model.tokenizer.decode(&out).unwrap();
    assert_eq!(text, greedy(&mut engine(Options::default()), PROMPT, 24));
}

#[test]
fn every_preset_says_the_same() {
    let model = demo();
    let ids = model.tokenizer.encode(PROMPT, false).unwrap();
    let expected = engine(Options::default()).prompt(0, &ids).unwrap();
    for preset in deltascope_profiles::presets() {
        let mut stack = Stack::new();
        let profile = Preset::named(preset.name).unwrap().profile().unwrap();
        stack.push(deltascope_profiles::Origin::Preset(preset.name.into()), profile);
        let options = Options { n_ctx: 512, threads_decode: 2, threads_prefill: 2, ..Options::default() };
        let mut e = Engine::new(demo(), stack, options).unwrap();
        let kl = kl_divergence(&expected, &e.prompt(0, &ids).unwrap());
        assert!(kl < 1e-3, "{}: {kl} nats from the default", preset.name);
        let info = e.plan_info(deltascope_profiles::Phase::Decode).unwrap();
        let misses: Vec<_> = info
            .nodes
            .iter()
            .filter_map(|n| {
                n.note
                    .as_ref()
                    .filter(|t| (t.contains("cannot") && !t.contains("without a weight")) || t.contains("no variant"))
            })
            .collect();
        assert!(misses.is_empty(), "{}: {misses:?}", preset.name);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_it_runs() {
    let mut e = engine(Options::default());
    let n_vocab = demo().config.n_vocab as u32;
    let eval = |e: &mut Engine, tokens: &[u32], slot, n_seqs| {
        e.eval(Batch { tokens, slot, n_seqs, logits: Logits::Last }).map(|_| ()).map_err(|x| x.to_string())
    };
    assert!(eval(&mut e, &[n_vocab], 0, 1).unwrap_err().contains("outside the vocabulary"));
    assert!(eval(&mut e, &[1, 2, 3], 0, 2).unwrap_err().contains("evenly"));
    assert!(eval(&mut e, &[1], 1, 1).unwrap_err().contains("slot 1"));
    assert!(eval(&mut e, &vec![1; 513], 0, 1).unwrap_err().contains("context"));
    assert_eq!(e.position(0), 0);
}
