//! Ops of the 80B model with the shapes that it gives them.

use deltascope_kernels::ops::Fill;
use deltascope_kernels::{DType, Layout, Op, Params};

/// An op with its inputs.
pub struct Shape {
    /// What it is in the model.
    pub name: String,
    pub op: Op,
    pub params: Params,
    pub inputs: Vec<(Layout, Fill)>,
    /// Launches in a graph.
    pub copies: usize,
    /// Sets of inputs among them, so that no level of cache holds the weights.
    pub sets: usize,
}

pub fn mul_mat(name: impl Into<String>, dtype: DType, [k, n, t]: [usize; 3], copies: usize, sets: usize) -> Shape {
    let w = (Layout::contiguous(dtype, [k, n, 1, 1]), Fill::Normal(0.02));
    let inputs = vec![w, (Layout::f32([k, t, 1, 1]), Fill::Normal(1.0))];
    Shape { name: name.into(), op: Op::MulMat, params: Params::None, inputs, copies, sets }
}

/// What reads the trunk, for a token.
pub fn norm_mul_mat(name: impl Into<String>, weights: &[(DType, usize)], copies: usize, sets: usize) -> Shape {
    let row = (Layout::f32([2048, 1, 1, 1]), Fill::Normal(1.0));
    let mut inputs = vec![row, row];
    inputs.extend(weights.iter().map(|&(t, rows)| (Layout::contiguous(t, [2048, rows, 1, 1]), Fill::Normal(0.02))));
    inputs.push(row);
    let params = Params::NormMulMat { eps: 1e-6, residual: true };
    Shape { name: name.into(), op: Op::NormMulMat, params, inputs, copies, sets }
}

const EXPERTS: usize = 512;
const USED: usize = 10;

fn ids(t: usize) -> (Layout, Fill) {
    (Layout::i32([USED, t, 1, 1]), Fill::DistinctIds(EXPERTS as i32))
}

pub fn up_gate(name: impl Into<String>, t: usize, copies: usize, sets: usize) -> Shape {
    let w = (Layout::contiguous(DType::IQ4_XS, [2048, 512, EXPERTS, 1]), Fill::Normal(0.02));
    let inputs = vec![(Layout::f32([2048, t, 1, 1]), Fill::Normal(1.0)), ids(t), w, w];
    Shape { name: name.into(), op: Op::MoeUpGate, params: Params::None, inputs, copies, sets }
}

pub fn down(name: impl Into<String>, t: usize, copies: usize, sets: usize) -> Shape {
    let w = (Layout::contiguous(DType::IQ4_XS, [512, 2048, EXPERTS, 1]), Fill::Normal(0.02));
    let h = (Layout::f32([512, USED, t, 1]), Fill::Normal(1.0));
    let inputs = vec![h, ids(t), (Layout::f32([USED, t, 1, 1]), Fill::Uniform(0.05, 0.2)), w];
    Shape { name: name.into(), op: Op::MoeDown, params: Params::None, inputs, copies, sets }
}

pub fn delta(name: impl Into<String>, t: usize, copies: usize) -> Shape {
    let (d, hk, hv) = (128, 16, 32);
    let unit = Fill::Normal(0.09);
    let f = Layout::f32;
    let inputs = vec![
        (f([d, hk, t, 1]), unit),
        (f([d, hk, t, 1]), unit),
        (f([d, hv, t, 1]), Fill::Normal(1.0)),
        (f([hv, t, 1, 1]), Fill::Uniform(-1.0, 0.0)),
        (f([hv, t, 1, 1]), Fill::Uniform(0.0, 1.0)),
        (f([d, d, hv, 1]), Fill::Normal(1.0)),
    ];
    Shape {
        name: name.into(),
        op: Op::GatedDeltaNet,
        params: Params::DeltaNet { scale: 0.088 },
        inputs,
        copies,
        sets: 2,
    }
}

/// A delta-net layer between its projections, for a token; states of more layers than the last level of cache holds.
pub fn delta_net() -> Shape {
    let (d, hk, hv, f) = (128, 16, 32, Layout::f32);
    let channels = 2 * hk * d + hv * d;
    let inputs = vec![
        (f([channels, 1, 1, 1]), Fill::Normal(1.0)),
        (f([hv * d, 1, 1, 1]), Fill::Normal(1.0)),
        (f([2 * hv, 1, 1, 1]), Fill::Normal(1.0)),
        (f([channels, 3, 1, 1]), Fill::Normal(1.0)),
        (f([d, d, hv, 1]), Fill::Normal(1.0)),
        (f([4, channels, 1, 1]), Fill::Normal(1.0)),
        (f([hv, 1, 1, 1]), Fill::Normal(1.0)),
        (f([hv, 1, 1, 1]), Fill::Uniform(-4.0, 0.0)),
        (f([d, 1, 1, 1]), Fill::Normal(1.0)),
    ];
    let params = Params::DeltaBlock { n_k_heads: hk, head_dim: d, eps: 1e-6 };
    Shape { name: "delta_net".to_owned(), op: Op::DeltaNet, params, inputs, copies: 72, sets: 36 }
}

/// An attention layer between its projections, for a token that sees all of `n_kv` cells, or only its own.
pub fn attention_block(name: impl Into<String>, n_kv: usize, first: bool) -> Shape {
    let (d, h, kv, f) = (256, 16, 2, Layout::f32);
    let cache = (Layout::contiguous(DType::F16, [d, n_kv, kv, 1]), Fill::Normal(1.0));
    let row = |heads| (f([d, heads, 1, 1]), Fill::Normal(1.0));
    let pos = (Layout::i32([1, 1, 1, 1]), Fill::Positions(if first { 1 } else { i32::MAX }));
    let inputs = vec![row(h), row(h), row(kv), row(kv), pos, cache, cache, row(1), row(1)];
    let params = Params::AttentionBlock { n_rot: 64, base: 1e7, eps: 1e-6, scale: 0.0625, n_kv };
    Shape { name: name.into(), op: Op::AttentionBlock, params, inputs, copies: 48, sets: 12 }
}

/// Attention of a prompt's tokens that all see `n_kv` cells.
pub fn attention(name: impl Into<String>, t: usize, n_kv: usize) -> Shape {
    let cache = (Layout::contiguous(DType::F16, [256, n_kv, 2, 1]), Fill::Normal(1.0));
    let pos = (Layout::i32([t, 1, 1, 1]), Fill::Positions(i32::MAX));
    let inputs = vec![(Layout::f32([256, 16, t, 1]), Fill::Normal(1.0)), cache, cache, pos];
    let params = Params::Softmax { scale: 0.0625, causal: true };
    Shape { name: name.into(), op: Op::Attention, params, inputs, copies: 4, sets: 2 }
}
