//! Any bytes as a model file: an error or a model, never a panic, and no allocation of what the file claims.
#![no_main]

use deltascope_model::Model;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Model::from_bytes(data, "fuzz");
});
