//! Plans that are ready to run, by shape of batch.

use super::EngineError;
use super::activity::Activity;
use super::gpu::Landing;
use super::host::Workers;
use super::launches::OnGpu;
use super::mixed::Mixed;
use crate::model::Model;
use crate::profiling::{PlanInfo, Recording, RunRecord};
use crate::qwen3next::{self, BatchShape, io};
use crate::state::State;
use deltascope_kernels::ValueId;
use deltascope_kernels::exec::Bound;
use deltascope_kernels::plan::{Chooser, Plan};
use deltascope_profiles::{Phase, Stack};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanKey {
    pub(super) shape: BatchShape,
    pub(super) slot: usize,
    pub(super) phase: Phase,
}

/// A plan with addresses.
pub struct Ready {
    /// The plan.
    pub plan: Plan,
    /// Its addresses and temporaries.
    pub(super) program: Program,
    /// What reports say of it.
    pub info: Arc<PlanInfo>,
}

/// A bound plan, where it runs.
pub(super) enum Program {
    Host(Bound),
    Gpu(Box<OnGpu>),
    Mixed(Box<Mixed>),
}

/// Plans kept for use again, the latest last. Few: a prefill plan owns the memory of its temporaries.
#[derive(Default)]
pub struct Plans {
    ready: Vec<(PlanKey, Ready)>,
    /// Plans of profiles that may come back, as in an A/B comparison.
    parked: Vec<(Stack, Vec<(PlanKey, Ready)>)>,
}

const KEPT: usize = 6;

impl Plans {
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.parked.clear();
    }

    pub(super) fn has(&self, key: PlanKey) -> bool {
        self.ready.iter().any(|(k, _)| *k == key)
    }

    pub(super) fn insert(&mut self, key: PlanKey, ready: Ready) {
        if self.ready.len() == KEPT {
            self.ready.remove(0);
        }
        self.ready.push((key, ready));
    }

    /// # Panics
    /// If the key was not made ready.
    pub(super) fn get(&self, key: PlanKey) -> &Ready {
        &self.ready.iter().find(|(k, _)| *k == key).expect("`prepare` made it ready").1
    }

    /// # Panics
    /// If the key was not made ready.
    pub(super) fn get_mut(&mut self, key: PlanKey) -> &mut Ready {
        &mut self.ready.iter_mut().find(|(k, _)| *k == key).expect("`prepare` made it ready").1
    }

    pub(super) fn park(&mut self, stack: &Stack) {
        let ready = std::mem::take(&mut self.ready);
        if self.parked.len() == 2 {
            self.parked.remove(0);
        }
        self.parked.push((stack.clone(), ready));
    }

    pub(super) fn unpark(&mut self, stack: &Stack) {
        if let Some(i) = self.parked.iter().position(|(s, _)| s == stack) {
            self.ready = self.parked.remove(i).1;
        }
    }
}

impl Ready {
    /// What a value of the plan holds now, wherever it lies.
    ///
    /// # Errors
    /// The device's, where it lies on one.
    pub(super) fn read(&self, v: ValueId) -> Result<Vec<u8>, EngineError> {
        match &self.program {
            Program::Host(bound) => Ok(bound.read(&self.plan, v)),
            Program::Gpu(gpu) => Ok(gpu.bound().read(&self.plan, v)?),
            Program::Mixed(mixed) => mixed.read(&self.plan, v),
        }
    }

    /// Runs some of its steps.
    pub(super) fn run(&mut self, range: Range<usize>, by: &mut Runners) -> Result<(), EngineError> {
        match &mut self.program {
            Program::Host(bound) => by.workers.run(&self.plan, bound, range),
            Program::Gpu(gpu) => gpu.run(range, &mut by.landing)?,
            Program::Mixed(mixed) => mixed.run(&self.plan, range, by)?,
        }
        Ok(())
    }

    /// Runs all of them, and says what each took; nothing of a run that CUPTI was to see and did not.
    pub(super) fn run_recorded(&mut self, by: &mut Runners) -> Result<Option<RunRecord>, EngineError> {
        let mut recording = Recording::new(&self.info);
        let started = Instant::now();
        match &mut self.program {
            Program::Host(bound) => {
                by.workers.run_recorded(&self.plan, bound, 0..self.plan.steps.len(), &mut recording);
            }
            Program::Gpu(gpu) => gpu.run_recorded(by.activity.tracing(), &mut by.landing)?,
            Program::Mixed(mixed) => mixed.run_recorded(&self.plan, by, &mut recording)?,
        }
        let wall = started.elapsed();
        match &self.program {
            Program::Host(_) => {}
            Program::Gpu(gpu) => match by.activity.tracing() {
                Some(cupti) => {
                    if let Err(e) = gpu.note_kernels(cupti, &mut recording) {
                        by.activity.refuse(&e);
                        return Ok(None);
                    }
                }
                None => gpu.note(&mut recording)?,
            },
            Program::Mixed(mixed) => mixed.note(&mut recording)?,
        }
        Ok(Some(recording.finish(wall)))
    }

    /// The logits of its last run, if that was the last of all runs.
    pub(super) fn logits<'a>(&'a self, by: &'a Runners) -> Option<&'a [f32]> {
        match &self.program {
            Program::Host(bound) => bound.output_f32(io::LOGITS),
            Program::Gpu(_) => by.landing.logits(),
            Program::Mixed(mixed) => mixed.logits(&by.landing),
        }
    }
}

/// What runs plans: workers, the place on the host where a GPU's results land, and who watches it.
pub(super) struct Runners {
    pub workers: Workers,
    pub landing: Landing,
    pub activity: Activity,
}

/// The model's graph for a shape of batch, lowered and scheduled.
pub(super) fn plan(
    model: &Model,
    state: &State,
    shape: BatchShape,
    chooser: &dyn Chooser,
    threads: usize,
) -> Result<Plan, EngineError> {
    let graph = qwen3next::build(&model.config, &model.weights, &model.weight_ids, state.shape(), shape);
    Ok(Plan::build(graph, chooser, threads)?)
}
