//! Device memory.

use super::error::Attempt;
use super::{CudaError, Device};
use cudarc::driver::result;
use std::ptr::NonNull;

/// A stretch of device memory, by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSlice {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub len: usize,
}

impl Device {
    /// Copies device memory to the host, after all that was launched before. Errors of kernels come out here.
    ///
    /// # Errors
    /// The driver's, also for addresses that are not the device's.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn read(&self, from: DeviceSlice, bytes: &mut [u8]) -> Result<(), CudaError> {
        assert_eq!(from.len, bytes.len(), "bytes read");
        if bytes.is_empty() {
            return Ok(());
        }
        self.enter()?;
        // SAFETY: the driver checks the address; the call below waits, so `bytes` lives long enough.
        unsafe { result::memcpy_dtoh_async(bytes, from.address, self.stream()) }.attempt("copying from the device")?;
        self.synchronize()
    }
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

    /// Makes it zeros again, after all that was launched before. Does not wait.
    ///
    /// # Errors
    /// The driver's.
    pub fn clear(&mut self) -> Result<(), CudaError> {
        self.device.enter()?;
        // SAFETY: `len` bytes of its own, at least one of which was taken.
        unsafe { result::memset_d8_async(self.slice.address, 0, self.slice.len.max(1), self.device.stream()) }
            .attempt("clearing memory")
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
        self.device.read(DeviceSlice { address: self.slice.address + at as u64, len: bytes.len() }, bytes)
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

/// Page-locked memory of the host: the device copies to and from it without the detour of other memory.
pub struct Staging {
    device: Device,
    first: NonNull<u8>,
    len: usize,
    /// A copy from here may not have been made yet.
    sending: bool,
}

// SAFETY: it owns its memory as a Vec does; the device reads it only while `sending`, when no `&mut` is given out.
unsafe impl Send for Staging {}

impl Staging {
    /// `len` bytes of zeros.
    ///
    /// # Errors
    /// The driver's, if so much cannot be locked.
    pub fn new(device: &Device, len: usize) -> Result<Staging, CudaError> {
        device.enter()?;
        // SAFETY: the device is this thread's current one; the memory is written before anybody reads it.
        let first = unsafe {
            let p = result::malloc_host(len.max(1), 0).attempt("locking memory")?.cast::<u8>();
            p.write_bytes(0, len.max(1));
            p
        };
        let first = NonNull::new(first).unwrap_or(NonNull::dangling());
        Ok(Staging { device: device.clone(), first, len, sending: false })
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes of its own, which the device reads at most: `fetch` waits.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }

    /// The same as F32.
    pub fn as_f32(&self) -> &[f32] {
        // SAFETY: as `bytes`; the driver aligns to pages, and every bit pattern is an F32.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr().cast(), self.len / 4) }
    }

    /// To be filled. Waits for a copy that is under way.
    ///
    /// # Errors
    /// The driver's, also of what was launched before.
    pub fn as_i32_mut(&mut self) -> Result<&mut [i32], CudaError> {
        if std::mem::take(&mut self.sending) {
            self.device.synchronize()?;
        }
        // SAFETY: its own memory, aligned to pages, that the device has done with; every bit pattern is an I32.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr().cast(), self.len / 4) })
    }

    /// Copies all of it to the device, after all that was launched before. Does not wait.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn send(&mut self, to: &mut DeviceBuffer) -> Result<(), CudaError> {
        assert!(self.len <= to.slice.len, "{} bytes into {}", self.len, to.slice.len);
        self.device.enter()?;
        self.sending = true;
        // SAFETY: the range lies inside the buffer; nobody writes these bytes before the copy is made.
        unsafe { result::memcpy_htod_async(to.slice.address, self.bytes(), self.device.stream()) }
            .attempt("copying to the device")
    }

    /// Copies from the device to the start, after all that was launched before, and waits. Errors of kernels come out
    /// here.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn fetch(&mut self, from: DeviceSlice) -> Result<(), CudaError> {
        assert!(from.len <= self.len, "{} bytes into {}", from.len, self.len);
        // SAFETY: its own memory, of which `&mut self` is the only holder.
        let to = unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), from.len) };
        self.sending = false;
        self.device.read(from, to)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // SAFETY: given back once, after what the device does with it.
        unsafe {
            let _ = self.device.synchronize();
            let _ = result::free_host(self.first.as_ptr().cast());
        }
    }
}
