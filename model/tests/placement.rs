//! Nodes of one model on two backends. Plans need no GPU; the rest says why it is skipped.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

mod common;

use common::{ORACLES, TOLERANCE, demo, engine, logits, no_gpu, oracle, relative};
use deltascope_kernels::plan::{Plan, StepKernel};
use deltascope_kernels::{Backend, DType, Op};
use deltascope_model::choice::ProfileChooser;
use deltascope_model::device_weights::wanted;
use deltascope_model::profiling::{Group, Stats};
use deltascope_model::qwen3next::{BatchShape, Logits, StateShape, build};
use deltascope_model::{Batch, Engine, Model, Place};
use deltascope_profiles::{Origin, Phase, Profile, Stack};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Tokens of the prompt.
const PROMPT: usize = 16;

fn stack(places: &[&str]) -> Stack {
    let mut stack = Stack::new();
    let places = places.iter().map(|p| p.parse().unwrap()).collect();
    stack.push(Origin::CommandLine, Profile { places, ..Profile::default() });
    stack
}

fn plan(model: &Model, main: Backend, places: &[&str], n_tokens: usize) -> Plan {
    let state = StateShape { n_slots: 1, n_ctx: 512, kv_type: DType::F16 };
    let shape = BatchShape { n_tokens, n_seqs: 1, n_kv: 256, logits: Logits::Last };
    let graph = build(&model.config, &model.weights, &model.weight_ids, state, shape);
    let phase = if n_tokens == 1 { Phase::Decode } else { Phase::Prefill };
    let stack = stack(places);
    let chooser = ProfileChooser { stack: &stack, phase, tokens: n_tokens, backend: main, gpu: true };
    Plan::build(graph, &chooser, 4).unwrap()
}

/// What comes out of lowering and scheduling.
fn shown(plan: &Plan) -> Vec<String> {
    let one = |s: &deltascope_kernels::plan::Step| {
        format!(
            "{} {} {:?} {:?} {} {} {}",
            plan.node(s.node).name,
            plan.node(s.node).variant.spec().name,
            s.inputs,
            s.outputs,
            s.threads,
            s.barrier,
            s.redundant
        )
    };
    plan.steps.iter().map(one).collect()
}

#[test]
fn placements_that_move_nothing_leave_the_plan_as_it_is() {
    let model = demo();
    for main in [Backend::Cpu, Backend::Cuda] {
        for n_tokens in [1, 64] {
            let plain = plan(&model, main, &[], n_tokens);
            let same = if main == Backend::Cpu { "blk.*=cpu" } else { "blk.*=cuda:0" };
            let moved = plan(&model, main, &[same, "nobody=cpu", "no.*=cuda"], n_tokens);
            assert_eq!(shown(&plain), shown(&moved));
            assert_eq!((plain.legs.len(), plain.arena_bytes), (1, moved.arena_bytes));
            assert!(plain.steps.iter().all(|s| !matches!(s.kernel, StepKernel::Transfer)));
        }
    }
}

#[test]
fn experts_on_the_processor_leave_their_weights_in_the_file() {
    let model = demo();
    let layers = model.config.n_layer();
    for n_tokens in [1, 64] {
        let plan = plan(&model, Backend::Cuda, &["blk.*.ffn=cpu"], n_tokens);
        // The GPU's part, the experts', for each layer, and the GPU's end.
        assert_eq!(plan.legs.len(), 2 * layers + 1);
        let weights = |ids: BTreeSet<u32>| -> Vec<String> {
            ids.iter().map(|&id| model.weight(id).unwrap().name().to_owned()).collect()
        };
        let on_gpu = weights(wanted(&plan).iter().map(|k| k.0).collect());
        assert!(!on_gpu.iter().any(|n| n.contains("_exps")) && on_gpu.contains(&"output.weight".to_owned()));
        // The shared expert stays, and runs while the processor has the others.
        assert!(on_gpu.iter().any(|n| n.contains("_shexp")));
        for leg in plan.legs.iter().step_by(2).take(layers) {
            let beside = &plan.steps[leg.ready..leg.steps.end];
            assert!(!beside.is_empty() && beside.iter().all(|s| plan.node(s.node).name.contains(".ffn.shared.")));
        }
        for n in plan.nodes.iter().filter(|n| n.name.ends_with(".ffn")) {
            assert_eq!((n.backend, n.op()), (Backend::Cpu, Op::MoeFfn));
            assert!(n.note.as_ref().unwrap().contains("on cpu: command line, blk.*.ffn=cpu"), "{:?}", n.note);
        }
        let transfers = plan.steps.iter().filter(|s| matches!(s.kernel, StepKernel::Transfer)).count();
        // The normed row, experts and their weights there; the sum back.
        assert_eq!(transfers, 4 * layers);
    }
    // Attention and delta net touch states.
    let stays = plan(&model, Backend::Cuda, &["*=cpu"], 1);
    let why = stays.nodes.iter().filter_map(|n| n.note.as_ref()).filter(|n| n.contains("its states are on cuda"));
    assert!(why.count() >= layers);
}

