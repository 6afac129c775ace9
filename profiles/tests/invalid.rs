//! One file for every way in which a profile can be wrong, and what a user reads about it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not tests to clippy")]

use std::fs;
use std::path::Path;

use deltascope_profiles::{Error, MAX_BYTES, Profile, parse};

fn messages() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid");
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let message = |path: &std::path::PathBuf| {
        let Err(Error::Invalid(mut invalid)) = Profile::read(path) else { panic!("{} was accepted", path.display()) };
        assert_eq!(invalid.origin, *path);
        invalid.origin = path.file_name().unwrap().into();
        format!("{invalid}\n")
    };
    paths.iter().map(message).collect()
}

#[test]
fn every_invalid_file_names_the_place_and_the_fault() {
    insta::assert_snapshot!(messages(), @r#"
    bad_name.toml:5:11: choice[1].variant: "bloc ked" is no name: expected 1 to 64 letters, digits and `_ . : + -`
    bad_text.toml:2:8: name: "\u{1b}]0;a terminal escape\u{7}" is no plain text: expected 1 to 256 characters and no control characters
    bad_tunable_name.toml:6:34: choice[1].tunables.\u{1b}[31mblock: "\u{1b}[31mblock" is no name: expected 1 to 64 letters, digits and `_ . : + -`
    duplicate_choice.toml:10:1: choice[2]: the same rule as the choice in line 3
    duplicate_key.toml:5:1: op: duplicate key
    duplicate_place.toml:7:1: place[2]: the same nodes as the place in line 3, which holds
    interval_of_three.toml:6:42: choice[1].measured.ci95_us: an array of 3 is out of range: expected two numbers, low and high
    interval_reversed.toml:6:42: choice[1].measured.ci95_us: [12.4, 11.9] is out of range: expected low before high
    missing_op.toml:7:1: choice[2]: missing key `op`
    missing_samples.toml:6:12: choice[1].measured: missing key `samples`
    missing_schema.toml:1:1: missing key `schema`
    newer_schema.toml:1:10: schema: schema 2 is not supported; this version of Deltascope reads schema 1
    not_finite.toml:6:26: choice[1].measured.median_us: NaN is out of range: expected a finite number from 0
    not_utf8.toml:2:12: not UTF-8 text
    number_out_of_range.toml:4:10: engine.ubatch: 0 is out of range: expected 1 to 1048576
    pattern_bad.toml:5:8: choice[1].node: ' ' can't be in a node id
    place_without_backend.toml:3:1: place[1]: missing key `backend`
    range_empty.toml:5:10: choice[1].tokens: the range "32..=31" holds no size
    range_negative.toml:5:8: choice[1].cols: -1 is out of range: expected 0 to 9223372036854775807
    range_not_a_size.toml:5:12: choice[1].elements: "64k" is not a size; a range looks like "65536..", "..64", "1..=31" or 4096
    range_unbounded.toml:5:8: choice[1].rows: ".." has no bound; leave the key out to match every size
    share_out_of_range.toml:6:78: choice[1].measured.share: 3.1 is out of range: expected 0 to 1
    syntax.toml:2:19: invalid basic string, expected `"`
    tunable_too_large.toml:6:22: choice[1].tunables.block: 99999999999999999999 is out of range: expected a 64-bit integer
    unknown_backend.toml:5:11: choice[1].backend: unknown backend "metal", expected one of cpu, cuda, cuda:0
    unknown_key.toml:5:1: choice[1].varient: unknown key, did you mean "variant"?
    unknown_measured_key.toml:6:14: choice[1].measured.median: unknown key, expected one of median_us, ci95_us, samples, share, baseline, speedup
    unknown_phase.toml:5:9: choice[1].phase: unknown phase "decoed", did you mean "decode"?
    unknown_section.toml:3:2: machne: unknown key, did you mean "machine"?
    wrong_type_range.toml:5:12: choice[1].elements: expected a range such as "65536.." or an integer, found an array
    wrong_type_table.toml:2:10: choice: expected an array of tables (`[[choice]]`), found a string
    wrong_type_text.toml:2:8: name: expected a string, found an integer
    wrong_type_threads.toml:4:22: engine.threads.decode: expected an integer, found a string
    wrong_type_tunable.toml:6:22: choice[1].tunables.block: expected an integer or a string, found a float
    "#);
}

#[test]
fn a_file_that_is_not_there() {
    let error = Profile::read(Path::new("no/such/profile.toml")).unwrap_err();
    insta::assert_snapshot!(error, @"no/such/profile.toml: can't read this profile");
}

#[test]
fn a_file_that_is_too_large_is_not_parsed() {
    let text = format!("schema = 1\n{}", "#".repeat(MAX_BYTES));
    let error = parse(&text, Path::new("huge.toml")).unwrap_err();
    insta::assert_snapshot!(error, @"huge.toml: larger than 4 MiB, which no profile is");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.toml");
    fs::write(&path, &text).unwrap();
    assert!(matches!(Profile::read(&path), Err(Error::TooLarge { .. })));
}

#[test]
fn deep_nesting_is_an_error() {
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    let arrays = format!("a = {}", "[".repeat(100_000));
    let tables = format!("a = {}", "{a=".repeat(100_000));
    for text in [dotted, arrays, tables, "[".repeat(100_000)] {
        assert!(parse(&text, Path::new("deep.toml")).is_err());
    }
}
