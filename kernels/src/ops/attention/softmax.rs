//! The running softmax of a tile: rows side by side in the lanes, so that maxima and sums need no step across lanes.

use crate::math::{Level, exp};

/// Rows that go together; the width of a tile's scores is a multiple of it.
pub(super) const LANES: usize = 8;

/// A group of [`LANES`] rows.
pub(super) type Row = [f32; LANES];

/// What a group of rows has seen so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// Largest logit.
    pub max: Row,
    /// Sum of `e^(logit - max)`.
    pub sum: Row,
    /// What sums over the cells before this block must be multiplied with, as the maximum rose.
    pub factor: Row,
    /// Cells that each row may see.
    pub seen: [u32; LANES],
}

impl Running {
    /// Nothing seen yet. The maximum is finite, so that no difference of it is NaN.
    pub const START: Running =
        Running { max: [f32::MIN; LANES], sum: [0.0; LANES], factor: [0.0; LANES], seen: [0; LANES] };
}

/// Turns the logits of the cells `first ..` (a row of `s` each, groups `width / LANES` apart) into weights.
#[inline(always)]
pub(super) fn step<L: Level>(running: &mut Running, s: &mut [Row], group: usize, groups: usize, first: usize) {
    let cells = s.len() / groups;
    if running.seen.iter().any(|&n| (n as usize) < first + cells) {
        for c in 0..cells {
            for (x, &seen) in s[c * groups + group].iter_mut().zip(&running.seen) {
                *x = if ((first + c) as u32) < seen { *x } else { f32::NEG_INFINITY };
            }
        }
    }
    let mut max = running.max;
    for c in 0..cells {
        for (m, &x) in max.iter_mut().zip(&s[c * groups + group]) {
            *m = if x > *m { x } else { *m };
        }
    }
    for ((factor, &old), &new) in running.factor.iter_mut().zip(&running.max).zip(&max) {
        *factor = exp::<L>(old - new);
    }
    let mut sum = [0.0; LANES];
    for c in 0..cells {
        for ((x, &max), sum) in s[c * groups + group].iter_mut().zip(&max).zip(&mut sum) {
            *x = exp::<L>(*x - max);
            *sum += *x;
        }
    }
    for ((total, &factor), &sum) in running.sum.iter_mut().zip(&running.factor).zip(&sum) {
        *total = *total * factor + sum;
    }
    running.max = max;
}
