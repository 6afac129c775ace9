//! What plans on a GPU are bound to, and where their results land.

use super::EngineError;
use super::memory::{Binding, write_inputs};
use crate::device_weights::{DeviceWeights, wanted};
use crate::qwen3next::io;
use crate::state::State;
use deltascope_kernels::cuda::{Bound, CudaError, Device, DeviceBuffer, DeviceInfo, DeviceSlice, Places, Staging};
use deltascope_kernels::exec;
use deltascope_kernels::graph::{StorageId, StorageKind};
use deltascope_kernels::plan::Plan;

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

    /// Whether runs that come again are graphs.
    pub fn graphs(&self) -> bool {
        self.graphs
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

    /// Gives a plan's steps on the GPU their addresses; `host` has its other steps', if it has any.
    pub fn bind(&mut self, plan: &Plan, to: Binding<'_>, host: Option<&exec::Bound>) -> Result<Bound, EngineError> {
        self.weights.ensure(to.model, &wanted(plan), plan.arena_bytes, to.progress)?;
        let view = View { gpu: self, state: to.state, slot: to.slot, host };
        // Plans are dropped when an input is reallocated, and one runs at a time.
        // SAFETY: the engine owns weights, states and inputs on the device, and moves none of them.
        Ok(unsafe { Bound::new(&self.device, plan, &view)? })
    }
}

/// Where a plan's memory lies.
struct View<'a> {
    gpu: &'a Gpu,
    state: &'a State,
    slot: usize,
    host: Option<&'a exec::Bound>,
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

    fn host(&self, storage: StorageId) -> Option<(*mut u8, usize)> {
        self.host?.place(storage)
    }
}

/// Where logits of a GPU's runs, or the largest of them, land on the host: of all plans the same.
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

    /// The ids and logits that were fetched last, of one sequence.
    pub fn top(&self) -> impl Iterator<Item = (u32, f32)> {
        let bytes = self.staging.as_ref().map_or(&[][..], |s| &s.bytes()[..self.len]);
        let (ids, logits) = bytes.split_at(bytes.len() / 2);
        let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        ids.chunks_exact(4).zip(logits.chunks_exact(4)).map(move |(id, x)| (word(id), f32::from_bits(word(x))))
    }

    /// Fetches them, and waits for the run.
    pub fn fetch(&mut self, device: &Device, from: DeviceSlice) -> Result<(), CudaError> {
        let staging = match self.staging.take().filter(|s| s.bytes().len() >= from.len) {
            Some(s) => s,
            None => Staging::new(device, from.len)?,
        };
        self.len = from.len;
        self.staging.insert(staging).fetch(from)
    }
}
