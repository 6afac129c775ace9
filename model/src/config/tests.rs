use deltascope_kernels::DType;

use super::*;
use crate::gguf::{GgufWriter, Value};

/// The keys of a model of 8 layers; `change` edits them.
fn model(change: impl FnOnce(&mut GgufWriter)) -> GgufFile {
    let mut w = GgufWriter::new();
    w.set("general.architecture", "qwen3next").set("qwen3next.rope.freq_base", 5e6f32);
    w.set("qwen3next.attention.layer_norm_rms_epsilon", 1e-6f32);
    for (key, n) in [
        ("block_count", 8),
        ("context_length", 4096),
        ("embedding_length", 64),
        ("vocab_size", 100),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 32),
        ("attention.value_length", 32),
        ("rope.dimension_count", 8),
        ("expert_count", 16),
        ("expert_used_count", 3),
        ("expert_feed_forward_length", 32),
        ("expert_shared_feed_forward_length", 48),
        ("ssm.conv_kernel", 4),
        ("ssm.state_size", 32),
        ("ssm.group_count", 2),
        ("ssm.time_step_rank", 4),
        ("ssm.inner_size", 128),
    ] {
        w.set(&format!("qwen3next.{key}"), n as u32);
    }
    change(&mut w);
    let mut out = w.start(Vec::new()).unwrap();
    while let Some((_, _, left)) = out.pending() {
        out.write(&vec![0; left]).unwrap();
    }
    GgufFile::from_bytes(&out.finish().unwrap()).unwrap()
}

fn config(change: impl FnOnce(&mut GgufWriter)) -> Result<Config, ConfigError> {
    Config::from_gguf(&model(change))
}

fn error(key: &str, value: impl Into<Value>) -> String {
    let full = format!("qwen3next.{key}");
    config(|w| {
        w.set(&full, value);
    })
    .expect_err("the value is wrong")
    .to_string()
}

const D: LayerKind = LayerKind::Delta;
const A: LayerKind = LayerKind::Attention;

#[test]
fn everything_comes_from_the_keys() {
    let c = config(|_| {}).unwrap();
    assert_eq!(c.layers, [D, D, D, A, D, D, D, A]);
    assert_eq!((c.n_vocab, c.n_embd, c.context_length, c.n_nextn), (100, 64, 4096, 0));
    assert_eq!((c.attention.rope_base, c.attention.n_rot, c.norm_eps), (5e6, 8, 1e-6));
    assert_eq!((c.delta.key_width(), c.delta.value_width(), c.delta.conv_width()), (64, 128, 256));
    assert_eq!(c.geometry(), "8l-64d-16e");
}

#[test]
fn recurrent_layers_outrank_the_interval() {
    let interval = config(|w| {
        w.set("qwen3next.full_attention_interval", 2u32);
    });
    assert_eq!(interval.unwrap().layers, [D, A, D, A, D, A, D, A]);
    let both = config(|w| {
        w.set("qwen3next.full_attention_interval", 2u32);
        w.set("qwen3next.attention.recurrent_layers", vec![false, true, true, true, true, true, true, false]);
    });
    assert_eq!(both.unwrap().layers, [A, D, D, D, D, D, D, A]);
    assert!(error("attention.recurrent_layers", vec![true; 7]).contains("recurrent_layers` is an array of 7"));
}

#[test]
fn a_prediction_block_is_not_run() {
    let block = |keyed: bool, tensors: bool, layer_norm: bool| {
        config(|w| {
            w.set("qwen3next.block_count", 9u32);
            if keyed {
                w.set("qwen3next.nextn_predict_layers", 1u32);
            }
            if tensors {
                w.tensor("blk.0.attn_norm.weight", DType::F32, &[64]).unwrap();
                w.tensor("blk.8.nextn.eh_proj.weight", DType::F32, &[128, 64]).unwrap();
            }
            if layer_norm {
                w.tensor("blk.8.attn_norm.weight", DType::F32, &[64]).unwrap();
            }
        })
        .map(|c| (c.n_layer(), c.n_nextn))
        .unwrap()
    };
    assert_eq!(block(true, true, true), (8, 1), "as the converter writes it");
    assert_eq!(block(false, true, true), (8, 1), "tensors without the key");
    assert_eq!(block(true, false, false), (8, 1), "key without the tensors");
    assert_eq!(block(true, false, true), (9, 0), "the key counts what is a layer");
    assert_eq!(block(false, false, false), (9, 0));
}

#[test]
fn a_file_of_the_prediction_block_alone_is_named_so() {
    let only = config(|w| {
        w.tensor("blk.8.nextn.eh_proj.weight", DType::F32, &[128, 64]).unwrap();
    });
    assert!(matches!(only, Err(ConfigError::MtpOnly)));
}

#[test]
fn errors_name_the_key_and_the_value() {
    assert_eq!(error("ssm.conv_kernel", 1u32), "key `qwen3next.ssm.conv_kernel` is 1; 2 to 64 is supported");
    assert!(error("attention.head_count_kv", 3u32).contains("head_count_kv` is 3; it must divide the 4 query heads"));
    assert!(error("attention.head_count", 0u32).contains("attention.head_count` is 0"));
    assert!(error("expert_used_count", 17u32).contains("expert_used_count` is 17; 1 to 16"));
    assert!(error("rope.dimension_count", 7u32).contains("rope.dimension_count` is 7; it must be even"));
    assert!(error("rope.dimension_count", 34u32).contains("at most the key length 32"));
    assert!(error("rope.freq_base", f32::NAN).contains("rope.freq_base` is NaN"));
    assert!(error("ssm.inner_size", 64u32).contains("ssm.inner_size` is 64; 4 value heads of width 32 make 128"));
    assert!(error("ssm.time_step_rank", 3u32).contains("multiple of the 2 key heads"));
    assert!(error("embedding_length", u32::MAX).contains("embedding_length` is 4294967295"));
    assert!(error("block_count", "8").contains("block_count` holds a string, and a u32 is wanted"));
    assert!(error("nextn_predict_layers", 8u32).contains("nextn_predict_layers` is 8"));
}

#[test]
fn other_architectures_are_named() {
    let other = config(|w| {
        w.set("general.architecture", "llama");
    });
    assert_eq!(other.unwrap_err().to_string(), "the architecture is `llama`; only `qwen3next` is supported");
}
