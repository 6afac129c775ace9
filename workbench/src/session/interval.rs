//! Medians with intervals, for what the screen calls faster, slower or a tie.

/// A median and the 95 % interval around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub lo: f64,
    /// Upper end of the interval.
    pub hi: f64,
    /// Samples that it is from.
    pub n: usize,
}

/// What an interval of relative change says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Less time, and the interval excludes none.
    Faster,
    /// More time, and the interval excludes none.
    Slower,
    /// The interval includes no change.
    Tie,
}

/// Resamples of a bootstrap: the ends of a 95 % interval are then its 10th lowest and highest values.
const RESAMPLES: usize = 400;

/// Median with a bootstrap interval; `None` below 5 samples, where an interval means nothing.
pub fn bootstrap(samples: &[f64]) -> Option<Interval> {
    if samples.len() < 5 {
        return None;
    }
    let mut draw = Draw::new();
    let mut medians: Vec<f64> = (0..RESAMPLES).map(|_| draw.median_of_resample(samples)).collect();
    Some(ends(median(samples)?, &mut medians, samples.len()))
}

/// Relative change of the median from `old` to `new` (−0.2: a fifth less), by bootstrap of both.
pub fn relative_change(old: &[f64], new: &[f64]) -> Option<Interval> {
    if old.len() < 5 || new.len() < 5 {
        return None;
    }
    let mut draw = Draw::new();
    let mut changes: Vec<f64> =
        (0..RESAMPLES).map(|_| draw.median_of_resample(new) / draw.median_of_resample(old) - 1.0).collect();
    let middle = median(new)? / median(old)? - 1.0;
    Some(ends(middle, &mut changes, old.len().min(new.len())))
}

/// An interval of the median that costs no resampling: the notch of a box plot, 1.57 IQR / √n. For tables.
pub fn notch(samples: &[f32]) -> Option<Interval> {
    if samples.len() < 5 {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = |q: f64| f64::from(sorted[((sorted.len() - 1) as f64 * q).round() as usize]);
    let (median, half) = (at(0.5), 1.57 * (at(0.75) - at(0.25)) / (sorted.len() as f64).sqrt());
    Some(Interval { median, lo: median - half, hi: median + half, n: sorted.len() })
}

impl Interval {
    /// What it says as a relative change of time.
    pub fn verdict(&self) -> Verdict {
        if self.hi < 0.0 {
            Verdict::Faster
        } else if self.lo > 0.0 {
            Verdict::Slower
        } else {
            Verdict::Tie
        }
    }

    /// Whether two intervals have a value in common: then their medians are not told apart.
    pub fn overlaps(&self, other: &Interval) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }
}

/// The median; `None` of nothing.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    (!sorted.is_empty()).then(|| middle(&mut sorted))
}

fn middle(values: &mut [f64]) -> f64 {
    let at = values.len() / 2;
    let (below, &mut upper, _) = values.select_nth_unstable_by(at, f64::total_cmp);
    let below = below.iter().copied().max_by(f64::total_cmp);
    if values.len() % 2 == 1 { upper } else { below.map_or(upper, |b| (b + upper) / 2.0) }
}

fn ends(middle: f64, resampled: &mut [f64], n: usize) -> Interval {
    resampled.sort_by(f64::total_cmp);
    let at = |q: f64| resampled[((resampled.len() - 1) as f64 * q).round() as usize];
    Interval { median: middle, lo: at(0.025).min(middle), hi: at(0.975).max(middle), n }
}

/// Draws with replacement from a fixed seed: the same samples give the same interval.
struct Draw {
    state: u64,
    drawn: Vec<f64>,
}

impl Draw {
    fn new() -> Draw {
        Draw { state: 0x9E37_79B9_7F4A_7C15, drawn: Vec::new() }
    }

    fn median_of_resample(&mut self, samples: &[f64]) -> f64 {
        let mut drawn = std::mem::take(&mut self.drawn);
        drawn.clear();
        for _ in 0..samples.len() {
            // xorshift64*
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            let high = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
            drawn.push(samples[(high as usize * samples.len()) >> 32]);
        }
        let median = middle(&mut drawn);
        self.drawn = drawn;
        median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_clear_change_is_told_from_noise() {
        let noisy = |base: f64| (0..40).map(|i| base + f64::from(i * 7 % 11)).collect::<Vec<_>>();
        let change = relative_change(&noisy(100.0), &noisy(50.0)).unwrap();
        assert_eq!(change.verdict(), Verdict::Faster);
        assert!(change.lo <= change.median && change.median <= change.hi && (change.median + 0.476).abs() < 0.01);
        assert_eq!(relative_change(&noisy(100.0), &noisy(100.0)).unwrap().verdict(), Verdict::Tie);
        assert_eq!(relative_change(&noisy(50.0), &noisy(100.0)).unwrap().verdict(), Verdict::Slower);
    }

    #[test]
    fn few_samples_have_no_interval() {
        assert_eq!(bootstrap(&[1.0; 4]), None);
        assert_eq!(notch(&[1.0; 4]), None);
        assert_eq!(bootstrap(&[1.0; 5]), Some(Interval { median: 1.0, lo: 1.0, hi: 1.0, n: 5 }));
    }
}
