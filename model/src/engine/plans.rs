//! Plans that are ready to run, by shape of batch.

use super::EngineError;
use crate::model::Model;
use crate::profiling::PlanInfo;
use crate::qwen3next::{self, BatchShape, io};
use crate::state::State;
use crate::store::PackedStore;
use deltascope_kernels::exec::{Bindings, Bound};
use deltascope_kernels::plan::{Chooser, Plan};
use deltascope_kernels::{Buffer, Packing};
use deltascope_profiles::{Phase, Stack};
use std::sync::Arc;

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
    pub bound: Bound,
    /// What reports say of it.
    pub info: Arc<PlanInfo>,
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

/// Where a plan's memory lies.
pub(super) struct Memory<'a> {
    pub model: &'a Model,
    pub store: &'a PackedStore,
    pub state: &'a State,
    pub slot: usize,
    pub ids: &'a Buffer,
    pub positions: &'a Buffer,
}

impl Bindings for Memory<'_> {
    fn weight(&self, id: u32) -> Option<(*const u8, usize)> {
        let data = self.model.weight(id)?.data();
        Some((data.as_ptr(), data.len()))
    }

    fn packed(&self, id: u32, packing: Packing) -> Option<(*const u8, usize)> {
        self.store.get(id, packing)
    }

    fn input(&self, id: u32) -> Option<(*mut u8, usize)> {
        let buffer = match id {
            io::IDS => self.ids,
            io::POSITIONS => self.positions,
            _ => return None,
        };
        Some((buffer.as_ptr(), buffer.len()))
    }

    fn state(&self, id: u32) -> Option<(*mut u8, usize)> {
        self.state.bind(id, self.slot)
    }
}

pub(super) fn bind(plan: Plan, memory: &Memory<'_>, threads: usize, phase: Phase) -> Result<Ready, EngineError> {
    // SAFETY: the engine owns or shares what is bound (the mapped file through `model`, packed weights, states, inputs),
    // moves none of it, drops plans when an input is reallocated, and runs one plan at a time.
    let bound = unsafe { Bound::new(&plan, memory, threads)? };
    let info = Arc::new(PlanInfo::of(&plan, phase));
    Ok(Ready { plan, bound, info })
}
