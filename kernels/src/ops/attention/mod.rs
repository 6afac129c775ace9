//! `attention`: causal softmax attention over a KV cache. Query head `h` uses KV head `h / (H / Hkv)`; the token at
//! position `p` sees the cells `0 ..= p` of its sequence.
//!
//! Cells that no token sees are never read by `flash` and the reference: they may hold anything. A token without a cell
//! (a negative position) gets zeros; a position beyond the cache sees all of it.

mod cells;
mod cuda;
mod flash;
mod flash_tensor;
mod geometry;
mod reference;
mod softmax;
mod tile;
mod unfused;

use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};

/// The definition.
pub struct Attention;

static REFERENCE: Reference = Reference::new(Op::Attention, &Attention);
static VARIANTS: &[&dyn Variant] =
    &[&flash_tensor::FLASH_TENSOR, &cuda::SPLIT, &flash::FLASH, &unfused::UNFUSED, &REFERENCE];

/// Indices of the inputs.
const Q: usize = 0;
const K: usize = 1;
const V: usize = 2;
const POS: usize = 3;

impl OpDef for Attention {
    fn op(&self) -> Op {
        Op::Attention
    }

    /// `q` [head, H, tokens, sequences], `k_cache` and `v_cache` [head, cells, Hkv, sequences], `pos` [tokens, sequences].
    fn inputs(&self) -> &'static [&'static str] {
        &["q", "k_cache", "v_cache", "pos"]
    }

    fn infer(&self, params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let [q, k, v, pos] = [inputs[Q], inputs[K], inputs[V], inputs[POS]];
        let ok = matches!(params, Params::Softmax { causal: true, .. });
        ShapeError::unless(ok, || format!("wants a causal `Params::Softmax`, not {params:?}"))?;
        ShapeError::unless(q.dtype == DType::F32 && pos.dtype == DType::I32, || {
            format!("q is {} and pos {}, not F32 and I32", q.dtype, pos.dtype)
        })?;
        for cache in [k, v] {
            ShapeError::unless(matches!(cache.dtype, DType::F32 | DType::F16), || {
                format!("a cache is {}, not F32 or F16", cache.dtype)
            })?;
        }
        ShapeError::unless(k.ne == v.ne && k.ne[0] == q.ne[0] && k.ne[3] == q.ne[3], || {
            format!("caches {k} and {v} do not fit q {q}")
        })?;
        ShapeError::unless(k.ne[2] > 0 && q.ne[1].is_multiple_of(k.ne[2]), || {
            format!("{} query heads cannot share {} KV heads", q.ne[1], k.ne[2])
        })?;
        ShapeError::unless(pos.ne == [q.ne[2], q.ne[3], 1, 1], || format!("pos is {pos} for the tokens of {q}"))?;
        Ok(vec![Layout::f32(q.ne)])
    }

    /// As if the last token stood in the last cell of the view, and those before it one cell behind the other.
    fn cost(&self, inst: &Instance) -> Cost {
        let [q, k] = [inst.inputs[Q], inst.inputs[K]];
        let [hd, heads, tokens, seqs] = q.ne.map(|n| n as f64);
        let seen = tokens * (k.ne[1] as f64) - tokens * (tokens - 1.0) / 2.0;
        let bytes = inst.inputs.iter().chain(&inst.outputs).map(|l| l.bytes() as f64).sum();
        Cost { bytes, flops: 4.0 * hd * heads * seqs * seen.max(tokens) }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::attention(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |name: &str, dtype, [hd, h, t, s]: [usize; 4], kv: usize, cells: usize, pos: Fill| {
            let cache = |dev| Input { layout: Layout::contiguous(dtype, [hd, cells, kv, s]), fill: Fill::Normal(dev) };
            let inputs = vec![Input::normal([hd, h, t, s]), cache(1.0), cache(1.0), Input::i32([t, s, 1, 1], pos)];
            Case::new(name, Params::Softmax { scale: 1.0 / (hd as f32).sqrt(), causal: true }, inputs)
        };
        vec![
            case("decode, the model's heads", DType::F16, [256, 16, 1, 1], 2, 700, Fill::Positions(700)),
            case("decode of two sequences", DType::F32, [64, 6, 1, 2], 2, 150, Fill::Positions(150)),
            case("prefill, the model's heads", DType::F16, [256, 16, 11, 1], 2, 90, Fill::Positions(90)),
            case("prefill of two sequences, any positions", DType::F32, [80, 3, 13, 2], 1, 70, Fill::Ids(75)),
            case("a head that no vector divides", DType::F32, [13, 5, 3, 2], 5, 67, Fill::Positions(67)),
            case(
                "a prompt over a deep cache, the model's heads",
                DType::F16,
                [256, 16, 17, 1],
                2,
                200,
                Fill::Positions(180),
            ),
            case(
                "a prompt of whole tiles, the model's heads",
                DType::F16,
                [256, 16, 64, 1],
                2,
                256,
                Fill::Positions(200),
            ),
            case("a prompt with tokens that see little", DType::F16, [256, 6, 40, 2], 2, 70, Fill::Ids(75)),
            case("a prompt, heads of 128", DType::F16, [128, 4, 130, 1], 2, 300, Fill::Positions(300)),
            case("a prompt in two sequences, heads of 64", DType::F16, [64, 3, 33, 2], 3, 140, Fill::Positions(140)),
            case("one cell", DType::F16, [8, 1, 1, 1], 1, 1, Fill::Positions(1)),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// What logits are multiplied with.
fn scale(params: &Params) -> f32 {
    match *params {
        Params::Softmax { scale, .. } => scale,
        other => unreachable!("`attention` with {other:?}"),
    }
}

/// How many of a cache's cells a position sees.
pub(super) fn seen(pos: i32, cells: usize) -> usize {
    usize::try_from(i64::from(pos) + 1).map_or(0, |n| n.min(cells))
}

#[cfg(test)]
mod tests;
