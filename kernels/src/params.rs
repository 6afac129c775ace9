//! The constants of a node: what an op needs to know beside its tensors.

/// Which part of a square matrix `tri` keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Triangle {
    /// Column ≤ row.
    Lower,
    /// Column < row.
    StrictlyLower,
}

/// Parameters of a node, by op.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Params {
    /// The op has none.
    #[default]
    None,
    /// `scale`: factor.
    Scale {
        /// What each element is multiplied with.
        factor: f32,
    },
    /// `rms_norm`, `l2_norm`, `add_rms_norm`, `gated_norm`: the ε under the root.
    Norm {
        /// ε.
        eps: f32,
    },
    /// `norm_mul_mat`.
    NormMulMat {
        /// ε of the norm.
        eps: f32,
        /// The last input is added to the first, and the sum is the first output.
        residual: bool,
    },
    /// `rope` (NEOX pairs `(i, i + n_rot/2)`).
    Rope {
        /// Dimensions that turn; the rest pass.
        n_rot: usize,
        /// θ base.
        base: f32,
    },
    /// `softmax` over `ne[0]` of `scale * x`; `attention`'s scale likewise.
    Softmax {
        /// Factor on the logits.
        scale: f32,
        /// Input 1 holds positions: cells beyond a token's position count as −∞.
        causal: bool,
    },
    /// `concat` along a dimension; `cumsum` runs along `ne[0]` always.
    Concat {
        /// 0 … 3.
        dim: usize,
    },
    /// `repeat` to this shape.
    Repeat {
        /// Shape of the result, each a multiple of the input's.
        ne: [usize; 4],
        /// Heads are repeated in place (`0 0 1 1`) along dimension 1, not tiled (`0 1 0 1`).
        interleave: bool,
    },
    /// `tri`.
    Tri {
        /// What is kept.
        keep: Triangle,
    },
    /// `top_k`, `candidates`, `moe_topk`.
    TopK {
        /// How many.
        k: usize,
    },
    /// `moe_router`.
    Router {
        /// ε of the norm.
        eps: f32,
        /// How many experts.
        k: usize,
    },
    /// `ssm_conv`.
    Conv {
        /// Apply silu to the result.
        silu: bool,
    },
    /// `delta_gates`.
    Gates {
        /// Key heads; a group of the packed input holds the value heads of one.
        n_k_heads: usize,
    },
    /// `gated_delta_net`: what q is multiplied with, usually `1/sqrt(head_dim)`.
    DeltaNet {
        /// Factor on q.
        scale: f32,
    },
    /// `delta_net`: the whole block between the projections.
    DeltaBlock {
        /// Key heads; value heads are a multiple.
        n_k_heads: usize,
        /// Width of a head.
        head_dim: usize,
        /// ε of the L2 norm of q and k and of the gated norm.
        eps: f32,
    },
    /// `attention_block`: the whole block between the projections.
    AttentionBlock {
        /// Dimensions of a head that turn; the rest pass.
        n_rot: usize,
        /// θ base.
        base: f32,
        /// ε of the norms of q and k.
        eps: f32,
        /// Factor on the logits.
        scale: f32,
        /// Cells of the caches that are looked at, the first ones.
        n_kv: usize,
    },
    /// `quantize`.
    Quantize {
        /// Type of the result.
        to: crate::DType,
    },
    /// `transfer`.
    Transfer {
        /// The backend whose memory then has the bytes too.
        to: crate::Backend,
    },
}
