//! The tensors of a model, each found by name and checked for shape and type before anything is allocated.
//!
//! Files in circulation differ: the delta-net's input matrix comes in two layouts, the experts' gate and up matrices
//! may be merged, the attention's q, k and v as well, and the output matrix may be the embedding. What a file holds is
//! said by enums here, so that the graph must take a position on each.

mod identity;
mod resolve;

#[cfg(test)]
mod tests;

use crate::config::{Config, LayerKind};
use crate::gguf::{GgufFile, TensorInfo};
use resolve::Resolver;
pub use resolve::WeightsError;

/// All tensors that the model uses. Shapes are in GGUF order, the contiguous dimension first.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `{n_embd, n_vocab}`.
    pub token_embd: TensorInfo,
    /// `{n_embd}`, F32.
    pub output_norm: TensorInfo,
    /// `{n_embd, n_vocab}`; the embedding if the file has no output matrix.
    pub output: TensorInfo,
    /// True if `output` is the embedding.
    pub output_is_tied: bool,
    /// The layers to run.
    pub layers: Vec<LayerWeights>,
    /// Tensors of the file that are not used, as those of multi-token-prediction blocks.
    pub extra: Vec<TensorInfo>,
    geometry: String,
}

/// Tensors of a layer.
#[derive(Clone, Debug)]
pub struct LayerWeights {
    /// `{n_embd}`, F32.
    pub attn_norm: TensorInfo,
    /// The token mixer.
    pub mixer: MixerWeights,
    /// `{n_embd}`, F32: the norm before the experts.
    pub post_attention_norm: TensorInfo,
    /// The experts.
    pub moe: MoeWeights,
}

/// Tensors of a token mixer.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum MixerWeights {
    Attention(AttentionWeights),
    Delta(DeltaWeights),
}

/// Tensors of a gated attention layer.
#[derive(Clone, Debug)]
pub struct AttentionWeights {
    /// Queries with their gates, keys and values.
    pub qkv: AttentionInput,
    /// `{head_dim_k}`, F32.
    pub q_norm: TensorInfo,
    /// `{head_dim_k}`, F32.
    pub k_norm: TensorInfo,
    /// `{n_head * head_dim_v, n_embd}`.
    pub output: TensorInfo,
}

/// Input matrices of a gated attention layer. The rows of the queries are, head by head, `head_dim_k` query rows and
/// as many gate rows.
#[derive(Clone, Debug)]
pub enum AttentionInput {
    /// Three matrices.
    Separate {
        /// `{n_embd, 2 * n_head * head_dim_k}`.
        q: TensorInfo,
        /// `{n_embd, n_head_kv * head_dim_k}`.
        k: TensorInfo,
        /// `{n_embd, n_head_kv * head_dim_v}`.
        v: TensorInfo,
    },
    /// One matrix with the rows of q, k and v, in this order.
    Fused(TensorInfo),
}

/// Tensors of a gated delta-net layer.
#[derive(Clone, Debug)]
pub struct DeltaWeights {
    /// Queries, keys, values and the output gate z.
    pub input: DeltaInput,
    /// `{n_embd, 2 * n_head_v}`: for each key head the b rows of its value heads, then their a rows.
    pub ba: TensorInfo,
    /// `{conv_kernel, conv_width}`, F32: the last tap is the current token's; channels are q, k, v.
    pub conv1d: TensorInfo,
    /// `{n_head_v}`, F32.
    pub dt_bias: TensorInfo,
    /// `{n_head_v}`, F32: `-exp(A_log)`.
    pub a: TensorInfo,
    /// `{head_dim}`, F32.
    pub norm: TensorInfo,
    /// `{value_width, n_embd}`.
    pub output: TensorInfo,
}

/// Input matrices of a gated delta-net layer.
#[derive(Clone, Debug)]
pub enum DeltaInput {
    /// The layout of newer files (843 tensors for the 80B).
    Split {
        /// `{n_embd, conv_width}`: the rows of q, k and v, each in the order of the heads.
        qkv: TensorInfo,
        /// `{n_embd, value_width}`: z, in the order of the value heads.
        gate: TensorInfo,
    },
    /// The layout of older files (807 tensors for the 80B), `ssm_in`: `{n_embd, conv_width + value_width}`, for each
    /// key head its q, k, v and z rows.
    Legacy(TensorInfo),
}

/// Tensors of a layer's experts.
#[derive(Clone, Debug)]
pub struct MoeWeights {
    /// `{n_embd, n_expert}`, a float type.
    pub router: TensorInfo,
    /// Gate and up matrices of the routed experts.
    pub experts: ExpertInput,
    /// `{n_ff, n_embd, n_expert}`.
    pub down: TensorInfo,
    /// `{n_embd}`, a float type: the row whose sigmoid weighs the shared expert.
    pub shared_router: TensorInfo,
    /// `{n_embd, n_ff_shared}`.
    pub shared_gate: TensorInfo,
    /// `{n_embd, n_ff_shared}`.
    pub shared_up: TensorInfo,
    /// `{n_ff_shared, n_embd}`.
    pub shared_down: TensorInfo,
}

/// Gate and up matrices of the routed experts.
#[derive(Clone, Debug)]
pub enum ExpertInput {
    /// Two tensors.
    Separate {
        /// `{n_embd, n_ff, n_expert}`.
        gate: TensorInfo,
        /// `{n_embd, n_ff, n_expert}`.
        up: TensorInfo,
    },
    /// `{n_embd, 2 * n_ff, n_expert}`: for each expert the gate rows, then the up rows.
    Merged(TensorInfo),
}

