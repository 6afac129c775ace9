//! `synth`: a GGUF of any Qwen3-Next geometry with random weights: speed is real, text is noise.

use super::DEMO_MODEL;
use anyhow::Context;
use clap::Args;
use deltascope_kernels::DType;
use deltascope_kernels::check::Random;
use deltascope_model::gguf::{GgufFile, GgufWriter};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Of `synth`.
#[derive(Args, Debug)]
pub struct SynthArgs {
    /// The file to write.
    out: PathBuf,
    /// Layers; every fourth is attention.
    #[arg(long, default_value_t = 48)]
    layers: usize,
    /// Routed experts.
    #[arg(long, default_value_t = 512)]
    experts: usize,
    /// Routed experts that a token uses.
    #[arg(long, default_value_t = 10)]
    used: usize,
    /// Width of the residual stream.
    #[arg(long, default_value_t = 2048)]
    hidden: usize,
    /// Inner width of an expert.
    #[arg(long, default_value_t = 512)]
    moe_ff: usize,
    /// Query heads of attention.
    #[arg(long, default_value_t = 16)]
    heads: usize,
    /// Key and value heads of attention.
    #[arg(long, default_value_t = 2)]
    kv_heads: usize,
    /// Width of an attention head.
    #[arg(long, default_value_t = 256)]
    head_dim: usize,
    /// Key heads of the delta-net.
    #[arg(long, default_value_t = 16)]
    delta_k_heads: usize,
    /// Value heads of the delta-net.
    #[arg(long, default_value_t = 32)]
    delta_v_heads: usize,
    /// Width of a delta-net head.
    #[arg(long, default_value_t = 128)]
    delta_head_dim: usize,
    /// Type of projections and experts, or `q4_k_m` for that mix of types.
    #[arg(long = "type", default_value = "IQ4_XS")]
    dtype: String,
    /// Type of the LM head.
    #[arg(long, default_value = "Q6_K")]
    out_type: String,
    /// Type of the embedding.
    #[arg(long, default_value = "Q4_K")]
    embd_type: String,
    /// A GGUF whose vocabulary to take; the demo model's (4096 tokens) if left out.
    #[arg(long)]
    vocab: Option<PathBuf>,
    /// Equal seeds give equal files.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Which type each kind of matrix takes.
struct Mix {
    projection: DType,
    gate_up: DType,
    down: DType,
    attn_v: DType,
}

impl Mix {
    fn parse(name: &str) -> anyhow::Result<Mix> {
        if name.eq_ignore_ascii_case("q4_k_m") {
            return Ok(Mix { projection: DType::Q4_K, gate_up: DType::Q4_K, down: DType::Q6_K, attn_v: DType::Q6_K });
        }
        let t = dtype(name)?;
        Ok(Mix { projection: t, gate_up: t, down: t, attn_v: t })
    }
}

fn dtype(name: &str) -> anyhow::Result<DType> {
    let files: Vec<DType> = DType::ALL.into_iter().filter(|t| t.gguf_id().is_some() && *t != DType::I32).collect();
    DType::from_name(name).filter(|t| files.contains(t)).with_context(|| {
        let names: Vec<&str> = files.iter().map(|t| t.name()).collect();
        format!("there is no weight type `{name}` (hint: one of {}, q4_k_m)", names.join(", "))
    })
}

/// How a tensor is filled.
enum Fill {
    /// Quantised blocks, or floats of deviation 0.02.
    Matrix,
    /// F32: mean and deviation.
    Normal(f32, f32),
    /// F32: `-exp` of uniform in −2 … 1, as the decay rates of a trained model lie.
    Decay,
}

struct Tensor {
    name: String,
    dtype: DType,
    ne: Vec<usize>,
    fill: Fill,
}

/// Writes the file.
///
/// # Errors
/// If a type does not fit a shape or the file cannot be written.
pub fn run(args: &SynthArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        (1..=args.experts).contains(&args.used),
        "--used {} does not fit --experts {} (hint: --used {})",
        args.used,
        args.experts,
        args.experts.clamp(1, 10)
    );
    let vocab = match &args.vocab {
        Some(path) => GgufFile::open(path)?,
        None => GgufFile::from_bytes(DEMO_MODEL)?,
    };
    let mut w = GgufWriter::new();
    metadata(&mut w, args, &vocab)?;
    let n_vocab = vocab.metadata().get_array("tokenizer.ggml.tokens")?.len();
    let tensors = tensors(args, n_vocab)?;
    for t in &tensors {
        w.tensor(&t.name, t.dtype, &t.ne)?;
    }
    let file = std::fs::File::create(&args.out).with_context(|| format!("cannot write {}", args.out.display()))?;
    let mut stream = w.start(BufWriter::with_capacity(8 << 20, file))?;
    let mut random = Random(args.seed);
    let pool = bytes(&mut random, POOL);
    for t in &tensors {
        fill(t, &mut random, &pool, &mut |bytes| Ok(stream.write(bytes)?))?;
    }
    stream.finish()?.flush()?;
    let bytes = std::fs::metadata(&args.out)?.len();
    eprintln!("{}: {:.2} GB, {} tensors, vocabulary {n_vocab}", args.out.display(), bytes as f64 / 1e9, tensors.len());
    Ok(())
}

