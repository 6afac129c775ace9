//! `set_rows`: rows into a cache by position: `cache[:, pos[t, s], h, s] = src[:, h, t, s]`, converted to the cache's
//! type. Where two tokens of a sequence have one position, the later token stands.
//!
//! A position outside the cache writes nothing: positions come from the run, and no number may write out of bounds.

mod cuda;
mod reference;
mod serial;
mod threaded;

use super::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, DType, Instance, Layout, Op, Params, Variant};

/// The definition.
pub struct SetRows;

static REFERENCE: Reference = Reference::new(Op::SetRows, &SetRows);
static VARIANTS: &[&dyn Variant] = &[&cuda::BLOCK_ROW, &threaded::THREADED, &serial::SERIAL, &REFERENCE];

/// The input that is written.
const CACHE: usize = 2;

impl OpDef for SetRows {
    fn op(&self) -> Op {
        Op::SetRows
    }

    /// `src` [head, heads, tokens, sequences], `pos` [tokens, sequences], `cache` [head, cells, heads, sequences].
    fn inputs(&self) -> &'static [&'static str] {
        &["src", "pos", "cache"]
    }

    fn updates(&self) -> &'static [usize] {
        &[CACHE]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let [src, pos, cache] = [inputs[0], inputs[1], inputs[CACHE]];
        ShapeError::unless(src.dtype == DType::F32 && pos.dtype == DType::I32, || {
            format!("src is {} and pos {}, not F32 and I32", src.dtype, pos.dtype)
        })?;
        ShapeError::unless(matches!(cache.dtype, DType::F32 | DType::F16), || {
            format!("the cache is {}, not F32 or F16", cache.dtype)
        })?;
        ShapeError::unless(pos.ne == [src.ne[2], src.ne[3], 1, 1], || format!("pos is {pos} for the tokens of {src}"))?;
        let fits = [cache.ne[0], cache.ne[2], cache.ne[3]] == [src.ne[0], src.ne[1], src.ne[3]];
        ShapeError::unless(fits, || format!("the cache is {cache} for rows of {src}"))?;
        Ok(Vec::new())
    }

    /// The rows, not the whole cache.
    fn cost(&self, inst: &Instance) -> Cost {
        let src = &inst.inputs[0];
        let written = src.elements() * inst.inputs[CACHE].dtype.block_bytes();
        Cost { bytes: (src.bytes() + inst.inputs[1].bytes() + written) as f64, flops: 0.0 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        // SAFETY: the contract is the same.
        unsafe { reference::set_rows(call) }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |name: &str, dtype, [hd, h, t, s]: [usize; 4], cells: usize, pos| {
            let cache = Input { layout: Layout::contiguous(dtype, [hd, cells, h, s]), fill: Fill::Normal(1.0) };
            let inputs = vec![Input::normal([hd, h, t, s]), Input::i32([t, s, 1, 1], pos), cache];
            Case::new(name, Params::None, inputs)
        };
        vec![
            case("decode, the model's heads", DType::F16, [256, 2, 1, 1], 64, Fill::Positions(64)),
            case("prefill of two sequences", DType::F16, [256, 2, 33, 2], 64, Fill::Positions(64)),
            case("F32, odd head", DType::F32, [13, 3, 5, 2], 9, Fill::Positions(9)),
            case("positions that repeat", DType::F32, [70, 1, 20, 1], 5, Fill::Ids(5)),
            case("positions beyond the cache", DType::F16, [8, 2, 20, 2], 6, Fill::Ids(12)),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// The cell of a position, if the cache has it.
pub(super) fn cell(pos: i32, cells: usize) -> Option<usize> {
    usize::try_from(pos).ok().filter(|&p| p < cells)
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn only_cells_of_the_cache_are_written() {
        assert_eq!(cell(0, 4), Some(0));
        assert_eq!(cell(3, 4), Some(3));
        assert_eq!(cell(4, 4), None);
        assert_eq!(cell(-1, 4), None);
        assert_eq!(cell(i32::MIN, usize::MAX), None);
    }
}
