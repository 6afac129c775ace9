//! A run as one CUDA graph: recorded once, launched whole. Addresses are fixed in it, so inputs change by writing to
//! where they lie.

use super::error::Attempt;
use super::exec::launch;
use super::{Bound, CudaError, Device, StepTimes};
use cudarc::driver::{result, sys};
use std::ops::Range;

/// A recorded run.
pub struct Replay {
    device: Device,
    graph: sys::CUgraph,
    exec: sys::CUgraphExec,
}

impl Replay {
    /// Records steps of a bound plan, of one CUDA leg; nothing runs. Its kernels should have run once: a driver that loads code late
    /// cannot do so while a graph is recorded. With `times` each launch of the graph fills them.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// If `times` has room for fewer steps.
    pub fn record(bound: &mut Bound, steps: Range<usize>, times: Option<&StepTimes>) -> Result<Replay, CudaError> {
        let device = bound.device().clone();
        device.synchronize()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as the device, and is idle.
        unsafe { result::stream::begin_capture(device.stream(), mode) }.attempt("recording a graph")?;
        let external = sys::CUevent_record_flags::CU_EVENT_RECORD_EXTERNAL;
        let launched = launch(bound, steps, times, external);
        // SAFETY: capture began above on this stream; it is ended whether launches failed or not.
        let graph = unsafe { result::stream::end_capture(device.stream()) }.attempt("ending a graph");
        launched?;
        let graph = graph?;
        // SAFETY: a valid graph; it and its executable are destroyed in `drop`.
        let exec = unsafe {
            let mut exec = std::ptr::null_mut();
            sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0).result().map(|()| exec)
        };
        match exec.attempt("instantiating a graph") {
            Ok(exec) => Ok(Replay { device, graph, exec }),
            Err(e) => {
                // SAFETY: as above.
                let _ = unsafe { result::graph::destroy(graph) };
                Err(e)
            }
        }
    }

    /// Launches the run; does not wait.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// The bound plan that was recorded, what it was bound to, and the times that it fills still exist.
    pub unsafe fn launch(&self) -> Result<(), CudaError> {
        self.device.enter()?;
        // SAFETY: the executable lives as long as `self`; memory by the caller's contract.
        unsafe { result::graph::launch(self.exec, self.device.stream()) }.attempt("launching a graph")
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        // SAFETY: each is destroyed once; the driver waits for a launch under way.
        unsafe {
            let _ = self.device.enter();
            let _ = result::graph::exec_destroy(self.exec);
            let _ = result::graph::destroy(self.graph);
        }
    }
}
