//! Steps in rounds: what may run side by side, between two points at which everything before must be done.

use super::Step;
use std::ops::Range;

/// One phase of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index of the step.
    pub step: usize,
    /// Which of its phases.
    pub phase: usize,
    /// Each worker does it for itself, into its own memory, before what follows in the round.
    pub own: bool,
}

/// The parts of all steps in order, and where each round begins.
#[derive(Debug, Default)]
pub struct Rounds {
    parts: Vec<Part>,
    starts: Vec<usize>,
}

impl Rounds {
    pub(super) fn of(steps: &[Step]) -> Rounds {
        let mut rounds = Rounds::default();
        for (step, s) in steps.iter().enumerate() {
            for phase in 0..s.phases {
                if rounds.parts.is_empty() || phase > 0 || s.barrier {
                    rounds.starts.push(rounds.parts.len());
                }
                if s.redundant {
                    rounds.parts.push(Part { step, phase, own: true });
                }
                if s.published {
                    rounds.parts.push(Part { step, phase, own: false });
                }
            }
        }
        rounds
    }

    /// Number of rounds.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// A plan without steps.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The rounds that run `steps`, each with the parts that belong to these steps.
    pub fn within(&self, steps: Range<usize>) -> impl Iterator<Item = &[Part]> {
        let from = self.parts.partition_point(|p| p.step < steps.start);
        let to = self.parts.partition_point(|p| p.step < steps.end).max(from);
        let first = self.starts.partition_point(|&s| s <= from).saturating_sub(1);
        let ends = self.starts[(first + 1).min(self.starts.len())..].iter().copied().chain([self.parts.len()]);
        self.starts[first.min(self.starts.len())..]
            .iter()
            .zip(ends)
            .map(move |(&start, end)| &self.parts[start.clamp(from, to)..end.clamp(from, to)])
            .filter(|parts| !parts.is_empty())
    }
}
