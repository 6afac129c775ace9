//! Copies between the arenas of a plan that runs on both sides.

use super::error::Attempt;
use super::{CudaError, Device, DeviceSlice, Places};
use crate::graph::Graph;
use crate::plan::Step;
use crate::{Backend, Params};
use cudarc::driver::{result, sys};
use std::ffi::c_void;

/// A copy of one storage, with its addresses.
pub(super) struct Transfer {
    device: DeviceSlice,
    host: *mut u8,
    to_host: bool,
}

// SAFETY: an address that is handed to the driver only; whoever bound the plan keeps the memory.
unsafe impl Send for Transfer {}

impl Transfer {
    /// The copy of a transfer step, of which `device` is the storage's place there.
    pub fn new(step: &Step, graph: &Graph, device: DeviceSlice, to: &dyn Places) -> Result<Transfer, CudaError> {
        let storage = graph.value(step.inputs[0]).storage;
        let (host, have) = to.host(storage).unwrap_or((std::ptr::null_mut(), 0));
        if have < device.len {
            let kind = graph.storages[storage.0 as usize].kind;
            return Err(CudaError::Unbound { kind, have, need: device.len });
        }
        Ok(Transfer { device, host, to_host: step.inst.params == Params::Transfer { to: Backend::Cpu } })
    }

    /// Puts it on the device's stream; does not wait, unless the host's memory is not locked.
    pub fn launch(&self, on: &Device) -> Result<(), CudaError> {
        let (there, len, here) = (self.device.address, self.device.len, self.host.cast::<c_void>());
        // Nobody else touches either end until the stream was waited for.
        // SAFETY: `new` has looked at both ends, and whoever bound the plan keeps them.
        unsafe {
            match self.to_host {
                true => sys::cuMemcpyDtoHAsync_v2(here, there, len, on.stream()),
                false => sys::cuMemcpyHtoDAsync_v2(there, here, len, on.stream()),
            }
        }
        .result()
        .attempt("copying between host and device")
    }
}

/// A point of a device's stream that the host can wait for while what comes behind it goes on.
pub struct Mark {
    device: Device,
    event: sys::CUevent,
}

// SAFETY: a handle of the driver's, which any thread may use.
unsafe impl Send for Mark {}

impl Mark {
    /// Before anything was launched.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(device: &Device) -> Result<Mark, CudaError> {
        device.enter()?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let event = result::event::create(flags).attempt("making an event")?;
        Ok(Mark { device: device.clone(), event })
    }

    /// Puts it behind all that was launched.
    ///
    /// # Errors
    /// The driver's.
    pub fn set(&self) -> Result<(), CudaError> {
        self.device.enter()?;
        // SAFETY: event and stream live as long as `self`.
        unsafe { result::event::record(self.event, self.device.stream()) }.attempt("recording an event")
    }

    /// Waits for all that was launched before it was set.
    ///
    /// # Errors
    /// The driver's, also of what was launched before.
    pub fn wait(&self) -> Result<(), CudaError> {
        // SAFETY: the event lives as long as `self`.
        unsafe { result::event::synchronize(self.event) }.attempt("waiting for the device")
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // SAFETY: destroyed once; the driver waits for its use.
        unsafe {
            let _ = self.device.enter();
            let _ = result::event::destroy(self.event);
        }
    }
}

/// Memory of the host that somebody else owns, page-locked for as long as this lives: copies from and to it need no
/// detour and do not hold the host up.
pub struct Locked {
    device: Device,
    first: *mut c_void,
}

// SAFETY: as for `Transfer`.
unsafe impl Send for Locked {}

impl Locked {
    /// Locks whole pages from `first` on.
    ///
    /// # Errors
    /// The driver's, if so much cannot be locked.
    ///
    /// # Safety
    /// The pages are nobody else's, and stay where they are until the result is dropped.
    pub unsafe fn new(device: &Device, first: *mut u8, len: usize) -> Result<Locked, CudaError> {
        device.enter()?;
        let first = first.cast();
        // SAFETY: promised by the caller.
        unsafe { sys::cuMemHostRegister_v2(first, len, 0) }.result().attempt("locking memory")?;
        Ok(Locked { device: device.clone(), first })
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: locked by `new`, given back once, after what the device does with it.
        unsafe {
            let _ = self.device.synchronize();
            let _ = sys::cuMemHostUnregister(self.first);
        }
    }
}
