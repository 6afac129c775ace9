//! One run.

use super::{Kernels, PlanInfo};
use deltascope_kernels::exec::{StepTime, Ticks};
use std::sync::Arc;

/// What a step cost, as the mean over the workers that took part in the run, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCost {
    /// Doing its part.
    pub work: f32,
    /// Waiting at the barrier before it.
    pub wait: f32,
}

/// How a run's steps were timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// By the workers, with the processor's clock; in a mixed plan those, and events.
    #[default]
    Workers,
    /// On a GPU, from the event before a step to the one after it: with the gap between them, and held apart.
    Events,
    /// On a GPU, each kernel from its start to its end as CUPTI saw it, in a run that nothing was put into.
    Cupti,
}

/// What one run did.
pub struct RunRecord {
    /// The plan.
    pub info: Arc<PlanInfo>,
    /// By step.
    pub steps: Vec<StepCost>,
    /// The run from outside, microseconds.
    pub wall_us: f64,
    /// Mean time that a worker was inside it: the steps' sum and the last barrier.
    pub span_us: f64,
    /// Waiting for the last worker at the end.
    pub last_wait_us: f64,
    /// How that was measured.
    pub timing: Timing,
    /// Every kernel, where CUPTI saw them.
    pub kernels: Option<Kernels>,
    /// Time of the GPU's steps that ran while workers ran theirs: contained in both.
    pub at_once_us: f64,
    /// Every worker's steps, and a GPU's: for traces.
    pub tracks: Vec<Track>,
}

/// Who did which steps when.
#[derive(Clone, Debug)]
pub struct Track {
    /// `worker 1`, `GPU`.
    pub name: String,
    /// When it began.
    pub begin: Ticks,
    /// By step; all zeros where the step was not its own.
    pub steps: Vec<StepTime>,
}

impl RunRecord {
    /// Wall time less what the steps, the gaps between kernels and the last barrier account for.
    pub fn residual_us(&self) -> f64 {
        let steps: f64 = self.steps.iter().map(|s| f64::from(s.work + s.wait)).sum();
        let gaps = self.kernels.as_ref().map_or(0.0, Kernels::gap_us);
        self.wall_us - (steps - self.at_once_us) - gaps - self.last_wait_us
    }

    /// Work and wait of a node, its parts included.
    pub fn node(&self, index: usize) -> StepCost {
        self.steps[self.info.nodes[index].steps.clone()]
            .iter()
            .fold(StepCost::default(), |a, s| StepCost { work: a.work + s.work, wait: a.wait + s.wait })
    }
}