impl Weights {
    /// Finds and checks the tensors of a model.
    pub fn resolve(file: &GgufFile, config: &Config) -> Result<Weights, WeightsError> {
        let mut r = Resolver::new(file);
        let vocabulary = [config.n_embd, config.n_vocab];
        let token_embd = r.matrix("token_embd.weight", &vocabulary)?;
        let output_is_tied = !r.has("output.weight");
        let output = if output_is_tied { token_embd.clone() } else { r.matrix("output.weight", &vocabulary)? };
        Ok(Weights {
            output_norm: r.vector("output_norm.weight", config.n_embd)?,
            layers: (0..config.n_layer()).map(|i| layer(&mut r, config, i)).collect::<Result<_, _>>()?,
            extra: r.unused(),
            token_embd,
            output,
            output_is_tied,
            geometry: config.geometry(),
        })
    }
}

fn layer(r: &mut Resolver<'_>, c: &Config, index: usize) -> Result<LayerWeights, WeightsError> {
    let name = |suffix: &str| format!("blk.{index}.{suffix}");
    Ok(LayerWeights {
        attn_norm: r.vector(&name("attn_norm.weight"), c.n_embd)?,
        mixer: match c.layers[index] {
            LayerKind::Attention => MixerWeights::Attention(attention(r, c, name)?),
            LayerKind::Delta => MixerWeights::Delta(delta(r, c, name)?),
        },
        post_attention_norm: r.vector(&name("post_attention_norm.weight"), c.n_embd)?,
        moe: moe(r, c, name)?,
    })
}

fn attention(
    r: &mut Resolver<'_>,
    c: &Config,
    name: impl Fn(&str) -> String,
) -> Result<AttentionWeights, WeightsError> {
    let a = &c.attention;
    let (q, k, v) = (2 * a.n_head * a.head_dim_k, a.n_head_kv * a.head_dim_k, a.n_head_kv * a.head_dim_v);
    let qkv = if r.has(&name("attn_qkv.weight")) && !r.has(&name("attn_q.weight")) {
        AttentionInput::Fused(r.matrix(&name("attn_qkv.weight"), &[c.n_embd, q + k + v])?)
    } else {
        AttentionInput::Separate {
            q: r.matrix(&name("attn_q.weight"), &[c.n_embd, q])?,
            k: r.matrix(&name("attn_k.weight"), &[c.n_embd, k])?,
            v: r.matrix(&name("attn_v.weight"), &[c.n_embd, v])?,
        }
    };
    Ok(AttentionWeights {
        qkv,
        q_norm: r.vector(&name("attn_q_norm.weight"), a.head_dim_k)?,
        k_norm: r.vector(&name("attn_k_norm.weight"), a.head_dim_k)?,
        output: r.matrix(&name("attn_output.weight"), &[a.n_head * a.head_dim_v, c.n_embd])?,
    })
}

fn delta(r: &mut Resolver<'_>, c: &Config, name: impl Fn(&str) -> String) -> Result<DeltaWeights, WeightsError> {
    let d = &c.delta;
    let input = if r.has(&name("ssm_in.weight")) && !r.has(&name("attn_qkv.weight")) {
        DeltaInput::Legacy(r.matrix(&name("ssm_in.weight"), &[c.n_embd, d.conv_width() + d.value_width()])?)
    } else {
        DeltaInput::Split {
            qkv: r.matrix(&name("attn_qkv.weight"), &[c.n_embd, d.conv_width()])?,
            gate: r.matrix(&name("attn_gate.weight"), &[c.n_embd, d.value_width()])?,
        }
    };
    Ok(DeltaWeights {
        input,
        ba: r.matrix(&name("ssm_ba.weight"), &[c.n_embd, 2 * d.n_head_v])?,
        conv1d: r.f32(&name("ssm_conv1d.weight"), &[d.conv_kernel, d.conv_width()])?,
        dt_bias: r.vector(&name("ssm_dt.bias"), d.n_head_v)?,
        a: r.vector(&name("ssm_a"), d.n_head_v)?,
        norm: r.vector(&name("ssm_norm.weight"), d.head_dim)?,
        output: r.matrix(&name("ssm_out.weight"), &[d.value_width(), c.n_embd])?,
    })
}

fn moe(r: &mut Resolver<'_>, c: &Config, name: impl Fn(&str) -> String) -> Result<MoeWeights, WeightsError> {
    let m = &c.moe;
    let experts = if r.has(&name("ffn_gate_up_exps.weight")) && !r.has(&name("ffn_gate_exps.weight")) {
        ExpertInput::Merged(r.matrix(&name("ffn_gate_up_exps.weight"), &[c.n_embd, 2 * m.n_ff, m.n_expert])?)
    } else {
        ExpertInput::Separate {
            gate: r.matrix(&name("ffn_gate_exps.weight"), &[c.n_embd, m.n_ff, m.n_expert])?,
            up: r.matrix(&name("ffn_up_exps.weight"), &[c.n_embd, m.n_ff, m.n_expert])?,
        }
    };
    Ok(MoeWeights {
        router: r.float(&name("ffn_gate_inp.weight"), &[c.n_embd, m.n_expert])?,
        experts,
        down: r.matrix(&name("ffn_down_exps.weight"), &[m.n_ff, c.n_embd, m.n_expert])?,
        shared_router: r.float(&name("ffn_gate_inp_shexp.weight"), &[c.n_embd])?,
        shared_gate: r.matrix(&name("ffn_gate_shexp.weight"), &[c.n_embd, m.n_ff_shared])?,
        shared_up: r.matrix(&name("ffn_up_shexp.weight"), &[c.n_embd, m.n_ff_shared])?,
        shared_down: r.matrix(&name("ffn_down_shexp.weight"), &[m.n_ff_shared, c.n_embd])?,
    })
}
