//! Device memory.

use super::error::Attempt;
use super::{CudaError, Device};
use cudarc::driver::result;

/// A stretch of device memory, by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSlice {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub len: usize,
}

/// Device memory that is given back when it is dropped.
pub struct DeviceBuffer {
    device: Device,
    slice: DeviceSlice,
}

impl DeviceBuffer {
    /// `len` bytes of zeros.
    ///
    /// # Errors
    /// If the device has not so much free: it is looked at before it is taken.
    pub fn zeroed(device: &Device, len: usize) -> Result<DeviceBuffer, CudaError> {
        let (free, total) = device.memory()?;
        if len > free {
            return Err(CudaError::OutOfMemory { need: len, free, total });
        }
        // SAFETY: the device is this thread's current one; the memory is set before anybody reads it.
        let address = unsafe {
            let address = result::malloc_sync(len.max(1)).map_err(|e| match e.0 {
                cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                    CudaError::OutOfMemory { need: len, free, total }
                }
                _ => CudaError::Driver { what: "taking memory", source: e },
            })?;
            result::memset_d8_async(address, 0, len.max(1), device.stream()).attempt("clearing memory")?;
            address
        };
        device.synchronize()?;
        Ok(DeviceBuffer { device: device.clone(), slice: DeviceSlice { address, len } })
    }

    /// A copy of these bytes.
    ///
    /// # Errors
    /// As [`DeviceBuffer::zeroed`].
    pub fn from_bytes(device: &Device, bytes: &[u8]) -> Result<DeviceBuffer, CudaError> {
        let mut b = DeviceBuffer::zeroed(device, bytes.len())?;
        b.write(0, bytes)?;
        Ok(b)
    }

    /// Where it lies.
    pub fn slice(&self) -> DeviceSlice {
        self.slice
    }

    /// Copies bytes to `at ..`, after all that was launched before.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), CudaError> {
        assert!(at + bytes.len() <= self.slice.len, "{at} + {} bytes into {}", bytes.len(), self.slice.len);
        self.device.enter()?;
        // SAFETY: the range lies inside the buffer; the call below waits, so `bytes` lives long enough.
        unsafe { result::memcpy_htod_async(self.slice.address + at as u64, bytes, self.device.stream()) }
            .attempt("copying to the device")?;
        self.device.synchronize()
    }

    /// Copies bytes from `at ..`, after all that was launched before.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn read(&self, at: usize, bytes: &mut [u8]) -> Result<(), CudaError> {
        assert!(at + bytes.len() <= self.slice.len, "{at} + {} bytes of {}", bytes.len(), self.slice.len);
        self.device.enter()?;
        // SAFETY: the range lies inside the buffer; the call below waits, so `bytes` lives long enough.
        unsafe { result::memcpy_dtoh_async(bytes, self.slice.address + at as u64, self.device.stream()) }
            .attempt("copying from the device")?;
        self.device.synchronize()
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: given back once; `free` waits for what uses it.
        unsafe {
            if self.device.enter().is_ok() {
                let _ = result::free_sync(self.slice.address);
            }
        }
    }
}
