//! What tests of the engine on other backends share.

use deltascope_kernels::cuda::Device;
use deltascope_model::qwen3next::Logits;
use deltascope_model::{Batch, Engine, Model, Options, Place};
use deltascope_profiles::Stack;
use std::sync::Arc;

/// Against the processor's logits: int8 activations and another order of sums.
pub const TOLERANCE: f64 = 2e-3;
/// Models that published code has been run on.
pub const ORACLES: [&str; 2] = ["oracle-small", "oracle-heads"];

/// A model of this crate's folder.
fn model(file: &str) -> Arc<Model> {
    Arc::new(Model::open(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap())
}

pub fn oracle(name: &str) -> Arc<Model> {
    model(&format!("tests/data/oracle/{name}.gguf"))
}

pub fn demo() -> Arc<Model> {
    model("assets/deltascope-demo-q4_k_m.gguf")
}

/// True, with the reason printed, where there is no GPU.
pub fn no_gpu() -> bool {
    Device::first().err().map(|e| println!("no GPU: skipped ({e})")).is_some()
}

pub fn options(place: Place, graphs: bool) -> Options {
    Options { place, graphs, n_ctx: 512, threads_decode: 2, threads_prefill: 2, ..Options::default() }
}

pub fn engine(model: &Arc<Model>, stack: Stack, place: Place, graphs: bool) -> Engine {
    Engine::new(Arc::clone(model), stack, options(place, graphs)).unwrap()
}

/// Logits of a prompt in ubatches and of half as many ids after it, one by one.
pub fn logits(e: &mut Engine, prompt: usize, ubatch: usize) -> Vec<f32> {
    let n_vocab = e.model().config.n_vocab;
    let ids: Vec<u32> = (0..prompt + prompt / 2).map(|i| ((i * 7919 + 13) % n_vocab) as u32).collect();
    let (prompt, rest) = ids.split_at(prompt);
    e.reset(0).unwrap();
    let mut out = Vec::new();
    for tokens in prompt.chunks(ubatch).chain(rest.chunks(1)) {
        out.extend_from_slice(e.eval(Batch { tokens, slot: 0, n_seqs: 1, logits: Logits::All }).unwrap());
    }
    out
}

/// ‖a − b‖ / ‖b‖.
pub fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let (d, n) = a
        .iter()
        .zip(b)
        .fold((0.0, 0.0), |(d, n), (&x, &y)| (d + square(f64::from(x) - f64::from(y)), n + square(f64::from(y))));
    (d / n).sqrt()
}
