//! What plans are bound to beside the states: weights and inputs, on the host or on a GPU.

use super::EngineError;
use super::gpu::Gpu;
use super::host::Host;
use super::plans::Program;
use crate::model::Model;
use crate::state::State;
use crate::store::PackProgress;
use deltascope_kernels::Backend;
use deltascope_kernels::cuda::DeviceInfo;
use deltascope_kernels::plan::Plan;

/// Weights and inputs, where the engine runs.
pub(super) enum Memory {
    Host(Host),
    Gpu(Box<Gpu>),
}

/// What a plan is bound for.
pub(super) struct Binding<'a> {
    pub model: &'a Model,
    pub state: &'a State,
    /// The first of the run's slots.
    pub slot: usize,
    /// Workers that may run it.
    pub threads: usize,
    pub progress: &'a mut dyn FnMut(PackProgress),
}

impl Memory {
    pub fn backend(&self) -> Backend {
        match self {
            Memory::Host(_) => Backend::Cpu,
            Memory::Gpu(_) => Backend::Cuda,
        }
    }

    pub fn device(&self) -> Option<&DeviceInfo> {
        match self {
            Memory::Host(_) => None,
            Memory::Gpu(gpu) => Some(gpu.info()),
        }
    }

    /// Bytes of weights that are held beside the mapped file.
    pub fn bytes(&self) -> usize {
        match self {
            Memory::Host(host) => host.packed_bytes(),
            Memory::Gpu(gpu) => gpu.weight_bytes(),
        }
    }

    /// Room for the inputs of so many tokens. True if they moved: plans that are bound to them are void.
    pub fn reserve(&mut self, tokens: usize) -> Result<bool, EngineError> {
        match self {
            Memory::Host(host) => Ok(host.reserve(tokens)),
            Memory::Gpu(gpu) => Ok(gpu.reserve(tokens)?),
        }
    }

    /// Sets the inputs of the next run.
    pub fn fill(&mut self, ids: &[u32], positions: impl Iterator<Item = usize>) -> Result<(), EngineError> {
        match self {
            Memory::Host(host) => host.fill(ids, positions),
            Memory::Gpu(gpu) => gpu.fill(ids, positions)?,
        }
        Ok(())
    }

    /// Gives a plan its addresses; what it wants of the weights is made ready first.
    pub fn bind(&mut self, plan: &Plan, to: Binding<'_>) -> Result<Program, EngineError> {
        match self {
            Memory::Host(host) => host.bind(plan, to).map(Program::Host),
            Memory::Gpu(gpu) => gpu.bind(plan, to).map(|launches| Program::Gpu(Box::new(launches))),
        }
    }
}

/// Writes a run's ids and positions.
pub(super) fn write_inputs(
    ids: &[u32],
    positions: impl Iterator<Item = usize>,
    to_ids: &mut [i32],
    to_positions: &mut [i32],
) {
    for (to, &id) in to_ids.iter_mut().zip(ids) {
        *to = id as i32;
    }
    for (to, at) in to_positions.iter_mut().zip(positions) {
        *to = at as i32;
    }
}
