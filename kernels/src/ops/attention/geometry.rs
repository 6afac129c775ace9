//! How the work is cut: by sequence, KV head, tile of tokens and range of cells. It depends on the instance and the
//! tunables alone, never on the number of threads, and so do the results.

use super::{K, Q};
use crate::{Instance, Tunables};

/// Cuts until there are so many tasks: several for each worker, so that ranges without cells and short tiles even out.
const TASKS: usize = 128;

/// The cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Elements of a head.
    pub head: usize,
    /// Query heads.
    pub heads: usize,
    /// Query heads that share a KV head.
    pub group: usize,
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Sequences.
    pub seqs: usize,
    /// Tokens of a tile.
    pub tile: usize,
    /// Tiles of a sequence.
    pub tiles: usize,
    /// Cells of a range.
    pub range: usize,
    /// Ranges of the cells.
    pub ranges: usize,
}

/// A piece of work: some tokens of a sequence against some cells of a KV head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub seq: usize,
    pub kv_head: usize,
    /// First token.
    pub token: usize,
    /// Tokens.
    pub tokens: usize,
    /// Which range of cells.
    pub range: usize,
}

impl Geometry {
    /// Cuts with the tunables `step` and `tile`.
    pub fn of(inst: &Instance, tunables: &Tunables) -> Geometry {
        let (step, tile) = (tunables.get(0), tunables.get(1));
        let [head, heads, tokens, seqs] = inst.inputs[Q].ne;
        let [_, cells, kv_heads, _] = inst.inputs[K].ne;
        let tile = tile.min(tokens).max(1);
        let tiles = tokens.div_ceil(tile);
        let wanted = (TASKS / (seqs * kv_heads * tiles).max(1)).max(1);
        let range = cells.div_ceil(wanted).next_multiple_of(step);
        let ranges = cells.div_ceil(range).max(1);
        Geometry { head, heads, group: heads / kv_heads, tokens, seqs, tile, tiles, range, ranges }
    }

    /// Number of pieces.
    pub fn pieces(&self) -> usize {
        self.seqs * self.tiles * (self.heads / self.group) * self.ranges
    }

    /// Piece number `i`: later tiles, which see more cells, have higher numbers.
    pub fn piece(&self, i: usize) -> Piece {
        let (range, i) = (i % self.ranges, i / self.ranges);
        let kv_heads = self.heads / self.group;
        let (kv_head, i) = (i % kv_heads, i / kv_heads);
        let (seq, tile) = (i % self.seqs, i / self.seqs);
        let token = tile * self.tile;
        Piece { seq, kv_head, token, tokens: self.tile.min(self.tokens - token), range }
    }

    /// Query rows of all tokens.
    pub fn rows(&self) -> usize {
        self.heads * self.tokens * self.seqs
    }

    /// Number of a query row: head fastest, as in q and the result.
    pub fn row(&self, head: usize, token: usize, seq: usize) -> usize {
        head + self.heads * (token + self.tokens * seq)
    }

    /// F32 of a partial result: maximum and sum in the first cache line, then the values.
    pub fn partial(&self) -> usize {
        16 + self.head.next_multiple_of(16)
    }
}

/// The piece that worker `ith` takes in its turn `n`: there and back again, as pieces grow with their number.
pub(super) fn turn(n: usize, ith: usize, nth: usize) -> usize {
    n * nth + if n.is_multiple_of(2) { ith } else { nth - 1 - ith }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Op, Params};
    use std::collections::HashSet;

    fn geometry(q: [usize; 4], kv: [usize; 4]) -> Geometry {
        let inst = Instance {
            op: Op::Attention,
            params: Params::None,
            inputs: vec![Layout::f32(q), Layout::f32(kv)],
            outputs: Vec::new(),
        };
        Geometry::of(&inst, &Tunables::defaults(super::super::flash::TUNABLES))
    }

    #[test]
    fn every_token_head_and_range_is_in_one_piece() {
        for (q, kv) in [([256, 16, 1, 1], [256, 4096, 2, 1]), ([64, 6, 37, 3], [64, 100, 3, 3])] {
            let g = geometry(q, kv);
            let mut seen = HashSet::new();
            for i in 0..g.pieces() {
                let p = g.piece(i);
                for t in p.token..p.token + p.tokens {
                    assert!(seen.insert((p.seq, p.kv_head, t, p.range)));
                }
            }
            assert_eq!(seen.len(), q[3] * kv[2] * q[2] * g.ranges);
            assert!(g.range * g.ranges >= kv[1] && g.range * (g.ranges - 1) < kv[1]);
        }
    }

    #[test]
    fn turns_deal_each_piece_once() {
        for nth in 1..6 {
            let all: HashSet<usize> = (0..7).flat_map(|n| (0..nth).map(move |i| turn(n, i, nth))).collect();
            assert_eq!(all.len(), 7 * nth);
            assert_eq!(all.iter().max(), Some(&(7 * nth - 1)));
        }
    }
}
