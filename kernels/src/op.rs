//! The ops by name.

use std::fmt;

macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What is computed. [`crate::ops`] defines each: inputs, outputs, bounds on the error, variants.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op { $($(#[doc = $doc])+ $variant,)+ }

        impl Op {
            /// Every op.
            pub const ALL: &'static [Op] = &[$(Op::$variant,)+];

            /// The field's usual name.
            pub const fn name(self) -> &'static str {
                match self { $(Op::$variant => $name,)+ }
            }
        }
    };
}

ops! {
    /// `x * factor`.
    Scale = "scale",
    /// `-x`.
    Neg = "neg",
    /// `e^x`.
    Exp = "exp",
    /// `1 / (1 + e^-x)`.
    Sigmoid = "sigmoid",
    /// `x * sigmoid(x)`.
    Silu = "silu",
    /// `ln(1 + e^x)`, `x` above 20.
    Softplus = "softplus",
    /// `a + b`, b broadcast.
    Add = "add",
    /// `a - b`, b broadcast.
    Sub = "sub",
    /// `a * b`, b broadcast.
    Mul = "mul",
    /// `a / b`, b broadcast.
    Div = "div",
    /// `silu(gate) * up`.
    Swiglu = "swiglu",
    /// `x * sigmoid(gate)`.
    SigmoidMul = "sigmoid_mul",
    /// Sum along `ne[0]`.
    SumRows = "sum_rows",
    /// Running sum along `ne[0]`.
    Cumsum = "cumsum",
    /// Copy into a given layout (ggml's `cont`, `cpy` and `dup`).
    Cont = "cont",
    /// Two tensors end to end.
    Concat = "concat",
    /// Repeat along dimensions.
    Repeat = "repeat",
    /// Zero outside a triangle.
    Tri = "tri",
    /// `A⁻¹ B` for a unit lower triangular A.
    SolveTri = "solve_tri",
    /// `x / sqrt(sum x² + ε)`.
    L2Norm = "l2_norm",
    /// `x / sqrt(mean x² + ε) * w`.
    RmsNorm = "rms_norm",
    /// `s = a + b` and `rms_norm(s)`.
    AddRmsNorm = "add_rms_norm",
    /// `rms_norm(x) * silu(z)`.
    GatedNorm = "gated_norm",
    /// Softmax along `ne[0]`.
    Softmax = "softmax",
    /// Indices in falling order.
    Argsort = "argsort",
    /// Indices of the k largest, falling.
    TopK = "top_k",
    /// The k largest, falling, and their indices.
    Candidates = "candidates",
    /// Rows of a table by index.
    GetRows = "get_rows",
    /// Rows into a cache by position.
    SetRows = "set_rows",
    /// Rotary position embedding.
    Rope = "rope",
    /// Activations to int8 blocks.
    Quantize = "quantize",
    /// `W x`.
    MulMat = "mul_mat",
    /// `W rms_norm(x + delta)` for several W.
    NormMulMat = "norm_mul_mat",
    /// `W[id] x`.
    MulMatId = "mul_mat_id",
    /// Causal convolution over a state, optionally silu.
    SsmConv = "ssm_conv",
    /// The convolution over an input that holds its own past.
    ConvTaps = "conv_taps",
    /// The convolution's state moves on by a run's tokens.
    ConvShift = "conv_shift",
    /// Decay and write strength of the delta rule.
    DeltaGates = "delta_gates",
    /// The gated delta rule.
    GatedDeltaNet = "gated_delta_net",
    /// A delta-net layer between its projections, all but the move of the convolution's state.
    DeltaHeads = "delta_heads",
    /// A delta-net layer between its projections.
    DeltaNet = "delta_net",
    /// Softmax attention over a KV cache.
    Attention = "attention",
    /// A gated attention layer between its projections.
    AttentionBlock = "attention_block",
    /// Experts of each token and their weights.
    MoeTopk = "moe_topk",
    /// `s = x + delta`, `rms_norm(s)`, and the experts that the router chooses for it.
    MoeRouter = "moe_router",
    /// `silu(W_gate[id] x) * (W_up[id] x)`.
    MoeUpGate = "moe_up_gate",
    /// Weighted sum of `W_down[id] h`.
    MoeDown = "moe_down",
    /// Routed experts and the shared one.
    MoeFfn = "moe_ffn",
    /// Bytes from one backend's memory to the other's; put in by the planner.
    Transfer = "transfer",
}

impl Op {
    /// The op of that name.
    pub fn from_name(name: &str) -> Option<Op> {
        Op::ALL.iter().copied().find(|o| o.name() == name)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
