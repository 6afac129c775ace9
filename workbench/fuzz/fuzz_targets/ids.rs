//! Any bytes as a file of token ids.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(ids) = deltascope::commands::logits::parse_ids(data, 4096) {
        assert_eq!(ids.len() * 4, data.len());
        assert!(ids.iter().all(|&id| id < 4096));
    }
});
