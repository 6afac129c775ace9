//! A candidate's series in a cell, when it leaves the race, and who won.

use crate::stats::{Interval, MIN_PAIRS, Verdict, paired_ratio};

/// Times of one candidate in one cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    /// Times of a node, microseconds.
    pub samples_us: Vec<f64>,
    /// By round: its median over the baseline's around it.
    pub ratios: Vec<f64>,
    /// Why it is measured no more.
    pub out: Option<Out>,
}

/// Why a candidate is not measured, or no more.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Out {
    /// It is what the others are measured against.
    Baseline,
    /// It is not legal here, or wrong.
    Refused(String),
    /// It is clearly slower than the leader.
    Dropped(String),
    /// The search ended before the gate was through with it.
    Unchecked,
}

impl Series {
    pub fn live(&self) -> bool {
        self.out.is_none()
    }

    /// Its time over the baseline's.
    pub fn ratio(&self) -> Option<Interval> {
        paired_ratio(self.ratios.iter().map(|&r| (1.0, r)))
    }

    /// Enough rounds for a verdict; below, not even a tie may be claimed.
    pub fn decided(&self) -> bool {
        self.ratios.len() >= MIN_PAIRS
    }

    fn best(&self) -> f64 {
        self.ratios.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Its time over another's of the same rounds.
    fn against(&self, other: &Series) -> Option<Interval> {
        paired_ratio(other.ratios.iter().copied().zip(self.ratios.iter().copied()))
    }
}

/// One round that is so much worse than the leader's is no noise.
const HOPELESS: f64 = 1.5;

/// Rounds before intervals decide.
const SOME: usize = 4;

/// Takes those out of the race that are clearly slower than the leader (the baseline counts, at 1). Returns their
/// indices and why.
pub(super) fn eliminate(series: &mut [Series]) -> Vec<(usize, String)> {
    let lead = series.iter().filter(|s| s.live()).map(Series::best).fold(1.0, f64::min);
    let tightest = series
        .iter()
        .filter(|s| s.live() && s.ratios.len() >= SOME)
        .filter_map(Series::ratio)
        .map(|i| i.hi)
        .fold(1.0, f64::min);
    let mut dropped = Vec::new();
    for (i, s) in series.iter_mut().enumerate().filter(|(_, s)| s.live() && !s.ratios.is_empty()) {
        let slow = match s.ratio() {
            _ if s.best() > HOPELESS * lead => Some(s.best() / lead),
            Some(r) if s.ratios.len() >= SOME && r.lo > tightest => Some(r.median / tightest),
            _ => None,
        };
        if let Some(by) = slow {
            let reason = format!("{by:.2}x slower than the leader after {} rounds", s.ratios.len());
            s.out = Some(Out::Dropped(reason.clone()));
            dropped.push((i, reason));
        }
    }
    dropped
}

/// What a cell's race came to, as indices of candidates.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Faster than the baseline by its interval, and as fast as the fastest.
    Won { winner: usize, tied: Vec<usize> },
    /// None is; those in the list could not be told from the baseline.
    Kept { tied: Vec<usize> },
}

/// Of those that cannot be told from the fastest, the first wins: candidates come in order of preference, defaults
/// first, so that a tie is not decided by noise.
pub(super) fn decide(series: &[Series], noise: f64) -> Outcome {
    let verdict = |s: &Series| s.ratio().map(|r| Verdict::of(&r, noise));
    let live: Vec<usize> = (0..series.len()).filter(|&i| series[i].live() && series[i].decided()).collect();
    let median = |i: usize| series[i].ratio().map_or(f64::INFINITY, |r| r.median);
    let leader = live
        .iter()
        .copied()
        .filter(|&i| verdict(&series[i]).is_some_and(|v| v.is_faster()))
        .min_by(|&a, &b| median(a).total_cmp(&median(b)));
    let Some(leader) = leader else {
        let tied = live.into_iter().filter(|&i| verdict(&series[i]) == Some(Verdict::Tie)).collect();
        return Outcome::Kept { tied };
    };
    let equal = |&i: &usize| {
        i == leader || series[i].against(&series[leader]).is_some_and(|r| Verdict::of(&r, noise) == Verdict::Tie)
    };
    let equals: Vec<usize> = live.into_iter().filter(equal).collect();
    let faster = |&i: &usize| verdict(&series[i]).is_some_and(|v| v.is_faster());
    let winner = equals.iter().copied().find(faster).unwrap_or(leader);
    Outcome::Won { winner, tied: equals.into_iter().filter(|&i| i != winner).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(ratio: f64, n: usize) -> Series {
        let ratios = (0..n).map(|i| ratio * (1.0 + 0.004 * ((i * 7 % 5) as f64 - 2.0))).collect();
        Series { ratios, ..Series::default() }
    }

    #[test]
    fn a_clear_winner_wins() {
        let s = [around(0.9, 8), around(0.5, 8), around(1.2, 8)];
        assert_eq!(decide(&s, 0.02), Outcome::Won { winner: 1, tied: vec![] });
    }

    #[test]
    fn among_equals_the_first_wins_and_the_others_are_named() {
        let s = [around(0.505, 8), around(0.5, 8), around(0.8, 8)];
        assert_eq!(decide(&s, 0.02), Outcome::Won { winner: 0, tied: vec![1] });
    }

    #[test]
    fn a_tie_keeps_the_default() {
        let s = [around(0.995, 8), around(1.3, 8)];
        assert_eq!(decide(&s, 0.02), Outcome::Kept { tied: vec![0] });
        assert_eq!(decide(&[around(0.5, 3)], 0.02), Outcome::Kept { tied: vec![] }, "three rounds tell nothing");
        assert_eq!(decide(&[], 0.02), Outcome::Kept { tied: vec![] });
    }

    #[test]
    fn the_hopeless_go_at_once_and_the_slower_when_intervals_say_so() {
        let mut s = [around(1.0, 1), around(1.4, 1), around(2.0, 1)];
        let gone = |s: &mut [Series]| eliminate(s).into_iter().map(|(i, _)| i).collect::<Vec<_>>();
        assert_eq!(gone(&mut s), [2]);
        let mut s = [around(0.9, 4), around(1.1, 4), around(0.901, 4)];
        assert_eq!(gone(&mut s), [1]);
        assert!(matches!(&s[1].out, Some(Out::Dropped(why)) if why.contains("slower")));
        assert_eq!(gone(&mut s), [0usize; 0], "nobody leaves twice");
    }
}