fn metadata(w: &mut GgufWriter, a: &SynthArgs, vocab: &GgufFile) -> anyhow::Result<()> {
    let u = |x: usize| x as u32;
    w.set("general.architecture", "qwen3next");
    w.set("general.name", format!("synthetic-qwen3next-{}l-{}e-{}", a.layers, a.experts, a.dtype).as_str());
    let counts = [
        ("block_count", a.layers),
        ("context_length", 262_144),
        ("embedding_length", a.hidden),
        ("feed_forward_length", 5120),
        ("attention.head_count", a.heads),
        ("attention.head_count_kv", a.kv_heads),
        ("attention.key_length", a.head_dim),
        ("attention.value_length", a.head_dim),
        ("rope.dimension_count", a.head_dim / 4),
        ("expert_count", a.experts),
        ("expert_used_count", a.used),
        ("expert_feed_forward_length", a.moe_ff),
        ("expert_shared_feed_forward_length", a.moe_ff),
        ("ssm.conv_kernel", 4),
        ("ssm.state_size", a.delta_head_dim),
        ("ssm.group_count", a.delta_k_heads),
        ("ssm.time_step_rank", a.delta_v_heads),
        ("ssm.inner_size", a.delta_v_heads * a.delta_head_dim),
        ("full_attention_interval", 4),
    ];
    for (key, value) in counts {
        w.set(&format!("qwen3next.{key}"), u(value));
    }
    w.set("qwen3next.rope.freq_base", 1e7f32);
    w.set("qwen3next.attention.layer_norm_rms_epsilon", 1e-6f32);
    for (key, value) in vocab.metadata().iter().filter(|(k, _)| k.starts_with("tokenizer.")) {
        w.set(key, value.clone());
    }
    Ok(())
}

fn tensors(a: &SynthArgs, n_vocab: usize) -> anyhow::Result<Vec<Tensor>> {
    let mix = Mix::parse(&a.dtype)?;
    let (h, e, ff) = (a.hidden, a.experts, a.moe_ff);
    let (key, value) = (a.delta_k_heads * a.delta_head_dim, a.delta_v_heads * a.delta_head_dim);
    let mut all = Vec::new();
    let mut matrix = |name: String, dtype: DType, ne: &[usize]| -> anyhow::Result<()> {
        anyhow::ensure!(
            dtype.row_bytes(ne[0]).is_some(),
            "{name}: rows of {} are no whole blocks of {dtype} (hint: another --type or width)",
            ne[0]
        );
        all.push(Tensor { name, dtype, ne: ne.to_vec(), fill: Fill::Matrix });
        Ok(())
    };
    matrix("token_embd.weight".into(), dtype(&a.embd_type)?, &[h, n_vocab])?;
    matrix("output.weight".into(), dtype(&a.out_type)?, &[h, n_vocab])?;
    for i in 0..a.layers {
        let n = |s: &str| format!("blk.{i}.{s}.weight");
        if (i + 1) % 4 == 0 {
            matrix(n("attn_q"), mix.projection, &[h, 2 * a.heads * a.head_dim])?;
            matrix(n("attn_k"), mix.projection, &[h, a.kv_heads * a.head_dim])?;
            matrix(n("attn_v"), mix.attn_v, &[h, a.kv_heads * a.head_dim])?;
            matrix(n("attn_output"), mix.projection, &[a.heads * a.head_dim, h])?;
        } else {
            matrix(n("attn_qkv"), mix.projection, &[h, 2 * key + value])?;
            matrix(n("attn_gate"), mix.projection, &[h, value])?;
            matrix(n("ssm_ba"), mix.projection, &[h, 2 * a.delta_v_heads])?;
            matrix(n("ssm_out"), mix.projection, &[value, h])?;
        }
        matrix(n("ffn_gate_exps"), mix.gate_up, &[h, ff, e])?;
        matrix(n("ffn_up_exps"), mix.gate_up, &[h, ff, e])?;
        matrix(n("ffn_down_exps"), mix.down, &[ff, h, e])?;
        matrix(n("ffn_gate_shexp"), mix.gate_up, &[h, ff])?;
        matrix(n("ffn_up_shexp"), mix.gate_up, &[h, ff])?;
        matrix(n("ffn_down_shexp"), mix.down, &[ff, h])?;
    }
    let mut vector = |name: String, ne: &[usize], fill: Fill| {
        all.push(Tensor { name, dtype: DType::F32, ne: ne.to_vec(), fill });
    };
    const NORM: Fill = Fill::Normal(1.0, 0.05);
    vector("output_norm.weight".into(), &[h], NORM);
    for i in 0..a.layers {
        let n = |s: &str| format!("blk.{i}.{s}");
        vector(n("attn_norm.weight"), &[h], NORM);
        vector(n("post_attention_norm.weight"), &[h], NORM);
        if (i + 1) % 4 == 0 {
            vector(n("attn_q_norm.weight"), &[a.head_dim], NORM);
            vector(n("attn_k_norm.weight"), &[a.head_dim], NORM);
        } else {
            vector(n("ssm_conv1d.weight"), &[4, 2 * key + value], Fill::Normal(0.0, 0.3));
            vector(n("ssm_dt.bias"), &[a.delta_v_heads], Fill::Normal(0.0, 0.5));
            vector(n("ssm_a"), &[a.delta_v_heads], Fill::Decay);
            vector(n("ssm_norm.weight"), &[a.delta_head_dim], NORM);
        }
        vector(n("ffn_gate_inp.weight"), &[h, e], Fill::Normal(0.0, 0.02));
        vector(n("ffn_gate_inp_shexp.weight"), &[h], Fill::Normal(0.0, 0.02));
    }
    Ok(all)
}

