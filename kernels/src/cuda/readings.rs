//! What a GPU says of its clocks, power and temperature: one reading, and what many come to.

use std::fmt;

/// A reading. What the device does not tell is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Clock of the multiprocessors, MHz.
    pub sm_mhz: Option<u32>,
    /// The highest that it can have.
    pub sm_max_mhz: Option<u32>,
    /// Clock of the memory, MHz.
    pub memory_mhz: Option<u32>,
    /// Power drawn.
    pub milliwatts: Option<u32>,
    /// Power that it may draw.
    pub limit_milliwatts: Option<u32>,
    /// Temperature of the chip.
    pub celsius: Option<u32>,
    /// What holds its clocks down.
    pub throttle: Option<Throttle>,
}

/// Reasons for which clocks are held down, as NVML's bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle(pub u64);

impl Throttle {
    /// Bits and their names. That it idles (1) is no throttling.
    const NAMES: [(u64, &'static str); 8] = [
        (0x2, "clocks set lower"),
        (0x4, "power cap"),
        (0x8, "hardware slowdown"),
        (0x10, "sync boost"),
        (0x20, "heat"),
        (0x40, "heat (hardware)"),
        (0x80, "power brake"),
        (0x100, "display clocks"),
    ];

    /// Names of the reasons; empty if nothing holds clocks down.
    pub fn reasons(self) -> Vec<&'static str> {
        Throttle::NAMES.iter().filter(|(bit, _)| self.0 & bit != 0).map(|&(_, name)| name).collect()
    }
}

impl fmt::Display for Readings {
    /// `1980 MHz of 1980, memory 3201 MHz, 412 W of 700, 46 °C, throttled: power cap`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Summary::of(self).fmt(f)
    }
}

/// Many readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub readings: usize,
    /// Lowest and highest clock of the multiprocessors, MHz.
    pub sm_mhz: Option<(u32, u32)>,
    /// The highest that it can have.
    pub sm_max_mhz: Option<u32>,
    /// Lowest and highest clock of the memory, MHz.
    pub memory_mhz: Option<(u32, u32)>,
    /// Least and most power drawn.
    pub milliwatts: Option<(u32, u32)>,
    /// Power that it may draw.
    pub limit_milliwatts: Option<u32>,
    /// Lowest and highest temperature.
    pub celsius: Option<(u32, u32)>,
    /// All that held clocks down.
    pub throttle: Option<Throttle>,
}

impl Summary {
    fn of(r: &Readings) -> Summary {
        let one = |v: Option<u32>| v.map(|v| (v, v));
        Summary {
            readings: 1,
            sm_mhz: one(r.sm_mhz),
            sm_max_mhz: r.sm_max_mhz,
            memory_mhz: one(r.memory_mhz),
            milliwatts: one(r.milliwatts),
            limit_milliwatts: r.limit_milliwatts,
            celsius: one(r.celsius),
            throttle: r.throttle,
        }
    }

    /// Adds a reading.
    pub fn add(&mut self, r: &Readings) {
        let more = Summary::of(r);
        let span = |a: Option<(u32, u32)>, b: Option<(u32, u32)>| match (a, b) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        *self = Summary {
            readings: self.readings + 1,
            sm_mhz: span(self.sm_mhz, more.sm_mhz),
            sm_max_mhz: more.sm_max_mhz.or(self.sm_max_mhz),
            memory_mhz: span(self.memory_mhz, more.memory_mhz),
            milliwatts: span(self.milliwatts, more.milliwatts),
            limit_milliwatts: more.limit_milliwatts.or(self.limit_milliwatts),
            celsius: span(self.celsius, more.celsius),
            throttle: match (self.throttle, more.throttle) {
                (Some(a), Some(b)) => Some(Throttle(a.0 | b.0)),
                (a, b) => a.or(b),
            },
        };
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |(low, high): (u32, u32)| if low == high { low.to_string() } else { format!("{low} to {high}") };
        let limit = |most: Option<u32>| most.map_or_else(String::new, |m| format!(" of {m}"));
        let watts = |mw: u32| (mw + 500) / 1000;
        let mut parts = Vec::new();
        parts.extend(self.sm_mhz.map(|s| format!("{} MHz{}", span(s), limit(self.sm_max_mhz))));
        parts.extend(self.memory_mhz.map(|m| format!("memory {} MHz", span(m))));
        let power = self.milliwatts.map(|(low, high)| (watts(low), watts(high)));
        parts.extend(power.map(|p| format!("{} W{}", span(p), limit(self.limit_milliwatts.map(watts)))));
        parts.extend(self.celsius.map(|c| format!("{} °C", span(c))));
        let throttled = self.throttle.map(Throttle::reasons);
        parts.extend(throttled.map(|r| match &r[..] {
            [] => "not throttled".to_owned(),
            reasons => format!("throttled: {}", reasons.join(", ")),
        }));
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(sm: u32, milliwatts: u32, throttle: u64) -> Readings {
        Readings {
            sm_mhz: Some(sm),
            sm_max_mhz: Some(1980),
            memory_mhz: Some(3201),
            milliwatts: Some(milliwatts),
            limit_milliwatts: Some(700_000),
            celsius: Some(46),
            throttle: Some(Throttle(throttle)),
        }
    }

    #[test]
    fn a_reading_in_words() {
        let text = reading(1980, 411_600, 1).to_string();
        assert_eq!(text, "1980 MHz of 1980, memory 3201 MHz, 412 W of 700, 46 °C, not throttled");
        let unknown = Readings { celsius: Some(51), ..Readings::default() };
        assert_eq!(unknown.to_string(), "51 °C");
        assert_eq!(Throttle(0x4 | 0x40 | 0x1).reasons(), ["power cap", "heat (hardware)"]);
    }

    #[test]
    fn many_readings_are_their_extremes_and_all_their_reasons() {
        let mut all = Summary::default();
        for r in [reading(1980, 300_000, 1), reading(1755, 698_900, 4), reading(1830, 500_000, 0)] {
            all.add(&r);
        }
        all.add(&Readings::default());
        assert_eq!(all.readings, 4);
        let text = all.to_string();
        assert_eq!(text, "1755 to 1980 MHz of 1980, memory 3201 MHz, 300 to 699 W of 700, 46 °C, throttled: power cap");
    }
}
