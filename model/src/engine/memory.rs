//! What plans are bound to beside the states: weights and inputs, on the host and on a GPU if there is one.

use super::EngineError;
use super::gpu::Gpu;
use super::host::Host;
use super::launches::OnGpu;
use super::mixed::Mixed;
use super::plans::Program;
use crate::model::Model;
use crate::state::State;
use crate::store::PackProgress;
use deltascope_kernels::Backend;
use deltascope_kernels::cuda::DeviceInfo;
use deltascope_kernels::plan::Plan;

/// Weights and inputs, where the engine's nodes run.
pub(super) struct Memory {
    /// Where nodes run that are not placed elsewhere.
    pub main: Backend,
    /// Always there: nodes can be placed on the processor at any time.
    pub host: Host,
    pub gpu: Option<Box<Gpu>>,
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

impl Binding<'_> {
    /// The same, for the other side.
    fn again(&mut self) -> Binding<'_> {
        Binding { progress: self.progress, ..*self }
    }
}

impl Memory {
    pub fn device(&self) -> Option<&DeviceInfo> {
        self.gpu.as_deref().map(Gpu::info)
    }

    /// Bytes of weights that are held beside the mapped file.
    pub fn bytes(&self) -> usize {
        self.host.packed_bytes() + self.gpu.as_ref().map_or(0, |gpu| gpu.weight_bytes())
    }

    /// Room for the inputs of so many tokens. True if they moved: plans that are bound to them are void.
    pub fn reserve(&mut self, tokens: usize) -> Result<bool, EngineError> {
        let moved = self.host.reserve(tokens);
        Ok(match &mut self.gpu {
            Some(gpu) => gpu.reserve(tokens)? || moved,
            None => moved,
        })
    }

    /// Sets the inputs of the next run, on both sides.
    pub fn fill(&mut self, ids: &[u32], positions: impl Iterator<Item = usize> + Clone) -> Result<(), EngineError> {
        self.host.fill(ids, positions.clone());
        if let Some(gpu) = &mut self.gpu {
            gpu.fill(ids, positions)?;
        }
        Ok(())
    }

    /// Gives a plan its addresses; what it wants of the weights is made ready first.
    pub fn bind(&mut self, plan: &Plan, mut to: Binding<'_>) -> Result<Program, EngineError> {
        let Some(gpu) = self.gpu.as_mut().filter(|_| plan.runs_on(Backend::Cuda)) else {
            return self.host.bind(plan, to).map(Program::Host);
        };
        if !plan.runs_on(Backend::Cpu) {
            let bound = gpu.bind(plan, to, None)?;
            return Ok(Program::Gpu(Box::new(OnGpu::new(bound, plan.steps.len(), gpu.graphs())?)));
        }
        let host = self.host.bind(plan, to.again())?;
        let bound = gpu.bind(plan, to, Some(&host))?;
        Ok(Program::Mixed(Box::new(Mixed::new(plan, self.main, host, bound, gpu.graphs())?)))
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
