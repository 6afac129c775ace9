//! Plans that run on both sides: legs of the processor's steps and legs of a GPU's in turn.
//!
//! A GPU's leg begins with the transfers to it. Behind those from it may stand steps that the processor's next leg does not
//! need (`plan::Leg::ready`): they are launched before that leg, and the host waits for what is before them alone.

use super::EngineError;
use super::gpu::Landing;
use super::host::Workers;
use super::launches::Launches;
use super::plans::Runners;
use crate::profiling::Recording;
use crate::qwen3next::io;
use deltascope_kernels::cuda::{self, DeviceSlice, Locked, Mark};
use deltascope_kernels::plan::Plan;
use deltascope_kernels::{Backend, ValueId, exec};
use std::ops::Range;
use std::time::Instant;

/// A plan with addresses on both sides. Graphs come before what they use: fields are dropped in order.
pub(super) struct Mixed {
    legs: Vec<Leg>,
    /// Behind the last step of a GPU's leg that the processor waits for.
    ready: Mark,
    gpu: cuda::Bound,
    /// The host's arena; none if the system does not lock so much. Copies then hold the host up, and are in no graph.
    _locked: Option<Locked>,
    host: exec::Bound,
    /// Where they lie on the GPU, if that is where the run ends.
    logits: Option<DeviceSlice>,
    graphs: bool,
    /// Steps that have run since the run's begin.
    done: usize,
}

/// Who runs the next steps.
enum Leg {
    Cpu {
        steps: Range<usize>,
        /// Of the last recorded run, microseconds.
        took: f64,
    },
    Gpu {
        steps: Range<usize>,
        /// Those that a leg of the processor waits for.
        before: Box<Launches>,
        /// Those that run beside it.
        beside: Box<Launches>,
    },
}

impl Leg {
    fn of(leg: &deltascope_kernels::plan::Leg) -> Leg {
        let steps = leg.steps.clone();
        match leg.side {
            Backend::Cpu => Leg::Cpu { steps, took: 0.0 },
            Backend::Cuda => {
                let [before, beside] =
                    [steps.start..leg.ready, leg.ready..steps.end].map(|part| Box::new(Launches::new(part)));
                Leg::Gpu { steps, before, beside }
            }
        }
    }

    fn steps(&self) -> &Range<usize> {
        match self {
            Leg::Cpu { steps, .. } | Leg::Gpu { steps, .. } => steps,
        }
    }
}

impl Mixed {
    /// For a run whose states lie on `main`.
    pub fn new(
        plan: &Plan,
        main: Backend,
        host: exec::Bound,
        gpu: cuda::Bound,
        graphs: bool,
    ) -> Result<Mixed, EngineError> {
        let (first, len) = host.arena();
        // SAFETY: the arena of a mixed plan is pages of its own, and is dropped after the lock.
        let locked = unsafe { Locked::new(gpu.device(), first, len) }.ok();
        Ok(Mixed {
            legs: plan.legs.iter().map(Leg::of).collect(),
            ready: Mark::new(gpu.device())?,
            logits: gpu.output_place(io::LOGITS).filter(|_| main == Backend::Cuda),
            graphs: graphs && locked.is_some(),
            gpu,
            _locked: locked,
            host,
            done: 0,
        })
    }

    /// Runs some of the steps and waits; after the last one the logits are where [`Self::logits`] looks.
    pub fn run(&mut self, plan: &Plan, range: Range<usize>, by: &mut Runners) -> Result<(), EngineError> {
        if range == (0..plan.steps.len()) {
            for leg in &mut self.legs {
                match leg {
                    Leg::Gpu { before, beside, .. } => {
                        before.launch(&mut self.gpu, self.graphs, false)?;
                        self.ready.set()?;
                        beside.launch(&mut self.gpu, self.graphs, false)?;
                    }
                    Leg::Cpu { steps, .. } => {
                        self.ready.wait()?;
                        by.workers.run(plan, &mut self.host, steps.clone());
                    }
                }
            }
        } else {
            self.run_part(plan, range.clone(), by)?;
        }
        self.done = range.end;
        if range.end == plan.steps.len() { self.land(&mut by.landing) } else { Ok(self.gpu.device().synchronize()?) }
    }

    /// Steps in turn, nothing beside anything.
    fn run_part(&mut self, plan: &Plan, range: Range<usize>, by: &mut Runners) -> Result<(), EngineError> {
        for leg in &self.legs {
            let part = leg.steps().start.max(range.start)..leg.steps().end.min(range.end);
            match leg {
                _ if part.is_empty() => {}
                Leg::Gpu { .. } => cuda::run(&mut self.gpu, part, None)?,
                Leg::Cpu { .. } => {
                    self.gpu.device().synchronize()?;
                    by.workers.run(plan, &mut self.host, part);
                }
            }
        }
        Ok(())
    }

    /// Runs all steps, and notes what each took.
    pub fn run_recorded(&mut self, plan: &Plan, by: &mut Runners, into: &mut Recording) -> Result<(), EngineError> {
        let Runners { workers, landing, .. } = by;
        for leg in &mut self.legs {
            match leg {
                Leg::Gpu { before, beside, .. } => {
                    before.launch_timed(&mut self.gpu, self.graphs)?;
                    self.ready.set()?;
                    beside.launch_timed(&mut self.gpu, self.graphs)?;
                }
                Leg::Cpu { steps, took } => {
                    self.ready.wait()?;
                    let start = Instant::now();
                    Workers::run_recorded(workers, plan, &mut self.host, steps.clone(), into);
                    *took = start.elapsed().as_secs_f64() * 1e6;
                }
            }
        }
        self.done = plan.steps.len();
        self.land(landing)
    }

    /// Notes what a GPU did in the last recorded run, and how much of it beside the processor's legs.
    pub fn note(&self, into: &mut Recording) -> Result<(), EngineError> {
        for (at, leg) in self.legs.iter().enumerate() {
            let Leg::Gpu { before, beside, .. } = leg else { continue };
            before.note(into)?;
            let micros = beside.note(into)?;
            if let Some(Leg::Cpu { took, .. }) = self.legs.get(at + 1) {
                into.at_once(micros.min(*took));
            }
        }
        Ok(())
    }

    fn land(&self, landing: &mut Landing) -> Result<(), EngineError> {
        match self.logits {
            Some(logits) => landing.fetch(self.gpu.device(), logits)?,
            None => self.gpu.device().synchronize()?,
        }
        Ok(())
    }

    /// The logits of the last run, if that was the last of all runs.
    pub fn logits<'a>(&'a self, landing: &'a Landing) -> Option<&'a [f32]> {
        if self.logits.is_some() { landing.logits() } else { self.host.output_f32(io::LOGITS) }
    }

    /// What a value holds now, on the side that has written it.
    pub fn read(&self, plan: &Plan, v: ValueId) -> Result<Vec<u8>, EngineError> {
        let storage = plan.graph.value(v).storage;
        match plan.written_on(storage, self.done) {
            Some(Backend::Cuda) => Ok(self.gpu.read(plan, v)?),
            Some(Backend::Cpu) => Ok(self.host.read(plan, v)),
            // Constants and inputs are on the host at least; states are on one side.
            None if self.host.place(storage).is_some() => Ok(self.host.read(plan, v)),
            None => Ok(self.gpu.read(plan, v)?),
        }
    }
}
