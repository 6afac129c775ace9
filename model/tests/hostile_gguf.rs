//! A real file damaged in 200 ways, each drawn from a fixed seed: whatever the damage, opening, configuration, weights
//! and tokenizer give a result or a typed error. A panic fails the test; so does an allocation of what a file claims,
//! since the claims run to exabytes.

use std::path::Path;

use deltascope_model::chat::ChatTemplate;
use deltascope_model::config::Config;
use deltascope_model::gguf::{GgufFile, GgufWriter};
use deltascope_model::tokenizer::Tokenizer;
use deltascope_model::weights::Weights;

fn original() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/oracle/oracle-small.gguf");
    std::fs::read(path).expect("the oracle is in the repository")
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// How far a file got, and why no further.
#[derive(Debug, PartialEq)]
enum Outcome {
    Whole,
    Gguf(String),
    Config(String),
    Weights(String),
    Tokenizer(String),
    Chat(String),
}

fn load(bytes: &[u8]) -> Outcome {
    let file = match GgufFile::from_bytes(bytes) {
        Ok(file) => file,
        Err(e) => return Outcome::Gguf(e.to_string()),
    };
    // All data is read, so that a range outside the file could not hide.
    let sum = file.tensors().iter().flat_map(|t| t.data()).fold(0u8, |sum, b| sum.wrapping_add(*b));
    std::hint::black_box(sum);
    let config = match Config::from_gguf(&file) {
        Ok(config) => config,
        Err(e) => return Outcome::Config(e.to_string()),
    };
    if let Err(e) = Weights::resolve(&file, &config) {
        return Outcome::Weights(e.to_string());
    }
    match Tokenizer::from_metadata(file.metadata()) {
        Ok(t) => {
            // Whether the text can be encoded is the vocabulary's affair.
            let ids = t.encode("Hello, 1 2\n", true).unwrap_or_default();
            assert!(t.decode(&ids).is_ok(), "what was encoded can be decoded");
        }
        Err(e) => return Outcome::Tokenizer(e.to_string()),
    }
    match ChatTemplate::from_metadata(file.metadata()) {
        Ok(_) => Outcome::Whole,
        Err(e) => Outcome::Chat(e.to_string()),
    }
}

/// End of header, metadata and tensor table: the first tensor starts there, or a few bytes of padding later.
fn table_end(bytes: &[u8]) -> usize {
    let file = GgufFile::from_bytes(bytes).expect("the original is sound");
    file.tensors().iter().map(|t| t.range().start).min().expect("it has tensors")
}

/// One damage, by kind.
fn damage(bytes: &[u8], table: usize, kind: usize, draw: &mut Draw) -> Vec<u8> {
    let mut out = bytes.to_vec();
    match kind {
        // Cut in the table, or in the data.
        0 => out.truncate(draw.below(table)),
        1 => out.truncate(table + draw.below(bytes.len() - table)),
        // Flip a few bits of the table.
        2 => (0..1 + draw.below(4)).for_each(|_| out[draw.below(table)] ^= 1 << draw.below(8)),
        // Put a lie where a length, count, offset or number might be.
        3 => {
            let lie = [u64::MAX, i64::MAX as u64, 1 << 40, 1 << 32, 0, 1, 7, bytes.len() as u64][draw.below(8)];
            let at = draw.below(table - 8);
            out[at..at + 8].copy_from_slice(&lie.to_le_bytes());
        }
        // The same in the counts of the header.
        4 => {
            let at = [8, 16][draw.below(2)];
            out[at..at + 8].copy_from_slice(&(draw.below(usize::MAX) as u64 >> draw.below(64)).to_le_bytes());
        }
        // Repeat a piece of the table over another.
        5 => {
            let n = 1 + draw.below(64);
            let (from, to) = (draw.below(table - n), draw.below(table - n));
            out.copy_within(from..from + n, to);
        }
        // Take a piece out, or put one in.
        6 => drop(out.drain({
            let at = draw.below(table - 32);
            at..at + 1 + draw.below(32)
        })),
        _ => {
            let at = draw.below(table);
            let noise: Vec<u8> = (0..1 + draw.below(32)).map(|_| draw.below(256) as u8).collect();
            drop(out.splice(at..at, noise));
        }
    }
    out
}

#[test]
fn damaged_files_give_errors() {
    let bytes = original();
    assert_eq!(load(&bytes), Outcome::Whole);
    let table = table_end(&bytes);
    let mut draw = Draw(20_240_917);
    let mut refused = 0;
    for i in 0..200 {
        let damaged = damage(&bytes, table, i % 8, &mut draw);
        refused += usize::from(load(&damaged) != Outcome::Whole);
    }
    // Some flips change only a number or a letter that nothing depends on.
    assert!(refused > 150, "only {refused} of 200 were refused");
}

/// The file again without what `keep_key` and `keep_tensor` refuse.
fn rewritten(file: &GgufFile, keep_key: impl Fn(&str) -> bool, keep_tensor: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut w = GgufWriter::new();
    for (key, value) in file.metadata().iter().filter(|(key, _)| keep_key(key)) {
        w.set(key, value.clone());
    }
    let kept: Vec<_> = file.tensors().iter().filter(|t| keep_tensor(t.name())).collect();
    for t in &kept {
        w.tensor(t.name(), t.dtype(), t.dims()).expect("the tensor was read before");
    }
    let mut out = w.start(Vec::new()).expect("memory takes everything");
    for t in &kept {
        out.write(t.data()).expect("the data is as long as declared");
    }
    out.finish().expect("all data was written")
}

#[test]
fn every_tensor_is_missed_by_name() {
    let file = GgufFile::from_bytes(&original()).expect("the original is sound");
    assert_eq!(load(&rewritten(&file, |_| true, |_| true)), Outcome::Whole);
    for t in file.tensors() {
        let outcome = load(&rewritten(&file, |_| true, |name| name != t.name()));
        match outcome {
            Outcome::Whole => assert_eq!(t.name(), "output.weight", "only the output has a stand-in"),
            Outcome::Weights(e) => assert!(e.contains(t.name()), "{e} does not name {}", t.name()),
            other => panic!("without {}: {other:?}", t.name()),
        }
    }
}

#[test]
fn every_key_that_matters_is_missed_by_name() {
    let file = GgufFile::from_bytes(&original()).expect("the original is sound");
    let mut needed = 0;
    for (key, _) in file.metadata().iter() {
        match load(&rewritten(&file, |k| k != key, |_| true)) {
            Outcome::Whole => {}
            // Without tokens the size of the vocabulary has to come from its own key.
            Outcome::Config(e) if key == "tokenizer.ggml.tokens" => assert!(e.contains("qwen3next.vocab_size"), "{e}"),
            Outcome::Config(e) | Outcome::Tokenizer(e) => {
                needed += 1;
                assert!(e.contains(key), "{e} does not name {key}");
            }
            other => panic!("without {key}: {other:?}"),
        }
    }
    assert!(needed >= 20, "{needed} keys were missed");
}
