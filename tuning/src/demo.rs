//! The demo model with some text in its state, for this crate's tests.

use crate::measure::Workload;
use deltascope_model::{Engine, Model, Options};
use deltascope_profiles::{Phase, Stack};
use std::sync::{Arc, OnceLock};

/// One worker: a second one spins at barriers for a core that another test has.
pub(crate) fn engine() -> (Engine, Workload) {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/assets/deltascope-demo-q4_k_m.gguf");
    let model = MODEL.get_or_init(|| Arc::new(Model::open(path).unwrap()));
    let options = Options { threads_decode: 1, threads_prefill: 1, n_ctx: 512, ..Options::default() };
    let mut engine = Engine::new(Arc::clone(model), Stack::new(), options).unwrap();
    engine.prompt(0, &[5, 17, 42, 7, 99, 3]).unwrap();
    (engine, Workload { phase: Phase::Decode, slot: 0, tokens: vec![11, 23, 64, 120] })
}
