//! Hyperparameters of a Qwen3-Next, read from a file's metadata. Nothing about the 80B is built in.

mod keys;

#[cfg(test)]
mod tests;

use crate::gguf::{GgufFile, MetadataError};
use keys::Keys;

/// The architecture that this program runs, as `general.architecture` names it.
pub const ARCHITECTURE: &str = "qwen3next";

/// A layer's token mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Gated delta-net: a recurrent state of fixed size.
    Delta,
    /// Gated full attention, with a KV cache.
    Attention,
}

/// Hyperparameters. Every count is nonzero and within sane bounds, and the products that shapes are made of fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `general.name`, for people.
    pub name: Option<String>,
    /// Tokens that the model was trained to look back at.
    pub context_length: usize,
    /// Rows of the embedding and of the output matrix.
    pub n_vocab: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Epsilon of all RMS norms.
    pub norm_eps: f32,
    /// The layers to run, without the multi-token-prediction blocks.
    pub layers: Vec<LayerKind>,
    /// Multi-token-prediction blocks that follow the layers in the file; they are not run.
    pub n_nextn: usize,
    /// Shape of the attention layers.
    pub attention: AttentionConfig,
    /// Shape of the delta-net layers.
    pub delta: DeltaConfig,
    /// Shape of the mixture of experts of every layer.
    pub moe: MoeConfig,
}

/// Shape of a gated attention layer.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionConfig {
    /// Query heads; a multiple of `n_head_kv`.
    pub n_head: usize,
    /// Key and value heads.
    pub n_head_kv: usize,
    /// Width of a query and key head.
    pub head_dim_k: usize,
    /// Width of a value head, and of its gate: equal to `head_dim_k` in this architecture, whose gate comes with the query.
    pub head_dim_v: usize,
    /// Leading dimensions of a head that are rotated; even.
    pub n_rot: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
}

/// Shape of a gated delta-net layer.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaConfig {
    /// Taps of the causal convolution, the current token's included.
    pub conv_kernel: usize,
    /// Width of a key head and of a value head: the state of a value head is `head_dim` × `head_dim`.
    pub head_dim: usize,
    /// Query and key heads.
    pub n_head_k: usize,
    /// Value heads; a multiple of `n_head_k`, whose head `v` reads key head `v / (n_head_v / n_head_k)`.
    pub n_head_v: usize,
}

impl DeltaConfig {
    /// Width of the queries of all heads; that of the keys is the same.
    pub fn key_width(&self) -> usize {
        self.head_dim * self.n_head_k
    }

    /// Width of the values of all heads, `ssm.inner_size`.
    pub fn value_width(&self) -> usize {
        self.head_dim * self.n_head_v
    }

    /// Channels of the convolution: queries, keys and values.
    pub fn conv_width(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }
}

/// Shape of the mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeConfig {
    /// Routed experts.
    pub n_expert: usize,
    /// Routed experts that a token uses.
    pub n_used: usize,
    /// Inner width of a routed expert.
    pub n_ff: usize,
    /// Inner width of the shared expert.
    pub n_ff_shared: usize,
}

/// Why a file is no Qwen3-Next that can be run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("the architecture is `{found}`; only `{ARCHITECTURE}` is supported")]
    Architecture { found: String },
    #[error("key `{key}` is {value}; {min} to {max} is supported")]
    Range { key: String, value: String, min: String, max: String },
    #[error("key `{key}` is {value}; {why}")]
    Value { key: String, value: String, why: String },
    #[error(
        "the file holds only the multi-token-prediction block and no layers of the model itself; \
         open the model that it belongs to"
    )]
    MtpOnly,
}

impl Config {
    /// Reads and checks the hyperparameters. Tensors are only looked up by name, to tell the layers to run from
    /// the multi-token-prediction blocks.
    pub fn from_gguf(file: &GgufFile) -> Result<Config, ConfigError> {
        let metadata = file.metadata();
        let architecture = metadata.get_str("general.architecture")?;
        if architecture != ARCHITECTURE {
            return Err(ConfigError::Architecture { found: architecture.to_owned() });
        }
        let has = |name: &str| file.tensor(name).is_some();
        if !has("blk.0.attn_norm.weight") && file.tensors().iter().any(|t| t.name().contains(".nextn.")) {
            return Err(ConfigError::MtpOnly);
        }

        let keys = Keys::new(metadata, ARCHITECTURE);
        let n_block = keys.count("block_count", 1..=1024)?;
        let n_nextn = count_nextn(&keys, n_block, has)?;
        Ok(Config {
            name: metadata.find::<&str>("general.name")?.map(str::to_owned),
            context_length: keys.count("context_length", 1..=1 << 30)?,
            n_vocab: vocabulary(&keys)?,
            n_embd: keys.count("embedding_length", 1..=1 << 16)?,
            norm_eps: keys.float("attention.layer_norm_rms_epsilon", f32::MIN_POSITIVE..=1e-1)?,
            layers: layers(&keys, n_block, n_nextn)?,
            n_nextn,
            attention: attention(&keys)?,
            delta: delta(&keys)?,
            moe: moe(&keys)?,
        })
    }

    /// Number of layers to run.
    pub fn n_layer(&self) -> usize {
        self.layers.len()
    }

    /// The size in short, for profiles: `48l-2048d-512e` for layers, width and experts.
    pub fn geometry(&self) -> String {
        format!("{}l-{}d-{}e", self.n_layer(), self.n_embd, self.moe.n_expert)
    }
}

