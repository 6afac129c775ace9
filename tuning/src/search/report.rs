//! What a search tells while it runs, and what it found.

use super::space::Candidate;
use crate::ab;
use crate::journal::Shape;
use crate::machine::machine;
use crate::stats::{Interval, Verdict};
use deltascope_model::Engine;
use deltascope_profiles::{Choice, Profile};

/// What happens, for whoever shows it.
#[derive(Clone, Debug)]
pub enum Event {
    /// The search begins.
    Started {
        /// Shapes of the op.
        shapes: usize,
        /// Candidates, the baseline among them.
        candidates: usize,
    },
    /// A candidate is about to be held against the reference.
    Checking {
        /// Who.
        candidate: Candidate,
    },
    /// A candidate is not measured on a shape.
    Refused {
        /// Who.
        candidate: Candidate,
        /// Why.
        reason: String,
    },
    /// A candidate left the race on a shape.
    Dropped {
        /// Who.
        candidate: Candidate,
        /// Why.
        reason: String,
    },
    /// A run is over: the finest grain of progress, and of stopping.
    Run,
    /// A round is over.
    Round {
        /// From 1.
        round: usize,
        /// Of at most.
        of: usize,
        /// Candidates that are left somewhere.
        live: usize,
        /// The fastest candidate so far, with its time over the baseline's.
        leader: Option<(Candidate, Interval)>,
    },
    /// The baseline moved; the measurement between is thrown away.
    Drifted {
        /// Time after over time before.
        by: f64,
    },
    /// Whole runs are compared.
    Confirming {
        /// Pairs so far.
        pairs: usize,
    },
}

/// What became of a candidate on a shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is what was in force.
    Baseline,
    /// It may not be measured: not legal here, or wrong. Why.
    Refused(String),
    /// It left the race. Why.
    Dropped(String),
    /// The search ended before its turn.
    NotMeasured,
    /// The search ended after too few rounds for a verdict.
    Undecided,
    /// It is the choice for the shape.
    Won,
    /// It cannot be told from the choice for the shape.
    Tied,
    /// Measured to the end and not chosen; what may be said of it against the baseline.
    Behind(Verdict),
}

/// A candidate on a shape, with its times.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The shape.
    pub shape: Shape,
    /// Nodes of it.
    pub nodes: usize,
    /// Who.
    pub candidate: Candidate,
    /// Time of a node, microseconds; `None`: not measured, or (the baseline's) not in this process.
    pub us: Option<Interval>,
    /// Its time over the baseline's around it.
    pub ratio: Option<Interval>,
    /// What became of it.
    pub fate: Fate,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Every candidate on every shape, shapes in the plan's order.
    pub standings: Vec<Standing>,
    /// Rows for a profile: winners, and defaults that others tied with (`tied_with` names them).
    pub choices: Vec<Choice>,
    /// How many of them change something.
    pub changes: usize,
    /// Whole runs with the rows against whole runs without.
    pub confirmation: Option<ab::Report>,
    /// The rows may be used: nothing changes, or whole runs are not slower by their interval.
    pub accepted: bool,
    /// It was stopped or out of time before the rounds were over.
    pub stopped: bool,
}

impl Found {
    /// A profile of the rows for this machine and the engine's model; without rows if they were not accepted.
    pub fn profile(&self, engine: &Engine) -> Profile {
        let choices = if self.accepted { self.choices.clone() } else { Vec::new() };
        let mut p =
            Profile { machine: Some(machine()), model: Some(engine.model().id()), choices, ..Profile::default() };
        p.engine.deltascope = Some(env!("CARGO_PKG_VERSION").to_owned());
        p
    }
}
