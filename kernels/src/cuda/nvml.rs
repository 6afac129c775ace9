//! NVML, the driver's management library, loaded at run time: clocks, power, temperature, and what holds clocks down.

use super::readings::{Readings, Throttle};
use libloading::Library;
use std::ffi::{CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::sync::OnceLock;

type Handle = *mut c_void;
type Number = unsafe extern "C" fn(Handle, *mut c_uint) -> c_int;
type NumberOf = unsafe extern "C" fn(Handle, c_uint, *mut c_uint) -> c_int;

/// Why a GPU's clocks are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvmlError {
    /// The library cannot be loaded, or lacks what is called.
    #[error("no NVML on this machine (libnvidia-ml cannot be loaded)")]
    Missing,
    /// It does not start.
    #[error("NVML does not start: error {0}")]
    Init(i32),
    /// It does not know the device.
    #[error("NVML does not know the device {uuid}: error {code}")]
    Device {
        /// The device.
        uuid: String,
        /// Its answer.
        code: i32,
    },
}

/// The loaded library.
pub struct Nvml {
    by_uuid: unsafe extern "C" fn(*const c_char, *mut Handle) -> c_int,
    clock: NumberOf,
    max_clock: NumberOf,
    power: Number,
    power_limit: Number,
    temperature: NumberOf,
    throttle: unsafe extern "C" fn(Handle, *mut c_ulonglong) -> c_int,
    /// Keeps the functions' code in memory.
    _library: Library,
}

/// A device, for [`Nvml::read`].
#[derive(Clone, Copy)]
pub struct NvmlDevice(Handle);

// SAFETY: a handle that is passed to the library only, which any thread may call.
unsafe impl Send for NvmlDevice {}

/// `NVML_CLOCK_SM`, `NVML_CLOCK_MEM`, `NVML_TEMPERATURE_GPU`.
const SM: c_uint = 1;
const MEMORY: c_uint = 2;
const GPU: c_uint = 0;

impl Nvml {
    /// Loads and starts the library, once for the process; it is stopped with it.
    ///
    /// # Errors
    /// If there is none, or it does not start.
    pub fn load() -> Result<&'static Nvml, NvmlError> {
        static LOADED: OnceLock<Result<Nvml, NvmlError>> = OnceLock::new();
        let names = if cfg!(windows) { &["nvml.dll"][..] } else { &["libnvidia-ml.so.1", "libnvidia-ml.so"][..] };
        LOADED.get_or_init(|| Nvml::first_of(names)).as_ref().map_err(Clone::clone)
    }

    /// The first of these libraries that loads.
    fn first_of(names: &[&str]) -> Result<Nvml, NvmlError> {
        let found = names.iter().find_map(|name| {
            // SAFETY: the library's initialisers have no precondition; a file that is no library is refused.
            unsafe { Library::new(*name) }.ok()
        });
        Nvml::new(found.ok_or(NvmlError::Missing)?).ok_or(NvmlError::Missing)?
    }

    /// None if it lacks what is called.
    fn new(library: Library) -> Option<Result<Nvml, NvmlError>> {
        // SAFETY: here and below the types are those of nvml.h, whose functions keep them.
        let (nvml, init) = unsafe {
            let init = *library.get::<unsafe extern "C" fn() -> c_int>(c"nvmlInit_v2").ok()?;
            let nvml = Nvml {
                by_uuid: *library.get(c"nvmlDeviceGetHandleByUUID").ok()?,
                clock: *library.get(c"nvmlDeviceGetClockInfo").ok()?,
                max_clock: *library.get(c"nvmlDeviceGetMaxClockInfo").ok()?,
                power: *library.get(c"nvmlDeviceGetPowerUsage").ok()?,
                power_limit: *library.get(c"nvmlDeviceGetEnforcedPowerLimit").ok()?,
                temperature: *library.get(c"nvmlDeviceGetTemperature").ok()?,
                throttle: *library.get(c"nvmlDeviceGetCurrentClocksThrottleReasons").ok()?,
                _library: library,
            };
            (nvml, init)
        };
        // SAFETY: nothing is asked of the caller.
        match unsafe { init() } {
            0 => Some(Ok(nvml)),
            code => Some(Err(NvmlError::Init(code))),
        }
    }

    /// The device with this id (`GPU-…`, as [`super::DeviceInfo`] has it).
    ///
    /// # Errors
    /// If the library does not know it.
    pub fn device(&self, uuid: &str) -> Result<NvmlDevice, NvmlError> {
        let name = CString::new(uuid).unwrap_or_default();
        let mut handle = std::ptr::null_mut();
        // SAFETY: a string that outlives the call, and a place for the handle.
        match unsafe { (self.by_uuid)(name.as_ptr(), &mut handle) } {
            0 => Ok(NvmlDevice(handle)),
            code => Err(NvmlError::Device { uuid: uuid.to_owned(), code }),
        }
    }

    /// What the device says now; a reading that it does not give is none.
    pub fn read(&self, device: NvmlDevice) -> Readings {
        let ask = |f: Number| {
            let mut n = 0;
            // SAFETY: the handle is the library's; a place for the number.
            (unsafe { f(device.0, &mut n) } == 0).then_some(n)
        };
        let ask_of = |f: NumberOf, what: c_uint| {
            let mut n = 0;
            // SAFETY: as above; `what` is a value of the enumeration that the function takes.
            (unsafe { f(device.0, what, &mut n) } == 0).then_some(n)
        };
        let mut reasons = 0;
        // SAFETY: as above.
        let known = unsafe { (self.throttle)(device.0, &mut reasons) } == 0;
        Readings {
            sm_mhz: ask_of(self.clock, SM),
            sm_max_mhz: ask_of(self.max_clock, SM),
            memory_mhz: ask_of(self.clock, MEMORY),
            milliwatts: ask(self.power),
            limit_milliwatts: ask(self.power_limit),
            celsius: ask_of(self.temperature, GPU),
            throttle: known.then_some(Throttle(reasons)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_the_library_is_told_apart_from_one_whose_library_lacks_the_calls() {
        assert_eq!(Nvml::first_of(&["/nowhere/libnvidia-ml.so.1"]).err(), Some(NvmlError::Missing));
        // Any other library: it loads, and has none of the functions.
        if cfg!(target_os = "linux") {
            assert_eq!(Nvml::first_of(&["libm.so.6"]).err(), Some(NvmlError::Missing));
        }
    }
}
