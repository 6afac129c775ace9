//! What an op of the running model takes on either backend, whether it runs there or not.

use super::swap::Tap;
use super::{Engine, EngineError};
use crate::choice::ProfileChooser;
use deltascope_kernels::check::{self, Repeat};
use deltascope_kernels::cuda::{CudaError, Device};
use deltascope_kernels::{Backend, Variant};
use deltascope_profiles::Phase;

/// A node that was run by itself on a backend.
pub struct Elsewhere {
    /// What computed it.
    pub variant: &'static dyn Variant,
    /// Microseconds of each run.
    pub micros: Vec<f64>,
    /// Relative error against what the running model made of the same inputs.
    pub error: f64,
}

/// The backend that an op does not run on.
pub fn other(than: Backend) -> Backend {
    match than {
        Backend::Cpu => Backend::Cuda,
        Backend::Cuda => Backend::Cpu,
    }
}

/// Whether a backend is there. Looking for a GPU opens it.
///
/// # Errors
/// Why it is not.
pub fn available(backend: Backend) -> Result<(), CudaError> {
    match backend {
        Backend::Cpu => Ok(()),
        Backend::Cuda => Device::first().map(|_| ()),
    }
}

impl Engine {
    /// Runs a node by itself on a backend, on live inputs and with copies of its states, by the variant that the profiles
    /// in force choose there, else the op's default. Caches hold nothing of it before each run, as in a model whose
    /// weights are larger than they are.
    ///
    /// # Errors
    /// If the backend is not there, has no room or no variant for the node.
    pub fn time_on(
        &mut self,
        backend: Backend,
        tap: Tap,
        phase: Phase,
        tokens: usize,
        repeat: Repeat,
    ) -> Result<Elsewhere, EngineError> {
        available(backend)?;
        let Tap { node, inst, inputs, result, .. } = tap;
        let chooser = ProfileChooser { stack: &self.stack, phase, tokens, backend, gpu: false };
        let what = (node.as_str(), inst.op, inst.params);
        let timed = check::time_on(backend, &mut self.runners.workers.pool, what, inputs, &chooser, repeat)?;
        Ok(Elsewhere {
            variant: timed.variant,
            error: check::compare(&result, &timed.outcome).relative,
            micros: timed.micros,
        })
    }
}
