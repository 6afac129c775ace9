//! The median of a sample, and how well it is known.

/// A median with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The sample's median.
    pub median: f64,
    /// 2.5 % point of the bootstrap distribution of the median.
    pub lo: f64,
    /// 97.5 % point.
    pub hi: f64,
    /// Samples that went in.
    pub n: usize,
}

impl Interval {
    /// The interval of a sample's median; `None` for an empty sample or one that holds a NaN.
    ///
    /// This is the bootstrap's percentile interval without the simulation. A resample's median is no more than the
    /// k-th smallest sample exactly when enough of its `n` draws, each with chance `k/n`, fall on the `k` smallest: a
    /// binomial tail (Maritz and Jarrett, 1978; Efron, 1979). So there is no seed, and no noise of resampling.
    pub fn of(samples: &[f64]) -> Option<Interval> {
        let sorted = sorted(samples)?;
        let n = sorted.len();
        // An even sample's median lies between two ranks: each end of the interval takes the rank that makes it wider.
        let (low_rank, high_rank) = (n.div_ceil(2), n / 2 + 1);
        let tails = Tails::new(n);
        let lo = sorted[tails.rank_reaching(low_rank, 0.025) - 1];
        let hi = sorted[tails.rank_reaching(high_rank, 0.975) - 1];
        Some(Interval { median: middle(&sorted), lo, hi, n })
    }

    /// Half of the interval's width over the median: what narrows as samples come in. Infinite around a median of 0.
    pub fn relative_half_width(&self) -> f64 {
        if self.median == 0.0 { f64::INFINITY } else { (self.hi - self.lo) / 2.0 / self.median.abs() }
    }

    /// The interval of a monotonic function of the quantity.
    pub(super) fn map(self, f: impl Fn(f64) -> f64) -> Interval {
        Interval { median: f(self.median), lo: f(self.lo), hi: f(self.hi), n: self.n }
    }
}

/// The median; `None` for an empty sample or one that holds a NaN.
pub fn median(samples: &[f64]) -> Option<f64> {
    sorted(samples).map(|s| middle(&s))
}

/// The `q`-quantile, 0 to 1, between ranks linearly; `None` as for [`median`].
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    let s = sorted(samples)?;
    let at = q.clamp(0.0, 1.0) * (s.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = s[(below + 1).min(s.len() - 1)];
    Some(if part == 0.0 { s[below] } else { s[below] + (above - s[below]) * part })
}

/// Median absolute deviation from the median: half of the samples lie no further from it. `None` as for [`median`].
pub fn mad(samples: &[f64]) -> Option<f64> {
    let m = median(samples)?;
    median(&samples.iter().map(|x| (x - m).abs()).collect::<Vec<_>>())
}

fn sorted(samples: &[f64]) -> Option<Vec<f64>> {
    if samples.is_empty() || samples.iter().any(|x| x.is_nan()) {
        return None;
    }
    let mut s = samples.to_vec();
    s.sort_unstable_by(f64::total_cmp);
    Some(s)
}

fn middle(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    let (a, b) = (sorted[(n - 1) / 2], sorted[n / 2]);
    if a == b { a } else { a + (b - a) / 2.0 }
}

/// Binomial tails over `n` draws.
struct Tails {
    /// ln C(n, j).
    ln_choose: Vec<f64>,
}

impl Tails {
    fn new(n: usize) -> Tails {
        let mut ln_choose = vec![0.0; n + 1];
        for j in 1..=n {
            ln_choose[j] = ln_choose[j - 1] + ((n - j + 1) as f64 / j as f64).ln();
        }
        Tails { ln_choose }
    }

    /// The chance of at least `m` hits in `n` draws of chance `k/n`.
    fn at_least(&self, m: usize, k: usize) -> f64 {
        let n = self.ln_choose.len() - 1;
        if k >= n {
            return 1.0;
        }
        let p = k as f64 / n as f64;
        let (hit, miss) = (p.ln(), (-p).ln_1p());
        (m..=n).map(|j| (self.ln_choose[j] + j as f64 * hit + (n - j) as f64 * miss).exp()).sum()
    }

