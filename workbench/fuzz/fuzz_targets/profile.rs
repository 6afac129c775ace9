//! Any text as a profile; what parses is written and parsed again to the same profile.
#![no_main]

use deltascope_profiles::{parse, to_toml};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    if let Ok(profile) = parse(text, Path::new("fuzz.toml")) {
        let written = to_toml(&profile);
        let again = parse(&written, Path::new("written.toml")).expect("what we write, we read");
        assert_eq!(again, profile, "{written}");
    }
});
