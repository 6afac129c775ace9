//! Plans on this machine's processor.

use super::EngineError;
use super::memory::{Binding, write_inputs};
use crate::model::Model;
use crate::profiling::Recording;
use crate::qwen3next::io;
use crate::state::State;
use crate::store::PackedStore;
use deltascope_kernels::exec::{self, Bindings, Bound, Recorder};
use deltascope_kernels::plan::Plan;
use deltascope_kernels::pool::Pool;
use deltascope_kernels::{Backend, Buffer, Packing};
use std::ops::Range;

/// Packed weights and inputs. Weights that are not packed are read from the mapped file.
pub(super) struct Host {
    store: PackedStore,
    ids: Buffer,
    positions: Buffer,
}

impl Host {
    /// Packed weights may take `budget` bytes.
    pub fn new(budget: usize) -> Host {
        Host { store: PackedStore::new(budget), ids: Buffer::zeroed(0), positions: Buffer::zeroed(0) }
    }

    pub fn packed_bytes(&self) -> usize {
        self.store.bytes()
    }

    pub fn reserve(&mut self, tokens: usize) -> bool {
        let grows = self.ids.len() < tokens * 4;
        if grows {
            self.ids = Buffer::zeroed((tokens * 4).next_power_of_two());
            self.positions = Buffer::zeroed((tokens * 4).next_power_of_two());
        }
        grows
    }

    pub fn fill(&mut self, ids: &[u32], positions: impl Iterator<Item = usize>) {
        write_inputs(ids, positions, self.ids.as_i32_mut(), self.positions.as_i32_mut());
    }

    pub fn bind(&mut self, plan: &Plan, to: Binding<'_>) -> Result<Bound, EngineError> {
        self.store.ensure(to.model, &plan.packed(Backend::Cpu), to.progress)?;
        let view = View { host: self, model: to.model, state: to.state, slot: to.slot };
        // Bound are the mapped file through `model`, packed weights, states and inputs. Plans are dropped when an input
        // is reallocated, and one runs at a time.
        // SAFETY: the engine owns or shares what is bound, and moves none of it.
        Ok(unsafe { Bound::new(plan, &view, to.threads)? })
    }
}

/// Where a plan's memory lies.
struct View<'a> {
    host: &'a Host,
    model: &'a Model,
    state: &'a State,
    slot: usize,
}

impl Bindings for View<'_> {
    fn weight(&self, id: u32) -> Option<(*const u8, usize)> {
        let data = self.model.weight(id)?.data();
        Some((data.as_ptr(), data.len()))
    }

    fn packed(&self, id: u32, packing: Packing) -> Option<(*const u8, usize)> {
        self.host.store.get(id, packing)
    }

    fn input(&self, id: u32) -> Option<(*mut u8, usize)> {
        let buffer = match id {
            io::IDS => &self.host.ids,
            io::POSITIONS => &self.host.positions,
            _ => return None,
        };
        Some((buffer.as_ptr(), buffer.len()))
    }

    fn state(&self, id: u32) -> Option<(*mut u8, usize)> {
        self.state.bind(id, self.slot)
    }
}

/// The workers and what they write down.
pub(super) struct Workers {
    pub pool: Pool,
    recorder: Option<Recorder>,
}

impl Workers {
    pub fn new(threads: usize) -> Workers {
        Workers { pool: Pool::new(threads), recorder: None }
    }

    /// Runs some of a plan's steps.
    pub fn run(&mut self, plan: &Plan, bound: &mut Bound, range: Range<usize>) {
        exec::run(&mut self.pool, plan, bound, range, None);
    }

    /// Runs a leg and notes what each step took.
    pub fn run_recorded(&mut self, plan: &Plan, bound: &mut Bound, leg: Range<usize>, into: &mut Recording) {
        let steps = plan.steps.len();
        let threads = plan.threads.min(self.pool.threads());
        if !self.recorder.as_mut().is_some_and(|r| r.fits(threads, steps)) {
            self.recorder = None;
        }
        let most = self.pool.threads();
        let recorder = self.recorder.get_or_insert_with(|| Recorder::new(most, steps.next_power_of_two()));
        exec::run(&mut self.pool, plan, bound, leg.clone(), Some(recorder));
        into.by_workers(recorder, threads, leg);
    }
}
