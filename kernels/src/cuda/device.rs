//! A GPU: what it is, its context, its stream and the kernels loaded into it.

use super::error::Attempt;
use super::{Cache, Compiler, CudaError, Unit};
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceInfo {
    /// Its number.
    pub ordinal: usize,
    /// As the driver writes it.
    pub name: String,
    /// What tells it from all others, as `1b7e…-…`; the same for other tools.
    pub uuid: String,
    /// Major and minor.
    pub compute_capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: usize,
    /// Streaming multiprocessors.
    pub multiprocessors: usize,
    /// CUDA version that the driver serves, as 12080.
    pub driver: i32,
    /// Bytes a second that its memory gives at most; 0 if the driver does not say.
    pub bandwidth: f64,
    /// Bytes of the cache that all multiprocessors share; 0 if the driver does not say.
    pub cache: usize,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.compute_capability;
        let gib = self.memory as f64 / (1u64 << 30) as f64;
        write!(f, "{}, compute capability {major}.{minor}, {gib:.1} GiB", self.name)?;
        if self.bandwidth > 0.0 {
            write!(f, " at {:.0} GB/s", self.bandwidth / 1e9)?;
        }
        write!(f, ", driver for CUDA {}.{}", self.driver / 1000, self.driver % 1000 / 10)
    }
}

/// The driver is loaded and initialised, or why not.
fn driver() -> Result<(), CudaError> {
    static READY: OnceLock<Result<(), CudaError>> = OnceLock::new();
    READY
        .get_or_init(|| {
            // SAFETY: only loads a library. Everything else in cudarc panics if it is missing.
            if !unsafe { sys::is_culib_present() } {
                return Err(CudaError::NoDriver);
            }
            result::init().map_err(|e| CudaError::NoDevice(e.to_string()))
        })
        .clone()
}

impl DeviceInfo {
    /// All devices.
    ///
    /// # Errors
    /// If there is no driver or no device.
    pub fn all() -> Result<Vec<DeviceInfo>, CudaError> {
        driver()?;
        let count = result::device::get_count().attempt("counting devices")?;
        if count == 0 {
            return Err(CudaError::NoDevice("it counts none".into()));
        }
        (0..count).map(|i| Ok(DeviceInfo::of(i)?.0)).collect()
    }

    fn of(ordinal: i32) -> Result<(DeviceInfo, sys::CUdevice), CudaError> {
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
            CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH as WIDTH, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE as CACHE,
            CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE as CLOCK, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as COUNT,
        };
        let device = result::device::get(ordinal).attempt("finding a device")?;
        let name = result::device::get_name(device).attempt("reading a device's name")?;
        let mut driver = 0;
        let mut id = sys::CUuuid { bytes: [0; 16] };
        // SAFETY: `device` comes from the driver; version and id have their places.
        unsafe {
            let attribute = |a| result::device::get_attribute(device, a).attempt("reading a device's attribute");
            sys::cuDriverGetVersion(&mut driver).result().attempt("reading the driver's version")?;
            sys::cuDeviceGetUuid_v2(&mut id, device).result().attempt("reading a device's id")?;
            let info = DeviceInfo {
                ordinal: ordinal as usize,
                name,
                uuid: uuid(&id.bytes.map(|b| b as u8)),
                compute_capability: (attribute(MAJOR)?, attribute(MINOR)?),
                memory: result::device::total_mem(device).attempt("reading a device's memory")?,
                multiprocessors: attribute(COUNT)? as usize,
                driver,
                // Bits a transfer, kilohertz, two transfers a clock.
                bandwidth: f64::from(attribute(WIDTH).unwrap_or(0)) / 8.0
                    * f64::from(attribute(CLOCK).unwrap_or(0))
                    * 2e3,
                cache: attribute(CACHE).map_or(0, |bytes| bytes.max(0) as usize),
            };
            Ok((info, device))
        }
    }
}

/// Sixteen bytes as tools write them.
fn uuid(bytes: &[u8; 16]) -> String {
    let hex = |part: &[u8]| part.iter().map(|b| format!("{b:02x}")).collect::<String>();
    [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].map(hex).join("-")
}

/// An open device. Clones share it.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    info: DeviceInfo,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    compiler: Compiler,
    early: bool,
    modules: Mutex<HashMap<Unit, Module>>,
}

/// Percent of an SM's first level of cache that is shared memory while our kernels run. It is the same for all: one that
/// wants another division starts only when the SM is empty, so that nothing overlaps; and what is left bounds how many
/// bytes of plain loads are on their way. Decode of the 80B on an H200: 475 t/s with 50, 434 with the driver's choice for
/// each kernel, 441 with 25, 428 with 100.
const SHARED_PERCENT: i32 = 50;

/// A loaded module; its functions live as long as the device is open.
#[derive(Clone, Copy)]
struct Module(sys::CUmodule);

/// An entry of a loaded module.
#[derive(Clone, Copy)]
pub(super) struct Function(pub sys::CUfunction);

