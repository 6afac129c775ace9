//! Qwen3-Next as a graph of ops over strided views, written once for every phase, batch and profile.
//!
//! Trunk: `x = embd[ids]`; for each layer `x += mixer(norm(x))`, `x += ffn(norm(x))`; then `output * norm(x)`. The adds
//! are part of the op that norms the sum (`moe_router`, or `norm_mul_mat` with the projections behind it), whose variants
//! decide what is fused. What a layer does between its projections is one composite op (`delta_net`, `attention_block`,
//! `moe_ffn`); a profile opens it up as far as it likes.

mod attention;
mod delta;
mod moe;

use crate::config::{Config, LayerKind};
use crate::gguf::TensorInfo;
use crate::weights::{MixerWeights, Weights};
use deltascope_kernels::graph::{Graph, GraphBuilder, StorageKind};
use deltascope_kernels::{DType, Layout, Op, Params, ValueId};
use std::collections::HashMap;

/// The shape of a run: `n_seqs` sequences of `n_tokens` tokens each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchShape {
    /// Tokens of each sequence.
    pub n_tokens: usize,
    /// Sequences side by side.
    pub n_seqs: usize,
    /// Cells of the KV cache that the run may look at: a bound above every position, rounded up so that plans are
    /// used again.
    pub n_kv: usize,
    /// Which tokens' logits are wanted.
    pub logits: Logits,
}

/// Which tokens' logits a run computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Logits {
    /// The last token of each sequence.
    Last,
    /// Every token.
    All,
    /// Of the last token of each sequence the so many largest, with their ids.
    Top(usize),
}

/// Fixed numbers of inputs and outputs.
pub mod io {
    /// Input: token ids, i32 `[n_tokens * n_seqs]`.
    pub const IDS: u32 = 0;
    /// Input: positions, i32 `[n_tokens, n_seqs]`.
    pub const POSITIONS: u32 = 1;
    /// Output: logits, f32 `[n_vocab, rows]`.
    pub const LOGITS: u32 = 0;
    /// Output in place of the logits: `[k, rows]` ids, largest logit first, i32; behind them their logits, f32.
    pub const TOP: u32 = 1;
    /// First of the outputs that a test taps.
    pub const TAPS: u32 = 16;
}

/// Layout of the memory that a sequence keeps between runs, for `n_slots` sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateShape {
    /// Sequences that there is room for.
    pub n_slots: usize,
    /// Cells of the KV cache of each.
    pub n_ctx: usize,
    /// F32 or F16.
    pub kv_type: DType,
}

/// State numbers of a layer: (convolution, recurrent state) or (K, V).
pub fn state_ids(layer: usize) -> (u32, u32) {
    (2 * layer as u32, 2 * layer as u32 + 1)
}

/// Layouts of a layer's two states for one sequence; dimension 3 counts sequences.
pub fn state_layouts(c: &Config, shape: &StateShape, layer: usize) -> (Layout, Layout) {
    match c.layers[layer] {
        LayerKind::Delta => {
            let d = &c.delta;
            (
                Layout::f32([d.conv_width(), d.conv_kernel - 1, 1, 1]),
                Layout::f32([d.head_dim, d.head_dim, d.n_head_v, 1]),
            )
        }
        LayerKind::Attention => {
            let a = &c.attention;
            let cache = |hd| Layout::contiguous(shape.kv_type, [hd, shape.n_ctx, a.n_head_kv, 1]);
            (cache(a.head_dim_k), cache(a.head_dim_v))
        }
    }
}

/// Numbers of weights by tensor name.
pub type WeightIds = HashMap<String, u32>;

/// The residual stream, with the branch that is still to be added to it.
#[derive(Clone, Copy)]
struct Trunk {
    x: ValueId,
    delta: Option<ValueId>,
}

/// What the parts of the model build with.
struct Ctx<'a, 'g> {
    b: GraphBuilder<'g>,
    c: &'a Config,
    ids: &'a WeightIds,
    shape: BatchShape,
    state: StateShape,
    positions: ValueId,
    bound: HashMap<u32, ValueId>,
}

impl Ctx<'_, '_> {
    /// A weight as the file has it; one value however often it is used.
    fn weight(&mut self, t: &TensorInfo) -> ValueId {
        let id = self.ids[t.name()];
        let layout = Layout::contiguous(t.dtype(), t.ne());
        let b = &mut self.b;
        *self.bound.entry(id).or_insert_with(|| b.bind(StorageKind::Weight(id), layout))
    }

    /// `W x` for x `[k, n]`.
    fn mul_mat(&mut self, name: &str, w: &TensorInfo, x: ValueId) -> ValueId {
        let w = self.weight(w);
        self.b.one(name, Op::MulMat, Params::None, &[w, x])
    }

    /// `W rms_norm(x + delta)` for each W: the sum, or x where there is no delta, and the products.
    fn norm_mul_mat(
        &mut self,
        name: &str,
        norm: &TensorInfo,
        trunk: Trunk,
        w: &[&TensorInfo],
    ) -> (ValueId, Vec<ValueId>) {
        let inputs = self.norm_inputs(norm, trunk, w);
        let mut outputs = self.b.node(name, Op::NormMulMat, self.norm_params(trunk), &inputs);
        let x = if trunk.delta.is_some() { outputs.remove(0) } else { trunk.x };
        (x, outputs)
    }

