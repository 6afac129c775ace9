//! What a session can be told.

use deltascope_kernels::{Backend, DType, Op};
use deltascope_model::choice::rule_backend;
use deltascope_model::profiling::{Group, NodeInfo, PlanInfo};
use deltascope_profiles::{Phase, Rule};

/// An order to the engine's thread. None waits for an answer: what came of it is in the next snapshots.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Forget the text and go on with this one.
    Prompt(String),
    /// Pause or go on.
    Pause(bool),
    /// Which phase runs and is shown, and how its table is grouped.
    Show(Phase, Group),
    /// Compute the scope with another variant, or the same with other tunables.
    Swap(Scope, Candidate),
    /// Take back the last change.
    Undo,
    /// What is measured now is what later measurements are compared with.
    PinBaseline,
    /// Compare the candidate (or, without one, what the last swap replaced) with what is in force, in turn.
    Compare(Scope, Option<Candidate>),
    /// End a comparison early; what it found stays.
    CancelComparison,
    /// Run every variant of the scope once on live inputs and compare it with the reference.
    CheckAll(Scope),
    /// Time the scope, or every row of ops, on the backend where it does not run.
    TimeElsewhere(Option<Scope>),
    /// End that early; what was measured stays.
    CancelTiming,
    /// Run the scope on the other backend from the next token on.
    Move(Scope),
    /// Workers of the shown phase.
    Threads(usize),
    /// End the session.
    Quit,
}

/// A variant with tunables that differ from its defaults; `threads` among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The variant's name.
    pub variant: String,
    /// Values by name.
    pub tunables: Vec<(String, i64)>,
}

/// The nodes that a change is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The op.
    pub op: Op,
    /// Only nodes whose weight has this type.
    pub dtype: Option<DType>,
    /// Only this node.
    pub node: Option<String>,
    /// Only in this phase.
    pub phase: Phase,
}

impl Scope {
    /// The rule of a profile that says the same for a backend, whichever of its devices.
    ///
    /// # Errors
    /// If the node's name is no pattern.
    pub fn rule(&self, backend: Backend) -> Result<Rule, deltascope_profiles::PatternError> {
        let backend = rule_backend(backend);
        let mut rule = Rule { phase: Some(self.phase), backend, ..Rule::new(self.op.name()) };
        rule.set_types(self.dtype.map(|t| t.name()));
        rule.node = self.node.as_deref().map(str::parse).transpose()?;
        Ok(rule)
    }

    /// Where its nodes run in a plan: the first one, if they are on both sides.
    pub fn backend(&self, info: &PlanInfo) -> Backend {
        info.nodes.iter().find(|n| self.holds(n)).map_or(info.backend, |n| n.backend)
    }

    /// Whether a node is in it.
    pub fn holds(&self, node: &NodeInfo) -> bool {
        node.op == self.op
            && (self.dtype.is_none() || node.dtype == self.dtype)
            && self.node.as_ref().is_none_or(|name| *name == node.name)
    }

    /// The row that shows it, and the grouping in which that row stands.
    pub fn row(&self) -> (Group, String) {
        match &self.node {
            Some(name) => (Group::Node, name.clone()),
            None => (Group::Op, self.dtype.map_or_else(|| self.op.name().to_owned(), |t| format!("{} {t}", self.op))),
        }
    }
}
