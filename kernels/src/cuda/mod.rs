//! NVIDIA GPUs: the device, its compiler, and plans that run there.
//!
//! The driver and NVRTC are loaded when they are first asked for: one binary runs with or without a GPU, and
//! [`available`] says why there is none. Kernels are `.cu` files beside their ops, compiled for the device at hand with
//! what is known of an instance and its tunables as macros ([`CudaKernel`]), and kept as cubins ([`Cache`]).
//!
//! [`Bound`] is a plan whose steps have their addresses on a device; [`run`] runs it step by step with an event after
//! each, or as one CUDA graph.

mod cache;
mod compile;
mod cupti;
mod device;
mod error;
mod exec;
mod gauge;
mod graph;
mod kernel;
mod memory;
mod nvml;
mod nvrtc;
mod readings;
mod transfer;

pub use cache::Cache;
pub use compile::{Compiled, Compiler};
pub use cupti::{Cupti, CuptiError, KernelRecord, KernelSpan, attribute};
pub use device::{Device, DeviceInfo};
pub use error::CudaError;
pub use exec::{Bound, Places, StepTimes, run};
pub use gauge::Gauge;
pub use graph::Replay;
pub use kernel::{Arg, CudaKernel, CudaVariant, Launch, Macro, Preferred, Unit, as_is, no_macros, no_scratch, rows_of};
pub use memory::{DeviceBuffer, DeviceSlice, Staging};
pub use nvml::{Nvml, NvmlDevice, NvmlError};
pub use nvrtc::Nvrtc;
pub use readings::{Readings, Summary, Throttle};
pub use transfer::{Locked, Mark};

/// Source: tensor cores, and copies that do not wait.
pub(crate) const TENSOR: &str = include_str!("tensor.cuh");

/// The GPUs of this machine, for `doctor`: looks for the driver, its devices and the compiler, and opens nothing.
///
/// # Errors
/// What is missing, in words for the user.
pub fn available() -> Result<Vec<DeviceInfo>, CudaError> {
    let devices = DeviceInfo::all()?;
    let nvrtc = Nvrtc::load()?;
    for device in &devices {
        nvrtc.arch_for(device.compute_capability)?;
    }
    Ok(devices)
}

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;
