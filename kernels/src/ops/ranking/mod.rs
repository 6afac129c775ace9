//! Indices by rank: `argsort`, all of a row, `top_k`, the first k, and `candidates`, these and their values. The largest element comes first, among equals the
//! lower index; NaN comes last.

mod argsort;
mod candidates;
mod candidates_cuda;
mod cuda;
mod lowered;
mod top_k;

pub use argsort::Argsort;
pub use candidates::Candidates;
pub use top_k::TopK;
pub(super) use top_k::best;

use crate::TensorPtr;

/// A number that is the smaller, the earlier element `index` of value `x` comes. Distinct for distinct indices, so that
/// any way of sorting gives the same order.
#[inline(always)]
fn key(x: f32, index: usize) -> u64 {
    // Adding zero makes −0 the same as 0.
    let bits = (x + 0.0).to_bits();
    let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    let falling = if x.is_nan() { u32::MAX } else { !rising };
    u64::from(falling) << 32 | index as u64
}

/// The index in a [`key`].
#[inline(always)]
pub(super) fn index(key: u64) -> i32 {
    key as u32 as i32
}

/// Whether element i of value x comes before element j of value y: the definition.
fn before((x, i): (f32, usize), (y, j): (f32, usize)) -> bool {
    match (x.is_nan(), y.is_nan()) {
        (false, false) => x > y || (x == y && i < j),
        (false, true) => true,
        (true, false) => false,
        (true, true) => i < j,
    }
}

/// Writes the indices of the first `y.ne(0)` elements of each row of x, for the references: an element's rank is the
/// number of those before it.
///
/// # Safety
/// As [`crate::Kernel::run`], with one worker; x is F32, y I32, of the same rows.
unsafe fn rank_rows(x: &TensorPtr, y: &TensorPtr) {
    for row in 0..x.layout.rows() {
        let [i1, i2, i3] = x.layout.row_index(row);
        for i in 0..x.ne(0) {
            // SAFETY: indices lie inside x, and ranks that are written inside y.
            unsafe {
                let value = |i| (x.get_f32([i, i1, i2, i3]), i);
                let rank = (0..x.ne(0)).filter(|&j| before(value(j), value(i))).count();
                if rank < y.ne(0) {
                    y.set_i32([rank, i1, i2, i3], i as i32);
                }
            }
        }
    }
}

/// The first `n` keys of a worker's scratch.
///
/// # Panics
/// If the scratch is shorter.
fn keys(scratch: &mut [u8], n: usize) -> &mut [u64] {
    assert!(scratch.len() >= n * 8, "scratch of {} bytes for {n} keys", scratch.len());
    // SAFETY: scratch is aligned to 64 and long enough; every bit pattern is a u64.
    unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast::<u64>(), n) }
}

#[cfg(test)]
mod tests {
    use super::{before, index, key};
    use crate::check::{Tensor, run_variant};
    use crate::plan::Defaults;
    use crate::pool::Pool;
    use crate::{Backend, Op, Params, Tunables, ops};
    use proptest::prelude::*;

    const AWKWARD: [f32; 10] =
        [0.0, 1.0, f32::NAN, -0.0, f32::NEG_INFINITY, 1.0, f32::INFINITY, -3.0, -f32::NAN, f32::MIN_POSITIVE];

    #[test]
    fn equals_keep_their_order_and_nan_comes_last() {
        for op in [Op::Argsort, Op::TopK] {
            let params = if op == Op::TopK { Params::TopK { k: 10 } } else { Params::None };
            for &v in ops::variants(op).iter().filter(|v| v.spec().backend == Backend::Cpu) {
                let x = [Tensor::f32([10, 1, 1, 1], &AWKWARD)];
                let tunables = Tunables::defaults(v.spec().tunables);
                let got = run_variant(&mut Pool::new(1), v, &tunables, params, &x, None, &Defaults).unwrap();
                let want = [6, 1, 5, 9, 0, 3, 7, 4, 2, 8];
                assert_eq!(got.outputs[0].data.as_i32(), want, "{op} {}", v.spec().name);
            }
        }
    }

    proptest! {
        #[test]
        fn keys_order_as_the_definition(x: f32, y: f32, i in 0usize..1000, j in 0usize..1000) {
            prop_assume!(i != j);
            prop_assert_eq!(key(x, i) < key(y, j), before((x, i), (y, j)));
            prop_assert_eq!(index(key(x, i)), i as i32);
        }

        #[test]
        fn keys_order_bits_as_the_definition(x: u32, y: u32) {
            let (x, y) = (f32::from_bits(x), f32::from_bits(y));
            prop_assert_eq!(key(x, 1) < key(y, 2), before((x, 1), (y, 2)));
        }
    }
}
