//! Any text through the demo model's tokenizer: it comes back as it was.
#![no_main]

use deltascope_model::Model;
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

fuzz_target!(|text: &str| {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let model = MODEL.get_or_init(|| {
        let bytes = include_bytes!("../../../model/assets/deltascope-demo-q4_k_m.gguf");
        Model::from_bytes(bytes, "demo").expect("the demo model loads")
    });
    if let Ok(ids) = model.tokenizer.encode(text, false) {
        assert!(ids.iter().all(|&id| (id as usize) < model.config.n_vocab));
        assert_eq!(model.tokenizer.decode(&ids).as_deref().ok(), Some(text));
    }
    // Special tokens in the text are taken as such; that loses nothing either.
    let _ = model.tokenizer.encode(text, true).map(|ids| model.tokenizer.decode(&ids));
});
