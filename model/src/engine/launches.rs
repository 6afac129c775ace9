//! Runs on a GPU.
//!
//! A leg that comes again is launched as one CUDA graph (*whole*). A recorded one is launched so too where CUPTI watches its
//! kernels. Else it has an event after each step (*attributed*), inside a graph of its own where graphs are allowed, so that
//! the host's launches do not hold it up.

use super::EngineError;
use super::gpu::Landing;
use crate::profiling::{KernelTime, Recording};
use crate::qwen3next::io;
use deltascope_kernels::cuda::{self, Bound, CudaError, Cupti, CuptiError, DeviceSlice, Replay, StepTimes, attribute};
use deltascope_kernels::exec::{Clock, Ticks};
use std::ops::Range;

/// Steps in a row of a bound plan on a GPU, and the graphs that were made of them. To be dropped before the bound plan.
pub(super) struct Launches {
    steps: Range<usize>,
    whole: Option<Replay>,
    timed: Option<Timed>,
    /// The same as `whole`, made while CUPTI traced: of graphs made before it may not know the kernels.
    traced: Option<Replay>,
    /// They have run, so that all of their code is loaded.
    warm: bool,
}

/// Events around each step.
struct Timed {
    replay: Option<Replay>,
    times: StepTimes,
    launched: Ticks,
}

impl Launches {
    pub fn new(steps: Range<usize>) -> Launches {
        Launches { steps, whole: None, timed: None, traced: None, warm: false }
    }

    /// Launches all of them; does not wait. `traced`: while CUPTI traces.
    pub fn launch(&mut self, bound: &mut Bound, graphs: bool, traced: bool) -> Result<(), CudaError> {
        if self.steps.is_empty() {
            return Ok(());
        }
        if !(graphs && self.warm) {
            self.warm = true;
            return cuda::run(bound, self.steps.clone(), None);
        }
        let kept = if traced { &mut self.traced } else { &mut self.whole };
        let replay = match kept.take() {
            Some(replay) => replay,
            None => Replay::record(bound, self.steps.clone(), None)?,
        };
        // SAFETY: plan and memory are alive, see `Gpu::bind`.
        unsafe { kept.insert(replay).launch() }
    }

    /// As [`Self::launch`], with an event after each step.
    pub fn launch_timed(&mut self, bound: &mut Bound, graphs: bool) -> Result<(), CudaError> {
        if self.steps.is_empty() {
            return Ok(());
        }
        // What was recorded before anything had run is no graph.
        let graph = graphs && self.warm;
        let mut timed = match self.timed.take().filter(|t| t.replay.is_some() == graph) {
            Some(timed) => timed,
            None => {
                let times = StepTimes::new(bound.device(), self.steps.len())?;
                let record = || Replay::record(bound, self.steps.clone(), Some(&times));
                Timed { replay: graph.then(record).transpose()?, times, launched: Ticks(0) }
            }
        };
        timed.launched = Clock::now();
        match &timed.replay {
            // SAFETY: as in `launch`; the times live beside the graph.
            Some(replay) => unsafe { replay.launch()? },
            None => cuda::run(bound, self.steps.clone(), Some(&timed.times))?,
        }
        self.timed = Some(timed);
        self.warm = true;
        Ok(())
    }

    /// Notes what each step of the last timed launch took; waits for it. Microseconds of them together.
    pub fn note(&self, into: &mut Recording) -> Result<f64, CudaError> {
        let Some(timed) = &self.timed else { return Ok(0.0) };
        let micros = timed.times.micros(self.steps.len())?;
        into.by_gpu(&micros, timed.launched, self.steps.clone());
        Ok(micros.iter().sum())
    }
}

/// A plan that runs on a GPU alone.
pub(super) struct OnGpu {
    launches: Launches,
    bound: Bound,
    steps: usize,
    /// What comes back: the logits, or the largest of them.
    result: DeviceSlice,
    graphs: bool,
    /// When the last traced run was launched.
    begun: Ticks,
}

impl OnGpu {
    pub fn new(bound: Bound, steps: usize, graphs: bool) -> Result<OnGpu, EngineError> {
        let result = bound.output_place(io::LOGITS).or_else(|| bound.output_place(io::TOP));
        let result = result.ok_or(EngineError::NoLogits)?;
        Ok(OnGpu { launches: Launches::new(0..steps), bound, steps, result, graphs, begun: Ticks(0) })
    }

    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Runs some of the steps and waits; after the last one their result is fetched.
    pub fn run(&mut self, range: Range<usize>, landing: &mut Landing) -> Result<(), CudaError> {
        if range == (0..self.steps) {
            self.launches.launch(&mut self.bound, self.graphs, false)?;
        } else {
            cuda::run(&mut self.bound, range.clone(), None)?;
        }
        if range.end == self.steps {
            landing.fetch(self.bound.device(), self.result)
        } else {
            self.bound.device().synchronize()
        }
    }

    /// Runs all steps while CUPTI traces, or with an event after each.
    pub fn run_recorded(&mut self, cupti: Option<&Cupti>, landing: &mut Landing) -> Result<(), CudaError> {
        match cupti {
            Some(_) => {
                self.begun = Clock::now();
                self.launches.launch(&mut self.bound, self.graphs, true)?;
            }
            None => self.launches.launch_timed(&mut self.bound, self.graphs)?,
        }
        landing.fetch(self.bound.device(), self.result)
    }

    /// Notes what each kernel of the last run took, if CUPTI has seen them all.
    pub fn note_kernels(&self, cupti: &Cupti, into: &mut Recording) -> Result<(), CuptiError> {
        let launched = self.bound.kernels(0..self.steps);
        let names: Vec<&str> = launched.iter().map(|&(_, name)| name).collect();
        let spans = attribute(cupti.take()?, &names)?;
        let times = launched.iter().zip(spans).map(|(&(step, name), span)| KernelTime { step, name, span });
        into.by_kernels(times.collect(), self.begun);
        Ok(())
    }

    /// Notes what each step of the last run with events took.
    pub fn note(&self, into: &mut Recording) -> Result<(), CudaError> {
        self.launches.note(into).map(|_| ())
    }
}
