//! One run.

use super::PlanInfo;
use deltascope_kernels::exec::{Clock, Recorder, StepTime, Ticks};
use std::sync::Arc;
use std::time::Duration;

/// What a step cost, as the mean over the workers that took part in the run, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepCost {
    /// Doing its part.
    pub work: f32,
    /// Waiting at the barrier before it.
    pub wait: f32,
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
    /// Every worker's steps, and when each entered: for traces.
    pub tracks: Vec<(Ticks, Vec<StepTime>)>,
}

impl RunRecord {
    pub(crate) fn read(r: &mut Recorder, info: &Arc<PlanInfo>, threads: usize, wall: Duration) -> RunRecord {
        let clock = Clock::get();
        let n = info.step_nodes.len();
        let mut steps = vec![StepCost::default(); n];
        let (mut span, mut last_wait) = (0.0, 0.0);
        let mut tracks = Vec::with_capacity(threads);
        // On a machine with other programs a worker may come too late, and the others do its work.
        let present: Vec<usize> = (0..threads).filter(|&ith| r.took_part(ith)).collect();
        for &ith in &present {
            let (begin, finish) = r.span(ith);
            let times = &r.steps(ith)[..n];
            for (cost, t) in steps.iter_mut().zip(times) {
                cost.wait += clock.micros(t.arrive, t.start) as f32;
                cost.work += clock.micros(t.start, t.end) as f32;
            }
            span += clock.micros(begin, finish);
            last_wait += times.last().map_or(0.0, |t| clock.micros(t.end, finish));
            tracks.push((begin, times.to_vec()));
        }
        let each = 1.0 / present.len().max(1) as f32;
        for cost in &mut steps {
            cost.wait *= each;
            cost.work *= each;
        }
        RunRecord {
            info: Arc::clone(info),
            steps,
            wall_us: wall.as_secs_f64() * 1e6,
            span_us: span * f64::from(each),
            last_wait_us: last_wait * f64::from(each),
            tracks,
        }
    }

    /// A run on a GPU, from the time between the events around each step: one track, whose steps follow one another.
    pub(crate) fn attributed(info: &Arc<PlanInfo>, micros: &[f64], wall: Duration) -> RunRecord {
        let clock = Clock::get();
        let mut at = 0.0;
        let track = micros.iter().map(|&us| {
            let start = clock.ticks(at);
            at += us;
            StepTime { arrive: start, start, end: clock.ticks(at) }
        });
        let tracks = vec![(Ticks(0), track.collect())];
        RunRecord {
            info: Arc::clone(info),
            steps: micros.iter().map(|&us| StepCost { work: us as f32, wait: 0.0 }).collect(),
            wall_us: wall.as_secs_f64() * 1e6,
            span_us: at,
            last_wait_us: 0.0,
            tracks,
        }
    }

    /// Wall time less what the steps and the last barrier account for.
    pub fn residual_us(&self) -> f64 {
        let steps: f64 = self.steps.iter().map(|s| f64::from(s.work + s.wait)).sum();
        self.wall_us - steps - self.last_wait_us
    }

    /// Work and wait of a node, its parts included.
    pub fn node(&self, index: usize) -> StepCost {
        self.steps[self.info.nodes[index].steps.clone()]
            .iter()
            .fold(StepCost::default(), |a, s| StepCost { work: a.work + s.work, wait: a.wait + s.wait })
    }
}