/// Blocks at the end of the file that predict further tokens and are not layers of the model.
///
/// A block is one if it has the tensors of one, whatever the keys say; and if the key counts it and the file lacks it,
/// as after stripping. A block that the key counts and that looks like a layer is a layer.
fn count_nextn(keys: &Keys<'_>, n_block: usize, has: impl Fn(&str) -> bool) -> Result<usize, ConfigError> {
    let key = "nextn_predict_layers";
    let claimed = keys.find_count(key, 0..=n_block - 1)?.unwrap_or(0);
    let is_nextn = |i: usize| {
        has(&format!("blk.{i}.nextn.eh_proj.weight"))
            || (i >= n_block - claimed && !has(&format!("blk.{i}.attn_norm.weight")))
    };
    Ok((1..n_block).rev().take_while(|i| is_nextn(*i)).count())
}

fn layers(keys: &Keys<'_>, n_block: usize, n_nextn: usize) -> Result<Vec<LayerKind>, ConfigError> {
    let n_layer = n_block - n_nextn;
    let kind = |recurrent: bool| if recurrent { LayerKind::Delta } else { LayerKind::Attention };

    let key = "attention.recurrent_layers";
    if let Some(recurrent) = keys.find::<&[bool]>(key)? {
        if recurrent.len() != n_block && recurrent.len() != n_layer {
            let why = format!("there are {n_layer} layers and {n_nextn} multi-token-prediction blocks");
            return Err(keys.wrong(key, format!("an array of {}", recurrent.len()), why));
        }
        return Ok(recurrent[..n_layer].iter().map(|r| kind(*r)).collect());
    }
    // Older files lack this key too; they were all written for models with attention in every fourth layer.
    let interval = keys.find_count("full_attention_interval", 1..=1024)?.unwrap_or(4);
    Ok((0..n_layer).map(|i| kind(!(i + 1).is_multiple_of(interval))).collect())
}

fn vocabulary(keys: &Keys<'_>) -> Result<usize, ConfigError> {
    let key = "tokenizer.ggml.tokens";
    match keys.metadata().find::<&[String]>(key)? {
        Some(tokens) if (1..=1 << 24).contains(&tokens.len()) => Ok(tokens.len()),
        Some(tokens) => Err(ConfigError::Value {
            key: key.to_owned(),
            value: format!("an array of {}", tokens.len()),
            why: "1 to 2^24 tokens are supported".to_owned(),
        }),
        None => keys.count("vocab_size", 1..=1 << 24),
    }
}

fn attention(keys: &Keys<'_>) -> Result<AttentionConfig, ConfigError> {
    let c = AttentionConfig {
        n_head: keys.count("attention.head_count", 1..=1024)?,
        n_head_kv: keys.count("attention.head_count_kv", 1..=1024)?,
        head_dim_k: keys.count("attention.key_length", 1..=4096)?,
        head_dim_v: keys.count("attention.value_length", 1..=4096)?,
        n_rot: keys.count("rope.dimension_count", 2..=4096)?,
        rope_base: keys.float("rope.freq_base", 1.0..=1e12)?,
    };
    if !c.n_head.is_multiple_of(c.n_head_kv) {
        let why = format!("it must divide the {} query heads", c.n_head);
        return Err(keys.wrong("attention.head_count_kv", c.n_head_kv, why));
    }
    if c.head_dim_v != c.head_dim_k {
        let why = format!("it must equal the key length {}: the query's gate is applied to the values", c.head_dim_k);
        return Err(keys.wrong("attention.value_length", c.head_dim_v, why));
    }
    if !c.n_rot.is_multiple_of(2) || c.n_rot > c.head_dim_k {
        let why = format!("it must be even and at most the key length {}", c.head_dim_k);
        return Err(keys.wrong("rope.dimension_count", c.n_rot, why));
    }
    Ok(c)
}

fn delta(keys: &Keys<'_>) -> Result<DeltaConfig, ConfigError> {
    let c = DeltaConfig {
        conv_kernel: keys.count("ssm.conv_kernel", 2..=64)?,
        head_dim: keys.count("ssm.state_size", 1..=1024)?,
        n_head_k: keys.count("ssm.group_count", 1..=1024)?,
        n_head_v: keys.count("ssm.time_step_rank", 1..=1024)?,
    };
    if !c.n_head_v.is_multiple_of(c.n_head_k) {
        let why = format!("it must be a multiple of the {} key heads", c.n_head_k);
        return Err(keys.wrong("ssm.time_step_rank", c.n_head_v, why));
    }
    let inner = keys.count("ssm.inner_size", 1..=1 << 20)?;
    if inner != c.value_width() {
        let why = format!("{} value heads of width {} make {}", c.n_head_v, c.head_dim, c.value_width());
        return Err(keys.wrong("ssm.inner_size", inner, why));
    }
    Ok(c)
}

fn moe(keys: &Keys<'_>) -> Result<MoeConfig, ConfigError> {
    let n_expert = keys.count("expert_count", 1..=1 << 16)?;
    Ok(MoeConfig {
        n_expert,
        n_used: keys.count("expert_used_count", 1..=n_expert)?,
        n_ff: keys.count("expert_feed_forward_length", 1..=1 << 20)?,
        n_ff_shared: keys.count("expert_shared_feed_forward_length", 1..=1 << 20)?,
    })
}
