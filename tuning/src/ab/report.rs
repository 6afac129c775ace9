//! What a comparison found.

use crate::stats::{Interval, Verdict, median};
use deltascope_kernels::Op;

/// What a comparison of A and B found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The whole run: a token, or a ubatch.
    pub run: Compared,
    /// The nodes that the two serve differently, together; `None` if both have the same plan.
    pub changed: Option<Compared>,
    /// How many those are.
    pub nodes: usize,
    /// Their ops.
    pub ops: Vec<Op>,
    /// How far B's logits are from A's.
    pub divergence: Divergence,
}

/// Times of the two sides. Microseconds a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// A's.
    pub a: Interval,
    /// B's.
    pub b: Interval,
    /// B's over A's, pair by pair.
    pub ratio: Interval,
    /// What may be said of B.
    pub verdict: Verdict,
}

impl Compared {
    pub(super) fn of(a: &[f64], b: &[f64], ratio: Option<Interval>, noise: f64) -> Option<Compared> {
        let ratio = ratio?;
        let verdict = Verdict::of(&ratio, noise);
        Some(Compared { a: Interval::of(a)?, b: Interval::of(b)?, ratio, verdict })
    }
}

/// Logits of B against those of A, over the pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// Median Kullback-Leibler divergence, nats.
    pub median_kl: f64,
    /// The largest.
    pub max_kl: f64,
    /// Share of the pairs in which the likeliest token is the same, 0 to 1.
    pub same_argmax: f64,
}

impl Divergence {
    pub(super) fn of(kl: &[f64], same_argmax: usize) -> Option<Divergence> {
        Some(Divergence {
            median_kl: median(kl)?,
            max_kl: kl.iter().copied().fold(0.0, f64::max),
            same_argmax: same_argmax as f64 / kl.len() as f64,
        })
    }
}
