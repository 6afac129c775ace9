//! One run's record, put together from what its legs noted.

use super::record::Track;
use super::{KernelTime, Kernels, PlanInfo, RunRecord, StepCost, Timing};
use deltascope_kernels::exec::{Clock, Recorder, StepTime, Ticks};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A record in the making.
pub(crate) struct Recording {
    info: Arc<PlanInfo>,
    steps: Vec<StepCost>,
    span_us: f64,
    last_wait_us: f64,
    timing: Timing,
    kernels: Option<Kernels>,
    /// Workers by number; the GPU's comes after all of them.
    tracks: BTreeMap<usize, Track>,
}

/// Number of the GPU's track.
const GPU: usize = usize::MAX;

impl Recording {
    /// Of a run of this plan.
    pub fn new(info: &Arc<PlanInfo>) -> Recording {
        let steps = vec![StepCost::default(); info.step_nodes.len()];
        Recording {
            info: Arc::clone(info),
            steps,
            span_us: 0.0,
            last_wait_us: 0.0,
            timing: Timing::Workers,
            kernels: None,
            tracks: BTreeMap::new(),
        }
    }

    /// What workers `0 .. threads` did in a leg that they have just run.
    pub fn by_workers(&mut self, r: &mut Recorder, threads: usize, leg: Range<usize>) {
        let clock = Clock::get();
        // On a machine with other programs a worker may come too late, and the others do its work.
        let present: Vec<usize> = (0..threads).filter(|&ith| r.took_part(ith)).collect();
        let each = 1.0 / present.len().max(1) as f64;
        for &ith in &present {
            let (begin, finish) = r.span(ith);
            let times = &r.steps(ith)[leg.clone()];
            for (cost, t) in self.steps[leg.clone()].iter_mut().zip(times) {
                cost.wait += (clock.micros(t.arrive, t.start) * each) as f32;
                cost.work += (clock.micros(t.start, t.end) * each) as f32;
            }
            self.span_us += clock.micros(begin, finish) * each;
            self.last_wait_us += times.last().map_or(0.0, |t| clock.micros(t.end, finish) * each);
            self.track(ith, begin)[leg.clone()].copy_from_slice(times);
        }
    }

    /// What a GPU did in a leg that was launched at `begin`, from the microseconds between the events around each step:
    /// they follow one another.
    pub fn by_gpu(&mut self, micros: &[f64], begin: Ticks, leg: Range<usize>) {
        let clock = Clock::get();
        let mut at = 0.0;
        let after = |us: f64| Ticks(begin.0 + clock.ticks(us).0);
        for (step, &us) in leg.zip(micros) {
            let start = after(at);
            at += us;
            self.steps[step] = StepCost { work: us as f32, wait: 0.0 };
            self.track(GPU, begin)[step] = StepTime { arrive: start, start, end: after(at) };
        }
        self.span_us += at;
        if !self.info.is_mixed() {
            self.timing = Timing::Events;
        }
    }

    /// What a GPU's kernels took in a run that was launched at `begin`.
    pub fn by_kernels(&mut self, kernels: Vec<KernelTime>, begin: Ticks) {
        let clock = Clock::get();
        let after = |us: f64| Ticks(begin.0 + clock.ticks(us).0);
        for KernelTime { step, span, .. } in &kernels {
            self.steps[*step].work += span.own as f32;
            let (start, end) = (after(span.start), after(span.start + span.duration));
            let time = &mut self.track(GPU, begin)[*step];
            // A step of several kernels: from the first one's start to the last one's end.
            let first = if *time == StepTime::default() { start } else { time.start };
            *time = StepTime { arrive: first, start: first, end: time.end.max(end) };
            self.span_us += span.own + span.gap;
        }
        self.timing = Timing::Cupti;
        self.kernels = Some(Kernels(kernels));
    }

    fn track(&mut self, number: usize, begin: Ticks) -> &mut [StepTime] {
        let n = self.steps.len();
        let track = self.tracks.entry(number).or_insert_with(|| {
            let name = if number == GPU { "GPU".to_owned() } else { format!("worker {number}") };
            Track { name, begin, steps: vec![StepTime::default(); n] }
        });
        &mut track.steps
    }

    /// The record of the run, which took so long from outside.
    pub fn finish(self, wall: Duration) -> RunRecord {
        RunRecord {
            info: self.info,
            steps: self.steps,
            wall_us: wall.as_secs_f64() * 1e6,
            span_us: self.span_us,
            last_wait_us: self.last_wait_us,
            timing: self.timing,
            kernels: self.kernels,
            tracks: self.tracks.into_values().collect(),
        }
    }
}
