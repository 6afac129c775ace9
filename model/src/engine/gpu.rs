//! Plans on a GPU.
//!
//! A run that comes again is launched as one CUDA graph (*whole*). A recorded run has an event after each step
//! (*attributed*), inside a graph of its own where graphs are allowed, so that the host's launches do not hold it up.
//! Either way the host waits once, when it fetches the logits.

use super::EngineError;
use super::memory::{Binding, write_inputs};
use crate::device_weights::{DeviceWeights, wanted};
use crate::profiling::{PlanInfo, RunRecord};
use crate::qwen3next::io;
use crate::state::State;
use deltascope_kernels::cuda::{
    self, Bound, CudaError, Device, DeviceBuffer, DeviceInfo, DeviceSlice, Places, Replay, Staging, StepTimes,
};
use deltascope_kernels::graph::StorageKind;
use deltascope_kernels::plan::Plan;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Weights and inputs on a GPU.
pub(super) struct Gpu {
    device: Device,
    weights: DeviceWeights,
    /// Ids, then positions: each `room` I32.
    inputs: DeviceBuffer,
    staging: Staging,
    room: usize,
    graphs: bool,
}

impl Gpu {
    /// With `graphs`, runs that come again are graphs.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(device: Device, graphs: bool) -> Result<Gpu, CudaError> {
        Ok(Gpu {
            weights: DeviceWeights::new(&device),
            inputs: DeviceBuffer::zeroed(&device, 0)?,
            staging: Staging::new(&device, 0)?,
            room: 0,
            graphs,
            device,
        })
    }

    pub fn info(&self) -> &DeviceInfo {
        self.device.info()
    }

    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    pub fn reserve(&mut self, tokens: usize) -> Result<bool, CudaError> {
        let grows = self.room < tokens;
        if grows {
            let room = tokens.next_power_of_two();
            self.inputs = DeviceBuffer::zeroed(&self.device, 2 * room * 4)?;
            self.staging = Staging::new(&self.device, 2 * room * 4)?;
            self.room = room;
        }
        Ok(grows)
    }

    pub fn fill(&mut self, ids: &[u32], positions: impl Iterator<Item = usize>) -> Result<(), CudaError> {
        let (to_ids, to_positions) = self.staging.as_i32_mut()?.split_at_mut(self.room);
        write_inputs(ids, positions, to_ids, to_positions);
        self.staging.send(&mut self.inputs)
    }

    pub fn bind(&mut self, plan: &Plan, to: Binding<'_>) -> Result<Launches, EngineError> {
        self.weights.ensure(to.model, &wanted(plan), plan.arena_bytes, to.progress)?;
        let view = View { gpu: self, state: to.state, slot: to.slot };
        // SAFETY: the engine owns weights, states and inputs on the device, moves none of them, drops plans when an
        // input is reallocated, and runs one plan at a time.
        let bound = unsafe { Bound::new(&self.device, plan, &view)? };
        let logits = bound.output_place(io::LOGITS).ok_or(EngineError::NoLogits)?;
        Ok(Launches {
            whole: None,
            timed: None,
            bound,
            steps: plan.steps.len(),
            logits,
            warm: false,
            graphs: self.graphs,
        })
    }
}

/// Where a plan's memory lies.
struct View<'a> {
    gpu: &'a Gpu,
    state: &'a State,
    slot: usize,
}

impl Places for View<'_> {
    fn place(&self, kind: StorageKind) -> Option<DeviceSlice> {
        let (inputs, part) = (self.gpu.inputs.slice(), self.gpu.room * 4);
        match kind {
            StorageKind::Weight(id) => self.gpu.weights.place((id, None)),
            StorageKind::Packed(id, packing) => self.gpu.weights.place((id, Some(packing))),
            StorageKind::Input(io::IDS) => Some(DeviceSlice { address: inputs.address, len: part }),
            StorageKind::Input(io::POSITIONS) => Some(DeviceSlice { address: inputs.address + part as u64, len: part }),
            StorageKind::State(id) => self.state.place(id, self.slot),
            StorageKind::Input(_) | StorageKind::Temp | StorageKind::Output(_) => None,
        }
    }
}

/// A plan's launches. Graphs come before what they use: fields are dropped in order.
pub struct Launches {
    whole: Option<Replay>,
    timed: Option<Timed>,
    bound: Bound,
    steps: usize,
    logits: DeviceSlice,
    /// It has run, so that all of its code is loaded.
    warm: bool,
    graphs: bool,
}

/// Events around each step.
struct Timed {
    replay: Option<Replay>,
    times: StepTimes,
}

/// Where logits of a GPU's runs land on the host: of all plans the same.
#[derive(Default)]
pub(super) struct Landing {
    staging: Option<Staging>,
    len: usize,
}

impl Landing {
    /// The logits that were fetched last.
    pub fn logits(&self) -> Option<&[f32]> {
        Some(&self.staging.as_ref()?.as_f32()[..self.len / 4])
    }

    fn fetch(&mut self, device: &Device, from: DeviceSlice) -> Result<(), CudaError> {
        let staging = match self.staging.take().filter(|s| s.bytes().len() >= from.len) {
            Some(s) => s,
            None => Staging::new(device, from.len)?,
        };
        self.len = from.len;
        self.staging.insert(staging).fetch(from)
    }
}

impl Launches {
    /// Runs some of the steps and waits; after the last one the logits are fetched.
    pub fn run(&mut self, range: Range<usize>, landing: &mut Landing) -> Result<(), CudaError> {
        let all = range == (0..self.steps);
        if all && self.graphs && self.warm {
            if self.whole.is_none() {
                self.whole = Some(Replay::record(&mut self.bound, self.steps, None)?);
            }
            if let Some(replay) = &self.whole {
                // SAFETY: plan and memory are alive, see `Gpu::bind`.
                unsafe { replay.launch()? }
            }
        } else {
            cuda::run(&mut self.bound, range.clone(), None)?;
        }
        self.warm |= all;
        if range.end == self.steps {
            landing.fetch(self.bound.device(), self.logits)
        } else {
            self.bound.device().synchronize()
        }
    }

    /// Runs all steps with an event after each, and says what each took.
    pub fn run_recorded(&mut self, info: &Arc<PlanInfo>, landing: &mut Landing) -> Result<RunRecord, CudaError> {
        let timed = match self.timed.take() {
            Some(t) => t,
            None => {
                let times = StepTimes::new(self.bound.device(), self.steps)?;
                let graph = self.graphs && self.warm;
                let replay = graph.then(|| Replay::record(&mut self.bound, self.steps, Some(&times))).transpose()?;
                Timed { replay, times }
            }
        };
        let started = Instant::now();
        match &timed.replay {
            // SAFETY: as in `run`; the times live beside the graph.
            Some(replay) => unsafe { replay.launch()? },
            None => cuda::run(&mut self.bound, 0..self.steps, Some(&timed.times))?,
        }
        landing.fetch(self.bound.device(), self.logits)?;
        let wall = started.elapsed();
        let micros = timed.times.micros(self.steps)?;
        // Recorded before anything had run: the next time as a graph.
        self.timed = Some(timed).filter(|t| t.replay.is_some() || !self.graphs);
        self.warm = true;
        Ok(RunRecord::attributed(info, &micros, wall))
    }

    /// What a value of the plan holds now.
    pub fn read(&self, plan: &Plan, v: deltascope_kernels::ValueId) -> Result<Vec<u8>, CudaError> {
        self.bound.read(plan, v)
    }
}
