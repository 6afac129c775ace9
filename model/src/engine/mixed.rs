//! Plans that run on both sides: legs of the processor's steps and legs of a GPU's in turn.
//!
//! A GPU's leg begins with the transfers to it and ends with those from it, in the order of its stream, so the host waits
//! once before each leg of its own.

use super::EngineError;
use super::gpu::Landing;
use super::host::Workers;
use super::launches::Launches;
use super::plans::Runners;
use crate::profiling::Recording;
use crate::qwen3next::io;
use deltascope_kernels::cuda::{self, DeviceSlice, Locked};
use deltascope_kernels::plan::{Leg, Plan};
use deltascope_kernels::{Backend, ValueId, exec};
use std::ops::Range;

/// A plan with addresses on both sides. Graphs come before what they use: fields are dropped in order.
pub(super) struct Mixed {
    legs: Vec<(Leg, Launches)>,
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

impl Mixed {
    /// For a run whose states lie on `main`.
    pub fn new(plan: &Plan, main: Backend, host: exec::Bound, gpu: cuda::Bound, graphs: bool) -> Mixed {
        let (first, len) = host.arena();
        // SAFETY: the arena of a mixed plan is pages of its own, and is dropped after the lock.
        let locked = unsafe { Locked::new(gpu.device(), first, len) }.ok();
        Mixed {
            legs: plan.legs.iter().map(|leg| (leg.clone(), Launches::new(leg.steps.clone()))).collect(),
            logits: gpu.output_place(io::LOGITS).filter(|_| main == Backend::Cuda),
            graphs: graphs && locked.is_some(),
            gpu,
            _locked: locked,
            host,
            done: 0,
        }
    }

    /// Runs some of the steps and waits; after the last one the logits are where [`Self::logits`] looks.
    pub fn run(&mut self, plan: &Plan, range: Range<usize>, by: &mut Runners) -> Result<(), EngineError> {
        let all = range == (0..plan.steps.len());
        for (leg, launches) in &mut self.legs {
            let part = leg.steps.start.max(range.start)..leg.steps.end.min(range.end);
            match leg.side {
                _ if part.is_empty() => {}
                Backend::Cuda if all => launches.launch(&mut self.gpu, self.graphs, false)?,
                Backend::Cuda => cuda::run(&mut self.gpu, part, None)?,
                Backend::Cpu => {
                    self.gpu.device().synchronize()?;
                    by.workers.run(plan, &mut self.host, part);
                }
            }
        }
        self.done = range.end;
        if range.end == plan.steps.len() { self.land(&mut by.landing) } else { Ok(self.gpu.device().synchronize()?) }
    }

    /// Runs all steps, and notes what each took.
    pub fn run_recorded(&mut self, plan: &Plan, by: &mut Runners, into: &mut Recording) -> Result<(), EngineError> {
        let Runners { workers, landing, .. } = by;
        for (leg, launches) in &mut self.legs {
            match leg.side {
                Backend::Cuda => launches.launch_timed(&mut self.gpu, self.graphs)?,
                Backend::Cpu => {
                    self.gpu.device().synchronize()?;
                    Workers::run_recorded(workers, plan, &mut self.host, leg.steps.clone(), into);
                }
            }
        }
        self.done = plan.steps.len();
        self.land(landing)
    }

    /// Notes what a GPU did in the last recorded run.
    pub fn note(&self, into: &mut Recording) -> Result<(), EngineError> {
        let mut on_gpu = self.legs.iter().filter(|(leg, _)| leg.side == Backend::Cuda);
        Ok(on_gpu.try_for_each(|(_, launches)| launches.note(into))?)
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
