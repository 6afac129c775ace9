use std::fmt::Write as _;

use deltascope_kernels::DType;

use super::*;
use crate::gguf::GgufWriter;

const LAYERS: usize = 4;

/// What a file can look like.
#[derive(Clone, Copy, Default)]
struct Layout {
    legacy: bool,
    merged_experts: bool,
    fused_attention: bool,
    tied: bool,
    nextn: bool,
}

type Tensors = Vec<(String, DType, Vec<usize>)>;

/// Tensors of a model of 4 layers, width 64, 8 experts.
fn tensors(layout: Layout) -> Tensors {
    let mut all = Tensors::new();
    let mut add = |name: String, dtype, ne: &[usize]| all.push((name, dtype, ne.to_vec()));
    let (m, v) = (DType::Q8_0, DType::F32);
    add("token_embd.weight".into(), DType::Q4_0, &[64, 96]);
    add("output_norm.weight".into(), v, &[64]);
    if !layout.tied {
        add("output.weight".into(), m, &[64, 96]);
    }
    for i in 0..LAYERS + usize::from(layout.nextn) {
        let mut add = |name: &str, dtype, ne: &[usize]| add(format!("blk.{i}.{name}"), dtype, ne);
        add("attn_norm.weight", v, &[64]);
        add("post_attention_norm.weight", v, &[64]);
        if i < 3 {
            if layout.legacy {
                add("ssm_in.weight", m, &[64, 384]);
            } else {
                add("attn_qkv.weight", m, &[64, 256]);
                add("attn_gate.weight", m, &[64, 128]);
            }
            add("ssm_ba.weight", m, &[64, 8]);
            add("ssm_conv1d.weight", v, &[4, 256]);
            add("ssm_dt.bias", v, &[4]);
            add("ssm_a", v, &[4]);
            add("ssm_norm.weight", v, &[32]);
            add("ssm_out.weight", m, &[128, 64]);
        } else {
            if layout.fused_attention {
                add("attn_qkv.weight", m, &[64, 384]);
            } else {
                add("attn_q.weight", m, &[64, 256]);
                add("attn_k.weight", m, &[64, 64]);
                add("attn_v.weight", m, &[64, 64]);
            }
            add("attn_q_norm.weight", v, &[32]);
            add("attn_k_norm.weight", v, &[32]);
            add("attn_output.weight", m, &[128, 64]);
        }
        add("ffn_gate_inp.weight", v, &[64, 8]);
        if layout.merged_experts {
            add("ffn_gate_up_exps.weight", m, &[64, 64, 8]);
        } else {
            add("ffn_gate_exps.weight", m, &[64, 32, 8]);
            add("ffn_up_exps.weight", m, &[64, 32, 8]);
        }
        add("ffn_down_exps.weight", m, &[32, 64, 8]);
        add("ffn_gate_inp_shexp.weight", v, &[64]);
        add("ffn_gate_shexp.weight", m, &[64, 96]);
        add("ffn_up_shexp.weight", m, &[64, 96]);
        add("ffn_down_shexp.weight", m, &[96, 64]);
        if i == LAYERS {
            add("nextn.eh_proj.weight", m, &[128, 64]);
            add("nextn.enorm.weight", v, &[64]);
        }
    }
    all
}

fn file(tensors: Tensors, n_block: usize) -> GgufFile {
    let mut w = GgufWriter::new();
    w.set("general.architecture", "qwen3next").set("qwen3next.rope.freq_base", 1e7f32);
    w.set("qwen3next.attention.layer_norm_rms_epsilon", 1e-6f32);
    for (key, n) in [
        ("block_count", n_block),
        ("context_length", 4096),
        ("embedding_length", 64),
        ("vocab_size", 96),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("attention.key_length", 32),
        ("attention.value_length", 32),
        ("rope.dimension_count", 8),
        ("expert_count", 8),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", 32),
        ("expert_shared_feed_forward_length", 96),
        ("ssm.conv_kernel", 4),
        ("ssm.state_size", 32),
        ("ssm.group_count", 2),
        ("ssm.time_step_rank", 4),
        ("ssm.inner_size", 128),
    ] {
        w.set(&format!("qwen3next.{key}"), n as u32);
    }
    for (name, dtype, ne) in &tensors {
        w.tensor(name, *dtype, ne).unwrap();
    }
    let mut out = w.start(Vec::new()).unwrap();
    while let Some((_, _, left)) = out.pending() {
        out.write(&vec![0; left]).unwrap();
    }
    GgufFile::from_bytes(&out.finish().unwrap()).unwrap()
}

fn resolve(tensors: Tensors, n_block: usize) -> Result<Weights, WeightsError> {
    let file = file(tensors, n_block);
    Weights::resolve(&file, &Config::from_gguf(&file).unwrap())
}

fn layout(layout: Layout) -> Weights {
    resolve(tensors(layout), LAYERS + usize::from(layout.nextn)).unwrap()
}

