//! `attention_block`: a gated attention layer between its projections.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | q | `[d, H, T, S]` | raw projection |
//! | gate | `[d, H, T, S]` | of the output |
//! | k, v | `[d, Hkv, T, S]` | raw projections |
//! | pos | `[T, S]` | positions, which are also the cells |
//! | k_cache, v_cache | `[d, cells, Hkv, S]` | F32 or F16, updated, see [`set_rows`](super::set_rows) |
//! | w_q_norm, w_k_norm | `[d]` | |
//! | o | `[d, H, T, S]` | |
//!
//! RMS norm and rotation of q and k; k and v into the caches; [`attention`](super::attention) over the first `n_kv`
//! cells; `o · sigmoid(gate)`.

mod cuda;
mod reference;
mod separate;
mod tensor;

use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};

/// The definition.
pub struct AttentionBlock;

static REFERENCE: Reference = Reference::new(Op::AttentionBlock, &AttentionBlock);
static VARIANTS: &[&dyn Variant] = &[&tensor::TENSOR_CORES, &cuda::FUSED, &separate::SEPARATE, &REFERENCE];

/// Numbers of input tensors.
const Q: usize = 0;
const GATE: usize = 1;
const K: usize = 2;
const V: usize = 3;
const POS: usize = 4;
const K_CACHE: usize = 5;
const V_CACHE: usize = 6;
const W_Q_NORM: usize = 7;
const W_K_NORM: usize = 8;

impl OpDef for AttentionBlock {
    fn op(&self) -> Op {
        Op::AttentionBlock
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["q", "gate", "k", "v", "pos", "k_cache", "v_cache", "w_q_norm", "w_k_norm"]
    }

    fn updates(&self) -> &'static [usize] {
        &[K_CACHE, V_CACHE]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let &Params::AttentionBlock { n_rot, n_kv, .. } = params else {
            return Err(ShapeError(format!("parameters are {params:?}")));
        };
        for i in [Q, GATE, K, V, W_Q_NORM, W_K_NORM] {
            let have = inputs[i].dtype;
            ShapeError::unless(have == DType::F32, || format!("{} is {have}, not F32", self.inputs()[i]))?;
        }
        let pos = inputs[POS].dtype;
        ShapeError::unless(pos == DType::I32, || format!("pos is {pos}, not I32"))?;
        for i in [K_CACHE, V_CACHE] {
            let have = inputs[i].dtype;
            ShapeError::unless(matches!(have, DType::F32 | DType::F16), || {
                format!("{} is {have}, not F32 or F16", self.inputs()[i])
            })?;
        }
        let ([d, heads, t, s], kv_heads, cells) = (inputs[Q].ne, inputs[K].ne[1], inputs[K_CACHE].ne[1]);
        ShapeError::unless(kv_heads > 0 && heads.is_multiple_of(kv_heads), || {
            format!("{heads} query heads cannot share {kv_heads} KV heads")
        })?;
        ShapeError::unless(n_rot.is_multiple_of(2) && n_rot <= d, || {
            format!("turns {n_rot} of {d} dimensions: not an even part of them")
        })?;
        ShapeError::unless(n_kv <= cells, || format!("looks at {n_kv} of {cells} cells"))?;
        for (i, want) in [
            (GATE, [d, heads, t, s]),
            (K, [d, kv_heads, t, s]),
            (V, [d, kv_heads, t, s]),
            (POS, [t, s, 1, 1]),
            (K_CACHE, [d, cells, kv_heads, s]),
            (V_CACHE, [d, cells, kv_heads, s]),
            (W_Q_NORM, [d, 1, 1, 1]),
            (W_K_NORM, [d, 1, 1, 1]),
        ] {
            let have = inputs[i].ne;
            ShapeError::unless(have == want, || format!("{} is {have:?}, not {want:?}", self.inputs()[i]))?;
        }
        Ok(vec![Layout::f32([d, heads, t, s])])
    }

    /// As if the last token stood in the last cell that is looked at, and those before it one cell behind the other.
    fn cost(&self, inst: &Instance) -> Cost {
        let ([d, heads, t, s], cells) = (inst.inputs[Q].ne.map(|n| n as f64), constants(inst).n_kv as f64);
        let given = [Q, GATE, K, V].map(|i| inst.inputs[i].bytes() as f64).iter().sum::<f64>();
        let share = cells / inst.inputs[K_CACHE].ne[1].max(1) as f64;
        let cached = share * (inst.inputs[K_CACHE].bytes() + inst.inputs[V_CACHE].bytes()) as f64;
        let seen = (t * cells - t * (t - 1.0) / 2.0).max(t);
        Cost { bytes: given + cached + inst.outputs[0].bytes() as f64, flops: 4.0 * d * heads * s * seen }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::attention_block(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |name: &str, dtype, [d, h, t, s]: [usize; 4], kv: usize, cells: usize, n_kv: usize, pos: Fill| {
            let cache = Input { layout: Layout::contiguous(dtype, [d, cells, kv, s]), fill: Fill::Normal(1.0) };
            let inputs = vec![
                Input::normal([d, h, t, s]),
                Input::normal([d, h, t, s]),
                Input::normal([d, kv, t, s]),
                Input::normal([d, kv, t, s]),
                Input::i32([t, s, 1, 1], pos),
                cache.clone(),
                cache,
                Input::normal([d, 1, 1, 1]),
                Input::normal([d, 1, 1, 1]),
            ];
            let (n_rot, scale) = (d / 4 / 2 * 2, 1.0 / (d as f32).sqrt());
            Case::new(name, Params::AttentionBlock { n_rot, base: 1e7, eps: 1e-6, scale, n_kv }, inputs)
        };
        vec![
            case("decode, the model's heads", DType::F16, [256, 16, 1, 1], 2, 700, 512, Fill::Positions(500)),
            case("the first token", DType::F16, [256, 16, 1, 1], 2, 300, 256, Fill::Positions(1)),
            case("decode in two sequences", DType::F32, [64, 6, 1, 2], 2, 150, 150, Fill::Positions(150)),
            case("a cell that is not looked at", DType::F32, [32, 3, 1, 2], 1, 80, 10, Fill::Ids(80)),
            case("a long cache", DType::F16, [16, 2, 1, 1], 1, 5000, 5000, Fill::Positions(5000)),
            case("a head that no vector divides", DType::F32, [13, 5, 1, 2], 5, 67, 67, Fill::Positions(67)),
            case("prompt, the model's heads", DType::F16, [256, 16, 11, 1], 2, 300, 256, Fill::Positions(90)),
            case("prompt in two sequences, any positions", DType::F32, [80, 3, 13, 2], 1, 75, 70, Fill::Ids(75)),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The constants of an instance.
struct Constants {
    /// Dimensions of a head that turn.
    n_rot: usize,
    /// Base of the rotation.
    base: f32,
    /// ε of the norms.
    eps: f32,
    /// Factor on the logits.
    scale: f32,
    /// Cells that are looked at.
    n_kv: usize,
}

fn constants(inst: &Instance) -> Constants {
    match inst.params {
        Params::AttentionBlock { n_rot, base, eps, scale, n_kv } => Constants { n_rot, base, eps, scale, n_kv },
        other => unreachable!("`attention_block` with {other:?}"),
    }
}