// A context is made current in a thread by `Device::enter`; modules are behind a lock.
// SAFETY: the driver's handles may be used by any thread in which their context is current.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}
// SAFETY: a handle; it is passed to the driver only, after `Device::enter`.
unsafe impl Send for Module {}
// SAFETY: as for `Module`.
unsafe impl Send for Function {}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    /// If there is no driver, no such device, or no compiler for it.
    pub fn open(ordinal: usize, cache: Cache) -> Result<Device, CudaError> {
        let count = DeviceInfo::all()?.len();
        if ordinal >= count {
            return Err(CudaError::NoSuchDevice { ordinal, count });
        }
        let (info, device) = DeviceInfo::of(ordinal as i32)?;
        let compiler = Compiler::new(info.compute_capability, cache)?;
        // SAFETY: the device exists; what is retained here is released in `drop`.
        let context = unsafe { result::primary_ctx::retain(device) }.attempt("opening the device")?;
        // SAFETY: the context was just retained.
        unsafe { result::ctx::set_current(context) }.attempt("entering the device")?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).attempt("making a stream")?;
        let early = info.compute_capability >= (9, 0) && std::env::var("DELTASCOPE_EARLY_START").as_deref() != Ok("0");
        Ok(Device(Arc::new(Inner { info, device, context, stream, compiler, early, modules: Mutex::default() })))
    }

    /// The first device, opened once for the process, with the user's cache.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn first() -> Result<&'static Device, CudaError> {
        static FIRST: OnceLock<Result<Device, CudaError>> = OnceLock::new();
        FIRST.get_or_init(|| Device::open(0, Cache::of_user())).as_ref().map_err(Clone::clone)
    }

    /// What it is.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// Free and total bytes of its memory.
    ///
    /// # Errors
    /// The driver's.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.enter()?;
        result::mem_get_info().attempt("reading free memory")
    }

    /// Waits for all that was launched. Errors of kernels come out here.
    ///
    /// # Errors
    /// The driver's, also of what was launched before.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.enter()?;
        // SAFETY: the stream lives as long as the device.
        unsafe { result::stream::synchronize(self.0.stream) }.attempt("waiting for the device")
    }

    /// Whether kernels may start before the one ahead of them is done (programmatic dependent launch): devices of 9.0 and
    /// up, unless `DELTASCOPE_EARLY_START=0` says otherwise, for comparison.
    pub(super) fn starts_early(&self) -> bool {
        self.0.early
    }

    /// Makes it this thread's current device.
    pub(super) fn enter(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as the device lives.
        unsafe { result::ctx::set_current(self.0.context) }.attempt("entering the device")
    }

    pub(super) fn stream(&self) -> sys::CUstream {
        self.0.stream
    }

    /// An entry of a unit, compiled and loaded if it was not yet.
    pub(super) fn function(&self, unit: &Unit, entry: &str) -> Result<Function, CudaError> {
        self.enter()?;
        let mut modules = self.0.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match modules.get(unit) {
            Some(m) => *m,
            None => {
                let cubin = self.0.compiler.compile(unit)?.cubin;
                // SAFETY: a whole cubin, as the compiler gave it or the cache has checked.
                let module = unsafe { result::module::load_data(cubin.as_ptr().cast()) }.attempt("loading a kernel")?;
                modules.insert(unit.clone(), Module(module));
                Module(module)
            }
        };
        let name = CString::new(entry).unwrap_or_default();
        // SAFETY: modules are unloaded with the device only.
        let function = unsafe { result::module::get_function(module.0, name) }.attempt("finding a kernel's entry")?;
        let carveout = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
        // SAFETY: a function of a loaded module.
        unsafe { result::function::set_function_attribute(function, carveout, SHARED_PERCENT) }
            .attempt("dividing the first level of cache")?;
        Ok(Function(function))
    }

    /// Lets a function be launched with so many bytes of shared memory beyond what it declares; how many that is here.
    ///
    /// # Errors
    /// If the device has less.
    pub(super) fn shared(&self, function: Function, bytes: usize) -> Result<u32, CudaError> {
        if bytes == 0 || self.0.info.compute_capability < (8, 0) {
            return Ok(0);
        }
        let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: a function of a loaded module.
        unsafe { result::function::set_function_attribute(function.0, most, bytes as i32) }
            .attempt("giving a kernel shared memory")?;
        Ok(bytes as u32)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nothing can be done about an error here, and the process may be ending.
        // SAFETY: nobody else has the device any more; each handle is given back once.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            let _ = result::stream::synchronize(self.stream);
            for module in self.modules.get_mut().unwrap_or_else(PoisonError::into_inner).values() {
                let _ = result::module::unload(module.0);
            }
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_written_as_other_tools_write_them() {
        let bytes = std::array::from_fn(|i| 0x10 * i as u8 + 1);
        assert_eq!(super::uuid(&bytes), "01112131-4151-6171-8191-a1b1c1d1e1f1");
    }
}
