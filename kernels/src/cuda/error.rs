//! What can go wrong between here and a device.

use cudarc::driver::DriverError;

/// Why something is not possible on a GPU.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CudaError {
    /// The driver's library cannot be loaded.
    #[error("no CUDA driver on this machine (libcuda cannot be loaded): everything runs on the CPU")]
    NoDriver,
    /// The driver is there, a device is not.
    #[error("the CUDA driver has no device: {0}")]
    NoDevice(String),
    /// A device that is not there.
    #[error("no CUDA device {ordinal}: there are {count}")]
    NoSuchDevice {
        /// What was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The compiler's library cannot be loaded.
    #[error(
        "no NVRTC (looked for {0}): install the CUDA toolkit or the package nvidia-cuda-nvrtc, or set DELTASCOPE_NVRTC"
    )]
    NoNvrtc(String),
    /// The compiler is older or newer than the device.
    #[error("NVRTC {nvrtc} does not compile for compute capability {}.{} (it knows {known})", capability.0, capability.1)]
    UnknownArchitecture {
        /// Version of the compiler.
        nvrtc: String,
        /// Of the device.
        capability: (i32, i32),
        /// What it compiles for.
        known: String,
    },
    /// A kernel that does not compile, with the compiler's log.
    #[error("{what} does not compile for {arch}:\n{log}")]
    Compile {
        /// The kernel.
        what: String,
        /// The architecture.
        arch: String,
        /// What the compiler says.
        log: String,
    },
    /// The compiler fails otherwise.
    #[error("NVRTC: {what} returned {code}")]
    Nvrtc {
        /// The call.
        what: &'static str,
        /// Its result.
        code: i32,
    },
    /// More memory than the device has free.
    #[error("out of GPU memory: {need} bytes are needed, {free} of {total} are free")]
    OutOfMemory {
        /// Asked for.
        need: usize,
        /// Free on the device.
        free: usize,
        /// The device's memory.
        total: usize,
    },
    /// The plan has no CUDA steps.
    #[error("no step of the plan is for CUDA")]
    NotCuda,
    /// Nothing is bound, or less than the plan reaches.
    #[error("{kind:?} has {have} bytes on the device, the plan reaches {need}")]
    Unbound {
        /// Which storage.
        kind: crate::graph::StorageKind,
        /// Bytes bound.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// Any other error of the driver.
    #[error("CUDA: {what}: {source}")]
    Driver {
        /// What was attempted.
        what: &'static str,
        /// The driver's answer.
        source: DriverError,
    },
}

/// Names what was attempted.
pub(super) trait Attempt<T> {
    /// The driver's error with what was attempted.
    fn attempt(self, what: &'static str) -> Result<T, CudaError>;
}

impl<T> Attempt<T> for Result<T, DriverError> {
    fn attempt(self, what: &'static str) -> Result<T, CudaError> {
        self.map_err(|source| CudaError::Driver { what, source })
    }
}
