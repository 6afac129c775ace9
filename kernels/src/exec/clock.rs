//! A clock that can be read a million times a token without being seen in the token's time.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A reading of the clock. Differences are turned into time by [`Clock::micros`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

/// Converts ticks to time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    ticks_per_us: f64,
}

impl Clock {
    /// The clock of this machine, measured once against the system's.
    pub fn get() -> Clock {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        *CLOCK.get_or_init(|| {
            let (t0, c0) = (Instant::now(), Clock::now());
            while t0.elapsed() < Duration::from_millis(10) {
                std::hint::spin_loop();
            }
            let (t1, c1) = (Instant::now(), Clock::now());
            Clock { ticks_per_us: (c1.0 - c0.0) as f64 / (t1 - t0).as_secs_f64() / 1e6 }
        })
    }

    /// Now. On x86-64 the time stamp counter, which every processor of the last decade runs at a constant rate and in
    /// step on all cores; elsewhere the monotonic clock in nanoseconds.
    #[inline(always)]
    pub fn now() -> Ticks {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: `rdtsc` has no precondition in user mode on the systems that we run on.
            Ticks(unsafe { core::arch::x86_64::_rdtsc() })
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            static ORIGIN: OnceLock<Instant> = OnceLock::new();
            Ticks(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64)
        }
    }

    /// So many microseconds after the clock's zero: for times that were measured by another clock.
    pub fn ticks(&self, micros: f64) -> Ticks {
        Ticks((micros * self.ticks_per_us) as u64)
    }

    /// Microseconds from `a` to `b`; 0 if the counters of two cores disagree about the order.
    pub fn micros(&self, a: Ticks, b: Ticks) -> f64 {
        b.0.saturating_sub(a.0) as f64 / self.ticks_per_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_system_clock() {
        let clock = Clock::get();
        let (t, c) = (Instant::now(), Clock::now());
        std::thread::sleep(Duration::from_millis(30));
        let (us, want) = (clock.micros(c, Clock::now()), t.elapsed().as_secs_f64() * 1e6);
        assert!((us / want - 1.0).abs() < 0.05, "{us} against {want}");
        assert!((clock.micros(clock.ticks(3.0), clock.ticks(1003.5)) - 1000.5).abs() < 0.01);
    }
}
