//! What each kernel of a run took, where kernels may start while the one before still runs.
//!
//! At any moment the run is charged to the oldest kernel that is not done: a kernel has the time from its start, or from
//! the end of all before it if that is later, to its own end. What it does earlier hides behind the others and is its
//! *overlap*; the time in which none runs before it starts is its *gap*. So own times and gaps sum to the time from the
//! first start to the last end, and nothing counts twice.

use super::{CuptiError, KernelRecord};

/// A kernel of a run, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KernelSpan {
    /// Start, from the run's first start on.
    pub start: f64,
    /// From its start to its end.
    pub duration: f64,
    /// Of its duration, what no kernel before it is charged with.
    pub own: f64,
    /// No kernel ran before it started.
    pub gap: f64,
    /// Of its duration, while kernels before it still ran.
    pub overlap: f64,
}

/// Holds what was seen against the kernels launched, in order, and charges the time.
///
/// # Errors
/// If other kernels were seen than launched, or in another order, or without times.
pub fn attribute(mut seen: Vec<KernelRecord>, launched: &[&str]) -> Result<Vec<KernelSpan>, CuptiError> {
    if seen.len() != launched.len() {
        return Err(CuptiError::Count { seen: seen.len(), launched: launched.len() });
    }
    if let Some(r) = seen.iter().find(|r| r.start == 0 || r.end < r.start) {
        return Err(CuptiError::NoTime(r.name.clone()));
    }
    // A kernel lets the next one start when it has begun itself, so starts are in the order of launches.
    seen.sort_by_key(|r| (r.start, r.end));
    for (at, (r, &name)) in seen.iter().zip(launched).enumerate() {
        if r.name != name {
            return Err(CuptiError::Order { at, seen: r.name.clone(), launched: name.to_owned() });
        }
    }
    let Some(origin) = seen.first().map(|r| r.start) else { return Ok(Vec::new()) };
    let us = |ns: u64| ns as f64 * 1e-3;
    let mut done = origin;
    let charge = |r: KernelRecord| {
        let span = KernelSpan {
            start: us(r.start - origin),
            duration: us(r.end - r.start),
            own: us(r.end.saturating_sub(r.start.max(done))),
            gap: us(r.start.saturating_sub(done)),
            overlap: us(r.end.min(done).saturating_sub(r.start)),
        };
        done = done.max(r.end);
        span
    };
    Ok(seen.into_iter().map(charge).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, start: u64, end: u64) -> KernelRecord {
        KernelRecord { name: name.to_owned(), start, end }
    }

    fn span(start: f64, duration: f64, own: f64, gap: f64, overlap: f64) -> KernelSpan {
        KernelSpan { start, duration, own, gap, overlap }
    }

    #[test]
    fn gaps_and_early_starts_are_told_apart_and_sum_to_the_run() {
        // One after another with a gap, then one that starts early, one that is over before its predecessor, one at once.
        let seen = vec![
            record("c", 6_000, 9_000),
            record("a", 1_000, 3_000),
            record("b", 4_000, 8_000),
            record("d", 7_000, 8_500),
            record("e", 9_000, 9_500),
        ];
        let spans = attribute(seen, &["a", "b", "c", "d", "e"]).unwrap();
        let expected = [
            span(0.0, 2.0, 2.0, 0.0, 0.0),
            span(3.0, 4.0, 4.0, 1.0, 0.0),
            span(5.0, 3.0, 1.0, 0.0, 2.0),
            span(6.0, 1.5, 0.0, 0.0, 1.5),
            span(8.0, 0.5, 0.5, 0.0, 0.0),
        ];
        for (at, (s, e)) in spans.iter().zip(&expected).enumerate() {
            let pairs = [(s.start, e.start), (s.duration, e.duration), (s.own, e.own), (s.gap, e.gap)];
            assert!(pairs.iter().all(|(x, y)| (x - y).abs() < 1e-9), "{at}: {s:?}, not {e:?}");
            assert!(
                (s.overlap - e.overlap).abs() < 1e-9 && (s.own + s.overlap - s.duration).abs() < 1e-9,
                "{at}: {s:?}"
            );
        }
        let sum: f64 = spans.iter().map(|s| s.own + s.gap).sum();
        assert!((sum - 8.5).abs() < 1e-9, "first start to last end is 8.5 µs, not {sum}");
    }

    #[test]
    fn another_run_than_the_one_launched_is_refused() {
        let seen = || vec![record("a", 10, 20), record("b", 20, 30)];
        assert_eq!(attribute(seen(), &["a"]), Err(CuptiError::Count { seen: 2, launched: 1 }));
        let order = CuptiError::Order { at: 0, seen: "a".into(), launched: "b".into() };
        assert_eq!(attribute(seen(), &["b", "a"]), Err(order));
        assert_eq!(attribute(vec![record("a", 0, 0)], &["a"]), Err(CuptiError::NoTime("a".into())));
        assert_eq!(attribute(vec![record("a", 9, 8)], &["a"]), Err(CuptiError::NoTime("a".into())));
        assert_eq!(attribute(Vec::new(), &[]), Ok(Vec::new()));
    }
}
