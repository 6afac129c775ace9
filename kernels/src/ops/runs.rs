//! Element-wise work cut into runs: stretches of at most `block` elements along dimension 0, dealt over the workers.

use crate::TensorPtr;
use std::ops::Range;

/// A shape cut into runs. Run numbers count along dimension 0 first.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    ne: [usize; 4],
    block: usize,
    per_row: usize,
}

/// One run: the index of its first element, and how many follow along dimension 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub at: [usize; 4],
    pub n: usize,
}

impl Runs {
    /// Cuts a shape into runs of `block` elements; the last of each row is shorter.
    pub fn new(ne: [usize; 4], block: usize) -> Runs {
        Runs { ne, block, per_row: ne[0].div_ceil(block) }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.per_row * self.ne[1] * self.ne[2] * self.ne[3]
    }

    /// The runs with these numbers.
    #[inline(always)]
    pub fn range(self, numbers: Range<usize>) -> impl Iterator<Item = Run> {
        numbers.map(move |i| {
            let (row, start) = (i / self.per_row, i % self.per_row * self.block);
            let (i1, rest) = (row % self.ne[1], row / self.ne[1]);
            Run { at: [start, i1, rest % self.ne[2], rest / self.ne[2]], n: self.block.min(self.ne[0] - start) }
        })
    }
}

/// Makes tensors of one shape that are all contiguous a single row, which can be cut anywhere; others stay as they are.
pub(super) fn flatten<const N: usize>(mut tensors: [TensorPtr; N]) -> [TensorPtr; N] {
    let ne = tensors[0].layout.ne;
    if tensors.iter().all(|t| t.layout.ne == ne && t.layout.is_contiguous()) {
        for t in &mut tensors {
            t.layout = crate::Layout::contiguous(t.layout.dtype, [t.layout.elements(), 1, 1, 1]);
        }
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::{Run, Runs};

    #[test]
    fn runs_cover_each_element_once() {
        for ne in [[1, 1, 1, 1], [7, 3, 2, 2], [16, 2, 1, 1], [0, 3, 1, 1]] {
            for block in [1, 4, 7, 100] {
                let runs = Runs::new(ne, block);
                let mut seen = Vec::new();
                for Run { at, n } in runs.range(0..runs.count()) {
                    assert!(n >= 1 && n <= block);
                    seen.extend((0..n).map(|i| [at[3], at[2], at[1], at[0] + i]));
                }
                assert_eq!(seen.len(), ne.iter().product::<usize>());
                assert!(seen.is_sorted_by(|a, b| a < b));
            }
        }
    }
}