/// Where the half-precision scales of a block lie, and values under which random weights deviate by about 0.02.
fn scales(t: DType) -> &'static [(usize, f32)] {
    match t {
        DType::Q4_0 => &[(0, 4.3e-3)],
        DType::Q4_1 => &[(0, 4.3e-3), (2, -3.2e-2)],
        DType::Q5_0 => &[(0, 2.2e-3)],
        DType::Q5_1 => &[(0, 2.2e-3), (2, -3.4e-2)],
        DType::Q8_0 | DType::IQ4_NL => &[(0, 2.7e-4)],
        DType::Q2_K => &[(80, 2.4e-3), (82, 3.6e-3)],
        DType::Q3_K => &[(108, 5e-4)],
        DType::Q4_K => &[(0, 1.2e-4), (2, 8e-4)],
        DType::Q5_K => &[(0, 6e-5), (2, 8e-4)],
        DType::Q6_K => &[(208, 2.0e-5)],
        DType::IQ4_XS => &[(0, 1.7e-5)],
        _ => &[],
    }
}

/// Random bytes that all block tensors are cut from, at places of their own.
const POOL: usize = 64 << 20;
/// Bytes prepared at a time.
const PIECE: usize = 4 << 20;

fn fill(
    t: &Tensor,
    random: &mut Random,
    pool: &[u8],
    out: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let n: usize = t.ne.iter().product();
    if t.dtype.is_quantised() {
        let block = t.dtype.block_bytes();
        let mut left = n / t.dtype.block_len() * block;
        let mut at = random.bits() as usize % (pool.len() / 2);
        let mut piece = Vec::new();
        while left > 0 {
            let take = left.min(PIECE / block * block).min((pool.len() - at) / block * block);
            if take == 0 {
                at = random.bits() as usize % (pool.len() / 2);
                continue;
            }
            piece.clear();
            piece.extend_from_slice(&pool[at..at + take]);
            for (offset, scale) in scales(t.dtype) {
                let half = half::f16::from_f32(*scale).to_le_bytes();
                for b in piece.chunks_exact_mut(block) {
                    b[*offset..*offset + 2].copy_from_slice(&half);
                }
            }
            out(&piece)?;
            at += take;
            left -= take;
        }
        return Ok(());
    }
    let mut piece = Vec::with_capacity(PIECE);
    for _ in 0..n {
        let x = match t.fill {
            Fill::Matrix => 0.02 * normal(random),
            Fill::Normal(mean, dev) => mean + dev * normal(random),
            Fill::Decay => -(random.unit() * 3.0 - 2.0).exp(),
        };
        match t.dtype {
            DType::F16 => piece.extend_from_slice(&half::f16::from_f32(x).to_le_bytes()),
            DType::BF16 => piece.extend_from_slice(&half::bf16::from_f32(x).to_le_bytes()),
            _ => piece.extend_from_slice(&x.to_le_bytes()),
        }
        if piece.len() >= PIECE {
            out(&piece)?;
            piece.clear();
        }
    }
    out(&piece)
}

/// Sum of four uniforms, scaled to deviation 1: near enough to normal for weights that mean nothing.
fn normal(random: &mut Random) -> f32 {
    let r = random.bits();
    let sum: f32 = (0..4).map(|i| ((r >> (16 * i)) & 0xffff) as f32 / 65536.0).sum();
    (sum - 2.0) * 3f32.sqrt()
}

fn bytes(random: &mut Random, n: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(n);
    while out.len() < n {
        out.extend_from_slice(&random.bits().to_le_bytes());
    }
    out
}
