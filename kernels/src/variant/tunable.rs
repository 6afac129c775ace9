//! Named numbers that a variant lets its user choose, and what every kernel can be told.

/// A named number with the values worth trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunable {
    /// As profiles and the workbench write it.
    pub name: &'static str,
    /// One line: what it changes.
    pub doc: &'static str,
    /// Used where nothing else is said.
    pub default: i64,
    /// The range, rising: the workbench steps through it and the tuner tries it.
    pub values: &'static [i64],
}

/// Values for a variant's tunables, in the order of its spec, and what every kernel can be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tunables {
    values: Vec<i64>,
    /// At most this many workers; `None` leaves it to the run.
    pub threads: Option<usize>,
    /// Whether every worker does all of it for itself where the planner can have it so ([`crate::Kernel::redundant`]);
    /// `None` leaves it to the kernel.
    pub redundant: Option<bool>,
}

/// A tunable that the variant lacks, or a value outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunableError {
    /// No such name.
    #[error("no tunable `{name}`; there is {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Not among the values that the variant was made for.
    #[error("`{name}` = {value} is not one of {allowed:?}")]
    Range {
        /// The tunable.
        name: String,
        /// What was asked for.
        value: i64,
        /// What there is.
        allowed: Vec<i64>,
    },
}

impl Tunables {
    /// The defaults of a variant.
    pub fn defaults(spec: &[Tunable]) -> Tunables {
        Tunables { values: spec.iter().map(|t| t.default).collect(), threads: None, redundant: None }
    }

    /// Value number `i` of the spec.
    #[inline]
    pub fn get(&self, i: usize) -> usize {
        self.values[i] as usize
    }

    /// All values, in the order of the spec.
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// Sets a value by name; `threads` and `redundant` (0 or 1) are known to every kernel.
    ///
    /// # Errors
    /// If the name is unknown or the value outside the range.
    pub fn set(&mut self, spec: &[Tunable], name: &str, value: i64) -> Result<(), TunableError> {
        if name == "threads" {
            let allowed = 1..=1024;
            if !allowed.contains(&value) {
                return Err(TunableError::Range { name: name.into(), value, allowed: vec![1, 1024] });
            }
            self.threads = Some(value as usize);
            return Ok(());
        }
        if name == "redundant" {
            if !(0..=1).contains(&value) {
                return Err(TunableError::Range { name: name.into(), value, allowed: vec![0, 1] });
            }
            self.redundant = Some(value == 1);
            return Ok(());
        }
        let Some(i) = spec.iter().position(|t| t.name == name) else {
            let known = spec.iter().map(|t| t.name).chain(["threads", "redundant"]).collect::<Vec<_>>().join(", ");
            return Err(TunableError::Unknown { name: name.into(), known });
        };
        if !spec[i].values.contains(&value) {
            return Err(TunableError::Range { name: name.into(), value, allowed: spec[i].values.to_vec() });
        }
        self.values[i] = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &[Tunable] = &[Tunable { name: "block", doc: "elements a task", default: 1024, values: &[256, 1024] }];

    #[test]
    fn only_declared_values_are_taken() {
        let mut t = Tunables::defaults(SPEC);
        assert_eq!(t.get(0), 1024);
        t.set(SPEC, "block", 256).unwrap();
        assert_eq!(t.get(0), 256);
        assert!(matches!(t.set(SPEC, "block", 7), Err(TunableError::Range { .. })));
        assert!(matches!(t.set(SPEC, "blok", 256), Err(TunableError::Unknown { .. })));
        t.set(SPEC, "threads", 2).unwrap();
        assert_eq!(t.threads, Some(2));
        t.set(SPEC, "redundant", 0).unwrap();
        assert_eq!(t.redundant, Some(false));
        assert!(matches!(t.set(SPEC, "redundant", 2), Err(TunableError::Range { .. })));
    }
}
