//! Whether the machine is still the one that it was: an anchor measured again and again.

use super::median;

/// What a new measurement of the anchor says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drift {
    /// Too few measurements to compare with.
    Settling,
    /// Within the limit.
    Steady,
    /// Outside of it.
    Drifted {
        /// Time now over the time at the start.
        by: f64,
    },
}

/// One thing measured again and again, to see the machine change: clocks, heat, another program.
#[derive(Clone, Debug)]
pub struct Anchor {
    first: Vec<f64>,
    limit: f64,
}

/// Measurements that the reference is the median of.
const SETTLE: usize = 3;

impl Anchor {
    /// An anchor that may move by `limit` (0.1 is ten per cent) either way.
    pub fn new(limit: f64) -> Anchor {
        Anchor { first: Vec::with_capacity(SETTLE), limit }
    }

    /// Takes a measurement, in microseconds.
    pub fn push(&mut self, us: f64) -> Drift {
        if self.first.len() < SETTLE {
            self.first.push(us);
            return Drift::Settling;
        }
        let by = us / self.reference().unwrap_or(us);
        if apart(by, self.limit) { Drift::Drifted { by } } else { Drift::Steady }
    }

    /// What measurements are compared with, microseconds.
    pub fn reference(&self) -> Option<f64> {
        median(&self.first)
    }

    /// Whether two measurements that enclose others are too far apart for those to be trusted.
    pub fn moved(&self, before: f64, after: f64) -> bool {
        apart(after / before, self.limit)
    }
}

/// Symmetric: twice is as far as half. What is no number is far.
fn apart(ratio: f64, limit: f64) -> bool {
    let distance = ratio.ln().abs();
    distance.is_nan() || distance > limit.ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_seen_and_noise_is_not() {
        let mut a = Anchor::new(0.1);
        assert_eq!([100.0, 300.0, 101.0].map(|x| a.push(x)), [Drift::Settling; 3]);
        assert_eq!(a.reference(), Some(101.0));
        assert_eq!(a.push(105.0), Drift::Steady);
        assert_eq!(a.push(202.0), Drift::Drifted { by: 2.0 });
        assert_eq!(a.push(50.5), Drift::Drifted { by: 0.5 });
        assert_eq!(a.push(99.0), Drift::Steady);
    }

    #[test]
    fn brackets() {
        let a = Anchor::new(0.1);
        assert!(!a.moved(100.0, 109.0) && !a.moved(109.0, 100.0));
        assert!(a.moved(100.0, 112.0) && a.moved(112.0, 100.0) && a.moved(0.0, 0.0));
    }
}