    /// The smallest rank, from 1, that the `m`-th smallest of a resample reaches with this chance.
    fn rank_reaching(&self, m: usize, chance: f64) -> usize {
        let (mut low, mut high) = (1, self.ln_choose.len() - 1);
        while low < high {
            let k = (low + high) / 2;
            if self.at_least(m, k) >= chance { high = k } else { low = k + 1 }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!((median(&[]), median(&[f64::NAN, 1.0])), (None, None));
        assert_eq!(mad(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), Some(1.0));
        assert_eq!(quantile(&[10.0, 20.0, 30.0, 40.0, 50.0], 0.9), Some(46.0));
        assert_eq!((quantile(&[7.0], 0.3), quantile(&[1.0, 2.0], 1.0)), (Some(7.0), Some(2.0)));
        let one = Interval::of(&[5.0]).unwrap();
        assert_eq!((one.median, one.lo, one.hi, one.n), (5.0, 5.0, 5.0, 1));
    }

    /// Bin(5, 1/5) ≥ 3 is 0.0579, above 2.5 %: five samples' interval is their range.
    #[test]
    fn tails_by_hand() {
        let t = Tails::new(5);
        assert!((t.at_least(3, 1) - 0.05792).abs() < 1e-9);
        assert!((t.at_least(1, 1) - (1.0 - 0.8f64.powi(5))).abs() < 1e-12);
        assert!((t.at_least(0, 2) - 1.0).abs() < 1e-12);
        let i = Interval::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!((i.lo, i.hi), (1.0, 5.0));
    }

    /// A linear congruential generator (Knuth's MMIX constants), for numbers in 0 … 1.
    fn uniform(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*seed >> 11) as f64 / (1u64 << 53) as f64
    }

    #[test]
    fn it_is_what_resampling_tends_to() {
        let mut seed = 1;
        let samples: Vec<f64> = (0..41).map(|_| uniform(&mut seed)).collect();
        let exact = Interval::of(&samples).unwrap();
        let resampled: Vec<f64> = (0..20_000)
            .map(|_| median(&(0..41).map(|_| samples[(uniform(&mut seed) * 41.0) as usize]).collect::<Vec<_>>()))
            .map(Option::unwrap)
            .collect();
        // Quantiles of a simulation are good to about a rank.
        let sorted = sorted(&samples).unwrap();
        let rank = |x: f64| sorted.iter().position(|&s| s == x).unwrap() as i64;
        let near = |q, x| (rank(quantile(&resampled, q).unwrap()) - rank(x)).abs() <= 1;
        assert!(near(0.025, exact.lo) && near(0.975, exact.hi), "{exact:?}");
    }

    #[test]
    fn nineteen_in_twenty_intervals_hold_the_true_median() {
        let mut seed = 7;
        let holds = (0..1000)
            .filter(|_| {
                let i = Interval::of(&(0..30).map(|_| uniform(&mut seed).powi(3)).collect::<Vec<_>>()).unwrap();
                i.lo <= 0.125 && 0.125 <= i.hi
            })
            .count();
        assert!((930..=985).contains(&holds), "{holds} of 1000");
    }

    #[test]
    fn one_wild_sample_moves_nothing() {
        let mut samples: Vec<f64> = (0..40).map(|i| 100.0 + f64::from(i) * 0.01).collect();
        let before = Interval::of(&samples).unwrap();
        samples[39] = 1e9;
        assert_eq!(Interval::of(&samples), Some(before));
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_median_and_lies_in_the_sample(x in proptest::collection::vec(-1e6f64..1e6, 1..200)) {
            let i = Interval::of(&x).unwrap();
            let (min, max) = (quantile(&x, 0.0).unwrap(), quantile(&x, 1.0).unwrap());
            prop_assert!(min <= i.lo && i.lo <= i.median && i.median <= i.hi && i.hi <= max);
        }

        #[test]
        fn order_changes_nothing_and_scale_scales(mut x in proptest::collection::vec(0.1f64..1e3, 1..100)) {
            let i = Interval::of(&x).unwrap();
            x.reverse();
            prop_assert_eq!(Interval::of(&x), Some(i));
            let doubled: Vec<f64> = x.iter().map(|v| v * 2.0).collect();
            prop_assert_eq!(Interval::of(&doubled), Some(i.map(|v| v * 2.0)));
        }

        #[test]
        fn quantiles_rise(x in proptest::collection::vec(-1e3f64..1e3, 1..60), a in 0.0f64..1.0, b in 0.0f64..1.0) {
            prop_assert!(quantile(&x, a.min(b)) <= quantile(&x, a.max(b)));
            prop_assert!(mad(&x).unwrap() >= 0.0);
        }
    }
}