    fn norm_inputs(&mut self, norm: &TensorInfo, trunk: Trunk, w: &[&TensorInfo]) -> Vec<ValueId> {
        let mut inputs = vec![trunk.x, self.weight(norm)];
        inputs.extend(w.iter().map(|w| self.weight(w)));
        inputs.extend(trunk.delta);
        inputs
    }

    fn norm_params(&self, trunk: Trunk) -> Params {
        Params::NormMulMat { eps: self.c.norm_eps, residual: trunk.delta.is_some() }
    }

    /// The layer's two states, for all sequences of the run.
    fn states(&mut self, layer: usize) -> (ValueId, ValueId) {
        let (first, second) = state_ids(layer);
        let (a, b) = state_layouts(self.c, &self.state, layer);
        let with_seqs = |l: Layout, dim: usize| {
            let mut l = l;
            let step = l.bytes();
            l.ne[dim] = self.shape.n_seqs;
            l.nb[dim] = step;
            l.nb[3] = if dim == 3 { step } else { step * self.shape.n_seqs };
            l
        };
        // The convolution's state is [channels, taps, seqs]; the others count sequences in dimension 3.
        let dim = if self.c.layers[layer] == LayerKind::Delta { 2 } else { 3 };
        let (a, b) = (with_seqs(a, dim), with_seqs(b, 3));
        (self.b.bind(StorageKind::State(first), a), self.b.bind(StorageKind::State(second), b))
    }
}

/// Builds the graph of one run.
///
/// # Panics
/// If weights do not fit the configuration; [`Weights::resolve`] has checked that they do.
pub fn build(c: &Config, w: &Weights, ids: &WeightIds, state: StateShape, shape: BatchShape) -> Graph {
    let mut graph = Graph::default();
    let mut b = graph.builder();
    let n = shape.n_tokens * shape.n_seqs;
    let tokens = b.bind(StorageKind::Input(io::IDS), Layout::i32([n, 1, 1, 1]));
    let positions = b.bind(StorageKind::Input(io::POSITIONS), Layout::i32([shape.n_tokens, shape.n_seqs, 1, 1]));
    let mut ctx = Ctx { b, c, ids, shape, state, positions, bound: HashMap::new() };
    let table = ctx.weight(&w.token_embd);
    let x = ctx.b.one("token_embd", Op::GetRows, Params::None, &[table, tokens]);
    let mut trunk = Trunk { x, delta: None };
    for (i, layer) in w.layers.iter().enumerate() {
        let prefix = format!("blk.{i}");
        let (mut x, mut mixed) = match &layer.mixer {
            MixerWeights::Delta(d) => delta::mixer(&mut ctx, &prefix, i, d, (&layer.attn_norm, trunk)),
            MixerWeights::Attention(a) => attention::mixer(&mut ctx, &prefix, i, a, (&layer.attn_norm, trunk)),
        };
        if i + 1 == w.layers.len() && shape.logits != Logits::All && shape.n_tokens > 1 {
            // Nobody looks at what the last layer's experts make of the other tokens.
            x = last_tokens(&mut ctx, x);
            mixed = last_tokens(&mut ctx, mixed);
        }
        let (sum, ffn) = moe::ffn(&mut ctx, &prefix, layer, x, mixed);
        trunk = Trunk { x: sum, delta: Some(ffn) };
    }
    let inputs = ctx.norm_inputs(&w.output_norm, trunk, &[&w.output]);
    let (x, params) = (ctx.b.layout(trunk.x), ctx.norm_params(trunk));
    let sum = ctx.b.temp(Layout::f32(x.ne));
    let layout = Layout::f32([c.n_vocab, x.ne[1], 1, 1]);
    let logits = match shape.logits {
        Logits::Last | Logits::All => ctx.b.bind(StorageKind::Output(io::LOGITS), layout),
        Logits::Top(_) => ctx.b.temp(layout),
    };
    ctx.b.node_into("output", Op::NormMulMat, params, &inputs, &[sum, logits]);
    if let Logits::Top(k) = shape.logits {
        candidates(&mut ctx.b, logits, k);
    }
    graph
}

/// The largest logits and their ids, side by side in one output: one copy brings them to the host.
fn candidates(b: &mut GraphBuilder<'_>, logits: ValueId, k: usize) {
    let ids = Layout::i32([k, b.layout(logits).ne[1], 1, 1]);
    let both = b.bind(StorageKind::Output(io::TOP), Layout::i32([2 * ids.elements(), 1, 1, 1]));
    let (ids, values) = (b.view(both, 0, ids), b.view(both, ids.bytes(), Layout::f32(ids.ne)));
    b.node_into("candidates", Op::Candidates, Params::TopK { k }, &[logits], &[ids, values]);
}

/// The last token of each sequence of a `[n, n_tokens * n_seqs]` value, as a view.
fn last_tokens(ctx: &mut Ctx<'_, '_>, v: ValueId) -> ValueId {
    let (t, s) = (ctx.shape.n_tokens, ctx.shape.n_seqs);
    let l = ctx.b.layout(v);
    let view =
        Layout { dtype: l.dtype, ne: [l.ne[0], s, 1, 1], nb: [l.nb[0], l.nb[1] * t, l.nb[1] * t * s, l.nb[1] * t * s] };
    ctx.b.view(v, (t - 1) * l.nb[1], view)
}
