use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::*;
use crate::gguf::{GgufFile, Value};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn load(path: &str) -> Tokenizer {
    Tokenizer::from_metadata(GgufFile::open(at(path)).unwrap().metadata()).unwrap()
}

static QWEN2: LazyLock<Tokenizer> = LazyLock::new(|| load("tests/data/vocab/ggml-vocab-qwen2.gguf"));

/// Byte tokens, `ab`, `abc`, a user-defined and a control token; `change` edits the keys.
fn small(change: impl FnOnce(&mut Vec<(&'static str, Value)>)) -> Result<Tokenizer, TokenizerError> {
    let mut tokens: Vec<String> = CHAR_OF_BYTE.iter().map(|c| c.to_string()).collect();
    tokens.extend(["ab", "abc", "<think>", "<|im_end|>"].map(str::to_owned));
    let mut types = vec![1i32; 258];
    types.extend([4, 3]);
    let merges = vec!["a b".to_owned(), "ab c".to_owned()];
    let mut keys: Vec<(&str, Value)> = vec![
        ("tokenizer.ggml.model", "gpt2".into()),
        ("tokenizer.ggml.pre", "qwen2".into()),
        ("tokenizer.ggml.tokens", tokens.into()),
        ("tokenizer.ggml.token_type", types.into()),
        ("tokenizer.ggml.merges", merges.into()),
    ];
    change(&mut keys);
    Tokenizer::from_metadata(&keys.into_iter().collect())
}

fn with(key: &'static str, value: impl Into<Value>) -> TokenizerError {
    let value = value.into();
    small(|keys| {
        keys.retain(|(k, _)| *k != key);
        keys.push((key, value));
    })
    .expect_err("the vocabulary is wrong")
}

#[test]
fn the_published_vectors() {
    let texts = std::fs::read_to_string(at("tests/data/vocab/ggml-vocab-qwen2.gguf.inp")).unwrap();
    let ids = std::fs::read_to_string(at("tests/data/vocab/ggml-vocab-qwen2.gguf.out")).unwrap();
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let ids: Vec<&str> = ids.lines().collect();
    assert!(ids.len() > 40 && texts.len() >= ids.len());
    for (text, ids) in texts.iter().zip(ids) {
        let ids: Vec<u32> = ids.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let found = QWEN2.encode(text, false).unwrap();
        assert_eq!(found, ids, "{text:?}");
        assert_eq!(QWEN2.decode(&found).unwrap(), *text);
    }
}

#[test]
fn the_held_out_text_of_the_demo_model() {
    let demo = load("assets/deltascope-demo-q4_k_m.gguf");
    let text = std::fs::read_to_string(at("assets/eval.txt")).unwrap();
    let ids = demo.encode(&text, false).unwrap();
    assert_eq!(ids.len(), 59_552);
    assert_eq!(demo.decode(&ids).unwrap(), text);
    let mut stream = Utf8Stream::default();
    let mut streamed = String::new();
    for id in &ids {
        streamed.push_str(&stream.push(demo.piece(*id).unwrap()));
    }
    assert!(streamed == text && stream.finish().is_empty());
}

#[test]
fn control_tokens_are_text_unless_asked_for() {
    let t = small(|_| {}).unwrap();
    assert_eq!(t.encode("abc<think>ab<|im_end|>", true).unwrap(), [257, 258, 256, 259]);
    let plain = t.encode("<think><|im_end|>", false).unwrap();
    assert_eq!((plain[0], plain.len()), (258, 1 + "<|im_end|>".len()), "a user-defined token is always whole");
    assert_eq!(t.decode(&[257, 259]).unwrap(), "abc<|im_end|>");
    assert!(t.is_control(259) && !t.is_control(258) && !t.is_control(9999));

    let im_start = QWEN2.encode("<|im_start|>user", true).unwrap();
    assert_eq!(im_start[0], 151_644);
    assert!(!QWEN2.encode("<|im_start|>user", false).unwrap().contains(&151_644));
}

#[test]
fn ends_are_known_by_key_and_by_name() {
    let t = small(|keys| keys.push(("tokenizer.ggml.eos_token_id", 7u32.into()))).unwrap();
    assert_eq!(t.end_ids().collect::<Vec<_>>(), [7, 259]);
    assert!(t.is_end(7) && t.is_end(259) && !t.is_end(8));
    assert_eq!((t.eos(), t.bos(), t.add_bos()), (Some(7), None, false));
    assert_eq!(QWEN2.end_ids().collect::<Vec<_>>(), [151_643, 151_645]);
}

#[test]
fn digits_stand_alone_and_spaces_go_with_the_next_word() {
    let words = |text: &str| {
        let found: Vec<_> = QWEN2.words.find_iter(text).map(|(a, b)| text[a..b].to_owned()).collect();
        found
    };
    assert_eq!(words("it's  123 über\n\n x"), ["it", "'s", " ", " ", "1", "2", "3", " über", "\n\n", " x"]);
}

#[test]
fn long_texts_of_one_kind() {
    for text in ["a".repeat(200_000), " ".repeat(200_000) + "x", "\n".repeat(50_000), "€".repeat(50_000)] {
        let ids = QWEN2.encode(&text, true).unwrap();
        assert_eq!(QWEN2.decode(&ids).unwrap(), text);
    }
}

#[test]
fn bytes_without_a_token_are_refused_and_not_dropped() {
    let t = small(|keys| {
        keys[2].1 = vec!["a".to_owned(), "b".into(), "c".into(), "ab".into(), "abc".into()].into();
        keys[3].1 = vec![1i32; 5].into();
    })
    .unwrap();
    assert_eq!(t.encode("abc", false).unwrap(), [4]);
    assert!(matches!(t.encode("abcd", false), Err(TokenizerError::Byte { byte: b'd' })));
    assert!(matches!(t.decode(&[5]), Err(TokenizerError::Id { id: 5, tokens: 5 })));
}

#[test]
fn merges_of_what_is_no_token_are_never_applied() {
    let merges = ["b c", "a b", "xy z", "ab xy", "ab c"].map(str::to_owned).to_vec();
    let t = small(|keys| keys[4].1 = merges.into()).unwrap();
    assert_eq!(t.useless_merges(), 3);
    assert_eq!(t.encode("abcbc", false).unwrap().len(), 3);
    assert_eq!(QWEN2.useless_merges(), 0);
}

#[test]
fn wrong_vocabularies() {
    assert!(matches!(with("tokenizer.ggml.model", "llama"), TokenizerError::Model { .. }));
    assert_eq!(
        with("tokenizer.ggml.pre", "qwen35").to_string(),
        "key `tokenizer.ggml.pre` is `qwen35`; only `qwen2` is supported"
    );
    assert!(matches!(with("tokenizer.ggml.tokens", Vec::<String>::new()), TokenizerError::Size { .. }));
    let twice = vec!["a".to_owned(), "b".into(), "a".into()];
    assert!(matches!(with("tokenizer.ggml.tokens", twice), TokenizerError::Duplicate { first: 0, second: 2, .. }));
    assert!(matches!(with("tokenizer.ggml.tokens", 3u32), TokenizerError::Metadata(_)));
    assert!(matches!(with("tokenizer.ggml.token_type", vec![1i32]), TokenizerError::TypeCount { .. }));
    assert!(matches!(with("tokenizer.ggml.token_type", vec![9i32; 260]), TokenizerError::Type { id: 0, found: 9 }));
    for merge in ["a", "", " ", "a b c", " a", "a "] {
        let error = with("tokenizer.ggml.merges", vec![merge.to_owned()]);
        assert!(matches!(error, TokenizerError::Merge { index: 0, .. }), "{merge:?}: {error}");
    }
    let far = with("tokenizer.ggml.eos_token_id", 260u32);
    assert_eq!(far.to_string(), "key `tokenizer.ggml.eos_token_id` is 260, and there are 260 tokens");
}
