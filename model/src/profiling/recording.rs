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
    at_once_us: f64,
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
            at_once_us: 0.0,
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

    /// So much of what was noted twice, of workers and of a GPU, was one time.
    pub fn at_once(&mut self, micros: f64) {
        self.at_once_us += micros;
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
            at_once_us: self.at_once_us,
            tracks: self.tracks.into_values().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiling::{Group, Stats, Timeline};
    use crate::{Engine, Model, Options};
    use deltascope_kernels::cuda::KernelSpan;
    use deltascope_profiles::{Phase, Stack};

    /// Kernels that start 3 µs before the one before is done, but for the first of a step, 1 µs behind it.
    fn kernels(longer: f64) -> Vec<KernelTime> {
        let (mut at, mut all) = (0.0, Vec::new());
        for (i, (step, name)) in [(0, "one"), (1, "first"), (1, "second"), (2, "last")].into_iter().enumerate() {
            let (gap, overlap) = if i == 0 { (0.0, 0.0) } else { [(1.0, 0.0), (0.0, 3.0)][i % 2] };
            let own = 10.0 + i as f64 + longer;
            at += gap;
            let span = KernelSpan { start: at - overlap, duration: own + overlap, own, gap, overlap };
            at += own;
            all.push(KernelTime { step, name, span });
        }
        all
    }

    #[test]
    fn steps_have_their_kernels_own_time_and_gaps_are_in_no_step_nor_in_the_residual() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/deltascope-demo-q4_k_m.gguf");
        let options = Options { threads_decode: 1, n_ctx: 256, ..Options::default() };
        let mut engine = Engine::new(Arc::new(Model::open(file).unwrap()), Stack::new(), options).unwrap();
        let info = engine.plan_info(Phase::Decode).unwrap();
        let (mut stats, mut timeline) = (Stats::new(8), Timeline::default());
        for longer in [0.0, 2.0, 100.0] {
            let mut recording = Recording::new(&info);
            recording.by_kernels(kernels(longer), Ticks(1000));
            let record = recording.finish(Duration::from_micros(1000));
            let work: Vec<f32> = record.steps.iter().map(|s| s.work).take(4).collect();
            let l = longer as f32;
            assert_eq!(work, [10.0 + l, 23.0 + 2.0 * l, 13.0 + l, 0.0]);
            assert_eq!(record.timing, Timing::Cupti);
            let own = 46.0 + 4.0 * longer;
            assert!((record.span_us - own - 1.0).abs() < 1e-9, "{}", record.span_us);
            assert!((record.residual_us() - (1000.0 - own - 1.0)).abs() < 1e-3, "{}", record.residual_us());
            stats.push(&record);
            timeline.push(&record);
        }
        let table = stats.table(Group::Node);
        let idle = table.idle.unwrap();
        assert_eq!((idle.kernels, idle.gaps, idle.gap_us, idle.overlaps, idle.overlap_us), (4.0, 1.0, 1.0, 2.0, 6.0));
        assert_eq!((table.timing, table.runs), (Timing::Cupti, 3));
        let rows = timeline.rows();
        assert_eq!(rows.iter().map(|r| r.kernel).collect::<Vec<_>>(), ["one", "first", "second", "last"]);
        assert_eq!(rows.iter().map(|r| r.span.own).collect::<Vec<_>>(), [12.0, 13.0, 14.0, 15.0]);
        assert_eq!(rows[1].node, info.nodes[info.step_nodes[1]].name);
        // Times by events are other times: the two are not put together.
        let mut by_events = Recording::new(&info);
        by_events.by_gpu(&[1.0, 2.0], Ticks(0), 0..2);
        stats.push(&by_events.finish(Duration::from_micros(10)));
        let table = stats.table(Group::Node);
        assert_eq!((table.timing, table.runs, table.idle), (Timing::Events, 1, None));
    }
}
