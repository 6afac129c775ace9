//! Two things measured in turn: what drifts, drifts for both, and falls out of the ratio of a pair.

use super::Interval;
use std::fmt;

/// Fewer pairs than this have no verdict but a tie: the range of five samples misses their true median one time in
/// sixteen, which is worse than the interval promises.
pub const MIN_PAIRS: usize = 6;

/// The median of `b / a` over pairs, with its interval; `None` if a pair holds what is no positive time, or there is
/// none. Computed on logarithms, so that the ratio of `a` to `b` is the exact reciprocal.
pub fn paired_ratio(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Interval> {
    let logs: Vec<f64> = pairs.into_iter().map(|(a, b)| b.ln() - a.ln()).collect();
    if logs.iter().any(|l| !l.is_finite()) {
        return None;
    }
    Interval::of(&logs).map(|i| i.map(f64::exp))
}

/// What may be said of B against A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// B takes less time.
    Faster {
        /// A's time over B's, above 1.
        by: f64,
    },
    /// B takes more time.
    Slower {
        /// B's time over A's, above 1.
        by: f64,
    },
    /// The interval does not tell, or the difference is too small to matter.
    Tie,
}

impl Verdict {
    /// The verdict on a ratio B over A: something other than a tie only if the whole interval lies on one side of 1 and
    /// the median is further from it than `noise` (0.01 is one per cent).
    pub fn of(ratio: &Interval, noise: f64) -> Verdict {
        let matters = ratio.median.ln().abs() > noise.ln_1p();
        match () {
            () if ratio.n < MIN_PAIRS || !matters => Verdict::Tie,
            () if ratio.hi < 1.0 => Verdict::Faster { by: 1.0 / ratio.median },
            () if ratio.lo > 1.0 => Verdict::Slower { by: ratio.median },
            () => Verdict::Tie,
        }
    }

    /// B is faster.
    pub fn is_faster(&self) -> bool {
        matches!(self, Verdict::Faster { .. })
    }

    /// B is slower.
    pub fn is_slower(&self) -> bool {
        matches!(self, Verdict::Slower { .. })
    }
}

/// `1.92x faster`, `1.10x slower`, `tie`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Faster { by } => write!(f, "{by:.2}x faster"),
            Verdict::Slower { by } => write!(f, "{by:.2}x slower"),
            Verdict::Tie => f.write_str("tie"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdict(pairs: &[(f64, f64)], noise: f64) -> Verdict {
        Verdict::of(&paired_ratio(pairs.iter().copied()).unwrap(), noise)
    }

    #[test]
    fn faster_only_when_the_interval_says_so() {
        let halved: Vec<(f64, f64)> = (1..20).map(|i| (f64::from(i), f64::from(i) / 2.0)).collect();
        assert_eq!(verdict(&halved, 0.01), Verdict::Faster { by: 2.0 });
        assert_eq!(verdict(&halved[..5], 0.01), Verdict::Tie, "five pairs are too few");
        let mixed: Vec<(f64, f64)> = (0..20).map(|i| (10.0, if i % 2 == 0 { 5.0 } else { 12.0 })).collect();
        assert_eq!(verdict(&mixed, 0.01), Verdict::Tie, "the interval spans 1");
        let little: Vec<(f64, f64)> = (0..20).map(|_| (1000.0, 995.0)).collect();
        assert_eq!(verdict(&little, 0.01), Verdict::Tie, "half a per cent is below the noise");
        assert!(verdict(&little, 0.001).is_faster());
    }

    #[test]
    fn drift_falls_out_of_pairs() {
        // The clock halves half-way; B is always 10 % slower.
        let pairs: Vec<(f64, f64)> = (0..20).map(|i| if i < 10 { (100.0, 110.0) } else { (200.0, 220.0) }).collect();
        match verdict(&pairs, 0.01) {
            Verdict::Slower { by } => assert!((by - 1.1).abs() < 1e-9),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_no_time_gives_no_ratio() {
        assert_eq!(paired_ratio([]), None);
        assert_eq!(paired_ratio([(0.0, 1.0)]), None);
        assert_eq!(paired_ratio([(1.0, f64::NAN)]), None);
        assert_eq!(paired_ratio([(-1.0, 1.0)]), None);
    }

    proptest! {
        #[test]
        fn changing_sides_changes_the_sign(pairs in proptest::collection::vec((0.1f64..10.0, 0.1f64..10.0), 1..60)) {
            let forth = verdict(&pairs, 0.02);
            let back = verdict(&pairs.iter().map(|&(a, b)| (b, a)).collect::<Vec<_>>(), 0.02);
            match (forth, back) {
                (Verdict::Tie, Verdict::Tie) => {}
                (Verdict::Faster { by: x }, Verdict::Slower { by: y }) | (Verdict::Slower { by: x }, Verdict::Faster { by: y }) => {
                    prop_assert!((x / y - 1.0).abs() < 1e-9 && x > 1.0);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
