//! Tokens a second, and what recording them costs.

use super::interval::median;
use super::snapshot::Speed;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Runs that the rate is over.
const WINDOW: usize = 64;
/// One point of the history each so long.
const POINT: Duration = Duration::from_millis(500);
/// Points of the history.
const POINTS: usize = 120;
/// One run of so many is not recorded, and tells what recording costs its neighbours.
const UNRECORDED_EVERY: u64 = 8;

/// The rates of one phase.
pub struct Meter {
    tokens_per_run: usize,
    seconds: VecDeque<f64>,
    history: VecDeque<f32>,
    point_started: Instant,
    point_tokens: usize,
    point_seconds: f64,
    runs: u64,
    /// The last recorded run's time, for the pair with an unrecorded one.
    last_recorded: Option<f64>,
    cost: VecDeque<f64>,
}

impl Meter {
    /// For runs of so many tokens.
    pub fn new(tokens_per_run: usize) -> Meter {
        Meter {
            tokens_per_run,
            seconds: VecDeque::new(),
            history: VecDeque::new(),
            point_started: Instant::now(),
            point_tokens: 0,
            point_seconds: 0.0,
            runs: 0,
            last_recorded: None,
            cost: VecDeque::new(),
        }
    }

    /// Whether the next run is to be recorded.
    pub fn records_next(&self) -> bool {
        self.runs % UNRECORDED_EVERY != UNRECORDED_EVERY - 1
    }

    /// Adds a run.
    pub fn push(&mut self, seconds: f64, recorded: bool) {
        self.runs += 1;
        keep(&mut self.seconds, seconds, WINDOW);
        match (recorded, self.last_recorded) {
            (true, _) => self.last_recorded = Some(seconds),
            (false, Some(with)) => keep(&mut self.cost, with / seconds - 1.0, WINDOW),
            (false, None) => {}
        }
        self.point_tokens += self.tokens_per_run;
        self.point_seconds += seconds;
        if self.point_started.elapsed() >= POINT {
            keep(&mut self.history, (self.point_tokens as f64 / self.point_seconds) as f32, POINTS);
            (self.point_tokens, self.point_seconds) = (0, 0.0);
            self.point_started = Instant::now();
        }
    }

    /// Forgets the runs, which were of another plan; the history stays.
    pub fn changed(&mut self) {
        self.seconds.clear();
        self.last_recorded = None;
    }

    /// Runs since the plan changed, of those kept.
    pub fn runs_kept(&self) -> usize {
        self.seconds.len()
    }

    /// For the screen.
    pub fn speed(&self) -> Speed {
        let n = self.seconds.len() as f64;
        let tokens = self.tokens_per_run as f64;
        let mean = self.seconds.iter().sum::<f64>() / n;
        let variance = self.seconds.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let rate = if self.seconds.is_empty() { 0.0 } else { tokens / mean };
        let relative = if self.seconds.len() > 1 { 1.96 * variance.sqrt() / n.sqrt() / mean } else { 0.0 };
        let cost: Vec<f64> = self.cost.iter().copied().collect();
        Speed {
            tokens_per_s: rate,
            plus_minus: rate * relative,
            history: self.history.iter().copied().collect(),
            limit_share: None,
            recording_cost: if cost.len() < 8 { None } else { median(&cost) },
        }
    }
}

fn keep<T>(of: &mut VecDeque<T>, value: T, most: usize) {
    if of.len() == most {
        of.pop_front();
    }
    of.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_recording_cost_of_known_times() {
        let mut meter = Meter::new(2);
        for _ in 0..128 {
            let recorded = meter.records_next();
            meter.push(if recorded { 0.0102 } else { 0.0100 }, recorded);
        }
        let speed = meter.speed();
        assert!((speed.tokens_per_s - 2.0 / 0.010_175).abs() < 0.1, "{speed:?}");
        assert!((speed.recording_cost.unwrap() - 0.02).abs() < 1e-9);
        meter.changed();
        assert_eq!(meter.speed().tokens_per_s, 0.0);
    }
}