#[test]
fn both_delta_net_layouts() {
    let split = layout(Layout::default());
    let MixerWeights::Delta(d) = &split.layers[0].mixer else { panic!("layer 0 is recurrent") };
    assert!(matches!(&d.input, DeltaInput::Split { qkv, gate } if (qkv.ne()[1], gate.ne()[1]) == (256, 128)));
    assert!(matches!(&split.layers[3].mixer, MixerWeights::Attention(_)));

    let legacy = layout(Layout { legacy: true, ..Layout::default() });
    let MixerWeights::Delta(d) = &legacy.layers[0].mixer else { panic!("layer 0 is recurrent") };
    assert!(matches!(&d.input, DeltaInput::Legacy(t) if t.name() == "blk.0.ssm_in.weight"));
    assert_eq!(split.tensors().count() - legacy.tensors().count(), 3, "one tensor fewer a delta-net layer");
}

#[test]
fn merged_experts_and_fused_attention() {
    let w = layout(Layout { merged_experts: true, fused_attention: true, ..Layout::default() });
    assert!(matches!(&w.layers[0].moe.experts, ExpertInput::Merged(t) if t.ne() == [64, 64, 8, 1]));
    let MixerWeights::Attention(a) = &w.layers[3].mixer else { panic!("layer 3 is attention") };
    assert!(matches!(&a.qkv, AttentionInput::Fused(t) if t.ne()[1] == 384));
}

#[test]
fn a_missing_output_is_the_embedding() {
    let tied = layout(Layout { tied: true, ..Layout::default() });
    assert!(tied.output_is_tied && tied.output.name() == "token_embd.weight");
    let untied = layout(Layout::default());
    assert!(!untied.output_is_tied && untied.output.name() == "output.weight");
    assert_eq!(untied.bytes() - tied.bytes(), untied.output.data().len() as u64);
}

#[test]
fn prediction_blocks_are_listed_and_left_out() {
    let w = layout(Layout { nextn: true, ..Layout::default() });
    assert_eq!(w.layers.len(), LAYERS);
    assert!(!w.extra.is_empty() && w.extra.iter().all(|t| t.name().starts_with("blk.4.")));
    assert_eq!(w.fingerprint(), layout(Layout::default()).fingerprint(), "what is not run does not count");
}

#[test]
fn every_tensor_is_wanted_with_its_shape_and_type() {
    let all = tensors(Layout::default());
    for i in 0..all.len() {
        let name = &all[i].0;
        let mut without = all.clone();
        without.remove(i);
        if name != "output.weight" {
            let error = resolve(without, LAYERS).unwrap_err();
            assert!(matches!(&error, WeightsError::Missing { tensor, .. } if tensor == name), "{name}: {error}");
        }
        let mut wider = all.clone();
        *wider[i].2.last_mut().unwrap() += 32;
        let error = resolve(wider, LAYERS).unwrap_err();
        assert!(matches!(&error, WeightsError::Shape { tensor, .. } if tensor == name), "{name}: {error}");

        let mut integers = all.clone();
        integers[i].1 = DType::I32;
        let error = resolve(integers, LAYERS).unwrap_err();
        assert!(matches!(&error, WeightsError::Type { tensor, .. } if tensor == name), "{name}: {error}");
    }
}

#[test]
fn errors_say_what_was_expected() {
    let mut all = tensors(Layout::default());
    let mut said = String::new();
    for (name, ne) in [("blk.1.ssm_ba.weight", vec![64, 9]), ("blk.3.attn_q.weight", vec![64, 128])] {
        let slot = all.iter_mut().find(|t| t.0 == name).unwrap();
        let right = std::mem::replace(&mut slot.2, ne);
        writeln!(said, "{}", resolve(all.clone(), LAYERS).unwrap_err()).unwrap();
        all.iter_mut().find(|t| t.0 == name).unwrap().2 = right;
    }
    assert_eq!(
        said,
        "tensor `blk.1.ssm_ba.weight` has shape [64, 9], and [64, 8] is expected\n\
         tensor `blk.3.attn_q.weight` has shape [64, 128], and [64, 256] is expected\n"
    );
}

#[test]
fn identity_is_of_shapes_and_types() {
    let a = layout(Layout::default());
    assert_eq!(a.types(), [DType::Q8_0, DType::Q4_0]);
    assert_eq!(a.geometry(), "4l-64d-8e");
    assert_eq!(a.fingerprint().len(), 16);
    assert_eq!(a.fingerprint(), layout(Layout::default()).fingerprint());
    let mut other = tensors(Layout::default());
    other.iter_mut().find(|t| t.0 == "blk.2.ssm_out.weight").unwrap().1 = DType::F16;
    assert_ne!(a.fingerprint(), resolve(other, LAYERS).unwrap().fingerprint());
    assert_eq!(a.tensors().count(), tensors(Layout::default()).len());
}

#[test]
fn the_demo_model_and_the_oracles_resolve() {
    for (path, geometry, types) in [
        (
            "assets/deltascope-demo-q4_k_m.gguf",
            "8l-256d-16e",
            &[DType::Q4_K, DType::Q8_0, DType::Q5_0, DType::Q6_K][..],
        ),
        ("tests/data/oracle/oracle-small.gguf", "4l-128d-8e", &[DType::F32]),
        ("tests/data/oracle/oracle-heads.gguf", "4l-128d-12e", &[DType::F32]),
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let file = GgufFile::open(path).unwrap();
        let w = Weights::resolve(&file, &Config::from_gguf(&file).unwrap()).unwrap();
        assert_eq!((w.geometry(), &w.types()[..], w.extra.len()), (geometry, types, 0));
        assert_eq!(w.tensors().count(), file.tensors().len());
    }
}
