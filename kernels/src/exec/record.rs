//! What each worker did when: start and end of each of its steps.

use super::{Clock, Ticks};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// One worker's part of one step, in ticks: `arrive ≤ start ≤ end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTime {
    /// It had finished what came before and began to wait.
    pub arrive: Ticks,
    /// It had passed the barrier, if there was one, and began.
    pub start: Ticks,
    /// It had done its part.
    pub end: Ticks,
}

/// Room for one run's records: a track a worker, an entry a step. Written by the workers without locks or allocation.
pub struct Recorder {
    tracks: Vec<UnsafeCell<TrackData>>,
    /// Number of the run that is recorded, or was last.
    run: AtomicU64,
}

#[repr(align(128))]
struct TrackData {
    begin: Ticks,
    finish: Ticks,
    /// The run that the track tells of: workers that come too late for a run leave theirs as it was.
    run: u64,
    steps: Vec<StepTime>,
}

// SAFETY: `run` hands track `ith` to worker `ith` alone, and reading takes `&mut` or happens after the run.
unsafe impl Sync for Recorder {}

/// One worker's pen.
pub(super) struct Track<'a> {
    data: &'a mut TrackData,
    arrive: Ticks,
    start: Ticks,
}

impl Recorder {
    /// For so many workers and steps.
    pub fn new(threads: usize, steps: usize) -> Recorder {
        let track = || TrackData { begin: Ticks(0), finish: Ticks(0), run: 0, steps: vec![StepTime::default(); steps] };
        Recorder { tracks: (0..threads).map(|_| UnsafeCell::new(track())).collect(), run: AtomicU64::new(0) }
    }

    /// Whether a run of this size fits.
    pub fn fits(&mut self, threads: usize, steps: usize) -> bool {
        self.tracks.len() >= threads && self.tracks.iter_mut().all(|t| t.get_mut().steps.len() >= steps)
    }

    /// A run begins; what is there is of an earlier one.
    pub(super) fn new_run(&self) {
        self.run.fetch_add(1, Ordering::Relaxed);
    }

    #[allow(clippy::mut_from_ref)]
    pub(super) fn track(&self, ith: usize) -> Track<'_> {
        // SAFETY: each worker asks for its own number only, once a run.
        let data = unsafe { &mut *self.tracks[ith].get() };
        data.run = self.run.load(Ordering::Relaxed);
        Track { data, arrive: Ticks(0), start: Ticks(0) }
    }

    /// Whether worker `ith` took part in the last run. On a machine with other programs it may have come too late.
    pub fn took_part(&mut self, ith: usize) -> bool {
        self.tracks[ith].get_mut().run == *self.run.get_mut()
    }

    /// The steps of worker `ith` in the last run that it took part in.
    pub fn steps(&mut self, ith: usize) -> &[StepTime] {
        &self.tracks[ith].get_mut().steps
    }

    /// When worker `ith` entered and left that run.
    pub fn span(&mut self, ith: usize) -> (Ticks, Ticks) {
        let t = self.tracks[ith].get_mut();
        (t.begin, t.finish)
    }

    /// Microseconds that steps of the last run took, waiting for them included: the mean over those of workers
    /// `0 .. threads` that took part.
    pub fn mean_micros(&mut self, threads: usize, steps: std::ops::Range<usize>) -> f64 {
        let clock = Clock::get();
        let present: Vec<usize> = (0..threads).filter(|&ith| self.took_part(ith)).collect();
        let sum = |ith: &usize| -> f64 {
            self.steps(*ith)[steps.clone()].iter().map(|t| clock.micros(t.arrive, t.end)).sum()
        };
        present.iter().map(sum).sum::<f64>() / present.len().max(1) as f64
    }

    /// Workers that it has room for.
    pub fn threads(&self) -> usize {
        self.tracks.len()
    }
}

impl Track<'_> {
    #[inline]
    pub(super) fn begin(&mut self) {
        self.data.begin = Clock::now();
        self.arrive = self.data.begin;
    }

    #[inline]
    pub(super) fn start(&mut self) {
        self.start = Clock::now();
    }

    #[inline]
    pub(super) fn end(&mut self, step: usize) {
        let end = Clock::now();
        self.data.steps[step] = StepTime { arrive: self.arrive, start: self.start, end };
        self.arrive = end;
    }

    /// More of a step that had ended: another phase, or work of others. What lies between counts as its time.
    #[inline]
    pub(super) fn extend(&mut self, step: usize) {
        let end = Clock::now();
        self.data.steps[step].end = end;
        self.arrive = end;
    }

    #[inline]
    pub(super) fn finish(&mut self) {
        self.data.finish = Clock::now();
    }
}
