//! A thread that reads a GPU's clocks while something runs on it: asking takes milliseconds, which the engine's thread is
//! spared.

use super::nvml::{Nvml, NvmlDevice};
use super::readings::{Readings, Summary};
use super::{DeviceInfo, NvmlError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Readings of one device, each so long; the thread ends with it.
pub struct Gauge {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    latest: Mutex<(Option<Readings>, Summary)>,
    ended: AtomicBool,
}

/// Time between two readings.
const PERIOD: Duration = Duration::from_millis(250);

impl DeviceInfo {
    /// Its clocks, power and temperature now.
    ///
    /// # Errors
    /// If NVML is not there or does not know it.
    pub fn readings(&self) -> Result<Readings, NvmlError> {
        let (nvml, device) = self.in_nvml()?;
        Ok(nvml.read(device))
    }

    fn in_nvml(&self) -> Result<(&'static Nvml, NvmlDevice), NvmlError> {
        let nvml = Nvml::load()?;
        // A slice of a GPU (MIG) has an id like a GPU's, by another name.
        let device = nvml.device(&format!("GPU-{}", self.uuid));
        Ok((nvml, device.or_else(|e| nvml.device(&format!("MIG-{}", self.uuid)).map_err(|_| e))?))
    }
}

impl Gauge {
    /// Begins to read. On a machine without NVML there is never a reading.
    pub fn start(device: &DeviceInfo) -> Gauge {
        let device = device.clone();
        Gauge::reading(move || {
            let (nvml, handle) = device.in_nvml().ok()?;
            Some(move || nvml.read(handle))
        })
    }

    /// `open` is called on the thread, and says how to read, or that there is nothing to.
    fn reading<R: FnMut() -> Readings>(open: impl FnOnce() -> Option<R> + Send + 'static) -> Gauge {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let body = move || {
            let Some(mut read) = open() else { return };
            while !for_thread.ended.load(Ordering::Relaxed) {
                let reading = read();
                {
                    let mut latest = for_thread.latest.lock().unwrap_or_else(PoisonError::into_inner);
                    latest.0 = Some(reading);
                    latest.1.add(&reading);
                }
                std::thread::park_timeout(PERIOD);
            }
        };
        // Without a thread there are no readings; nothing else depends on it.
        let thread = std::thread::Builder::new().name("gauge".into()).spawn(body).ok();
        Gauge { shared, thread }
    }

    /// The last reading; none before the first, or where there is no NVML.
    pub fn latest(&self) -> Option<Readings> {
        self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// All readings so far, none if there were none. Those that follow count anew.
    pub fn take_summary(&self) -> Option<Summary> {
        let mut latest = self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut latest.1)).filter(|s| s.readings > 0)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to say any more.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn readings_come_from_a_thread_of_their_own_which_ends_with_the_gauge() {
        let (told, heard) = channel();
        let gauge = Gauge::reading(move || {
            let mut at = 1500;
            Some(move || {
                at += 30;
                let _ = told.send(std::thread::current().id());
                Readings { sm_mhz: Some(at), ..Readings::default() }
            })
        });
        let thread = heard.recv().unwrap();
        assert_ne!(thread, std::thread::current().id());
        heard.recv().unwrap();
        let first = gauge.take_summary().unwrap();
        assert!(first.readings >= 1 && first.sm_mhz.unwrap().0 == 1530, "{first:?}");
        assert!(gauge.latest().unwrap().sm_mhz >= Some(1530));
        drop(gauge);
        // The closure is gone, and its sender with it: this ends.
        assert!(heard.iter().all(|id| id == thread));
    }

    #[test]
    fn where_there_is_nothing_to_read_there_is_no_reading() {
        let gauge = Gauge::reading(|| None::<fn() -> Readings>);
        assert_eq!((gauge.latest(), gauge.take_summary()), (None, None));
    }
}