fn placed(model: &Arc<Model>, place: Place, places: &[&str], graphs: bool) -> Engine {
    engine(model, stack(places), place, graphs)
}

#[test]
fn a_model_on_both_sides_gives_the_processors_logits() {
    if no_gpu() {
        return;
    }
    for name in ORACLES {
        let model = oracle(name);
        let want = logits(&mut placed(&model, Place::Cpu, &[], true), PROMPT, PROMPT);
        let mixes: [(Place, &[&str]); 5] = [
            (Place::Cuda, &["blk.*.ffn=cpu"]),
            (Place::Cuda, &["blk.*.ffn=cpu", "token_embd=cpu", "output=cpu"]),
            (Place::Cuda, &["blk.*.ffn*=cpu"]),
            (Place::Cuda, &["blk.1.*=cpu"]),
            (Place::Cpu, &["blk.*.ffn=cuda", "output=cuda"]),
        ];
        for (place, places) in mixes {
            let mut e = placed(&model, place, places, true);
            for ubatch in [1, 7, 16] {
                let got = logits(&mut e, PROMPT, ubatch);
                let error = relative(&got, &want);
                println!("{name}, {places:?}, ubatch {ubatch}: relative error {error:e}");
                assert!(error <= TOLERANCE, "{name}, {places:?}, ubatch {ubatch}: relative error {error:e}");
                assert_eq!(logits(&mut e, PROMPT, ubatch), got, "{name}, {places:?}, ubatch {ubatch}: another run");
                let single = logits(&mut placed(&model, place, places, false), PROMPT, ubatch);
                assert_eq!(single, got, "{name}, {places:?}, ubatch {ubatch}: without graphs");
            }
            e.record(true);
            for _ in 0..3 {
                assert_eq!(
                    logits(&mut e, PROMPT, 7),
                    logits(&mut placed(&model, place, places, true), PROMPT, 7),
                    "{name}: recorded"
                );
            }
        }
    }
}

#[test]
fn a_recorded_run_has_every_sides_steps_and_the_transfers() {
    if no_gpu() {
        return;
    }
    let model = oracle(ORACLES[0]);
    let mut e = placed(&model, Place::Cuda, &["blk.*.ffn=cpu"], true);
    let mut stats = Stats::new(4);
    e.record(true);
    for token in 0..4 {
        e.decode(0, token).unwrap();
        stats.push(&e.take_record().unwrap());
    }
    let table = stats.table(Group::Op);
    for op in [Op::Transfer, Op::MulMat, Op::MoeRouter] {
        let rows: Vec<_> = table.rows.iter().filter(|r| r.op == Some(op)).collect();
        assert!(!rows.is_empty() && rows.iter().all(|r| r.total_us > 0.0), "{op}");
    }
    let ffn: Vec<_> = table.rows.iter().filter(|r| r.op == Some(Op::MoeFfn)).collect();
    assert!(ffn.iter().all(|r| r.total_us > 0.0));
}

#[test]
fn what_goes_into_and_comes_out_of_a_placed_node_can_be_looked_at() {
    if no_gpu() {
        return;
    }
    let model = oracle(ORACLES[0]);
    let batch = Batch { tokens: &[5], slot: 0, n_seqs: 1, logits: Logits::Last };
    let names = ["blk.0.router", "blk.0.ffn", "blk.1.attn_in"].map(str::to_owned);
    let taps = |place, places: &[&str]| placed(&model, place, places, true).eval_tapped(batch, &names).unwrap();
    let (want, got) = (taps(Place::Cpu, &[]), taps(Place::Cuda, &["blk.*.ffn=cpu"]));
    assert_eq!(want.len(), 3);
    for (w, g) in want.iter().zip(&got) {
        assert_eq!(w.node, g.node);
        let floats = |t: &deltascope_kernels::check::Tensor| t.data.as_f32().to_vec();
        let error = relative(&floats(&g.result.outputs[0]), &floats(&w.result.outputs[0]));
        assert!(error <= TOLERANCE, "{}: {error:e}", w.node);
    }
}
