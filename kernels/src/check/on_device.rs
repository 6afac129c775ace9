//! A single plan on a GPU: everything that is bound goes there before the first run, and what was written comes back.

use super::alone::Alone;
use super::single::{RunError, Tensor};
use crate::cuda::{Bound, CudaError, Device, DeviceBuffer, DeviceSlice, Places, Replay, StepTimes, run};
use crate::graph::StorageKind;
use crate::plan::Plan;
use crate::pool::Pool;
use crate::{Backend, Buffer, Layout, Packing};
use std::time::Instant;

/// Inputs by number, whether weights or states, and packed weights.
struct Copies {
    inputs: Vec<(Layout, DeviceBuffer)>,
    packed: Vec<((u32, Packing), DeviceBuffer)>,
}

impl Places for Copies {
    fn place(&self, kind: StorageKind) -> Option<DeviceSlice> {
        match kind {
            StorageKind::Weight(id) | StorageKind::Input(id) | StorageKind::State(id) => {
                self.inputs.get(id as usize).map(|(_, b)| b.slice())
            }
            StorageKind::Packed(id, p) => self.packed.iter().find(|(k, _)| *k == (id, p)).map(|(_, b)| b.slice()),
            StorageKind::Temp | StorageKind::Output(_) => None,
        }
    }
}

/// On a device. Graphs and addresses come before what they are of: fields are dropped in order.
pub(super) struct OnDevice {
    cold: Option<Cold>,
    bound: Bound,
    steps: usize,
    copies: Copies,
    device: Device,
}

/// What cold runs need.
struct Cold {
    replay: Replay,
    times: StepTimes,
    /// Written over to take the place of all else in the device's cache.
    others: DeviceBuffer,
}

impl OnDevice {
    pub fn new(device: &Device, plan: &Plan, inputs: Vec<Tensor>) -> Result<OnDevice, RunError> {
        let upload = |bytes: &[u8]| DeviceBuffer::from_bytes(device, bytes);
        let packed = plan.packed(Backend::Cuda).into_iter().map(|(w, p)| {
            let t = &inputs[w as usize];
            Ok(((w, p), upload(crate::packing::pack(p, &t.layout, t.data.bytes()).bytes())?))
        });
        let packed = packed.collect::<Result<_, CudaError>>()?;
        let copy = |t: Tensor| Ok((t.layout, upload(t.data.bytes())?));
        let copies = Copies { inputs: inputs.into_iter().map(copy).collect::<Result<_, CudaError>>()?, packed };
        // SAFETY: `copies` goes where `bound` goes and outlives it, and nobody else has its buffers.
        let bound = unsafe { Bound::new(device, plan, &copies)? };
        device.synchronize()?;
        Ok(OnDevice { cold: None, bound, steps: plan.steps.len(), copies, device: device.clone() })
    }
}

impl Alone for OnDevice {
    fn run(&mut self, _pool: &mut Pool) -> Result<f64, RunError> {
        let start = Instant::now();
        run(&mut self.bound, 0..self.steps, None)?;
        self.device.synchronize()?;
        Ok(start.elapsed().as_secs_f64() * 1e6)
    }

    /// One graph with an event after each step, as the table's times of a GPU are taken. Its code must have run once.
    fn run_cold(&mut self, _pool: &mut Pool) -> Result<f64, RunError> {
        let cold = match &mut self.cold {
            Some(cold) => cold,
            none => {
                let times = StepTimes::new(&self.device, self.steps)?;
                let replay = Replay::record(&mut self.bound, 0..self.steps, Some(&times))?;
                let others = DeviceBuffer::zeroed(&self.device, 2 * self.device.info().cache)?;
                none.insert(Cold { replay, times, others })
            }
        };
        cold.others.clear()?;
        // SAFETY: bound plan, copies and times live as long as the graph.
        unsafe { cold.replay.launch()? };
        Ok(cold.times.micros(self.steps)?.iter().sum())
    }

    fn output(&self, id: u32) -> Result<Buffer, RunError> {
        Ok(Buffer::from_bytes(&self.bound.output(id)?.unwrap_or_default()))
    }

    fn input(&self, index: usize) -> Result<Tensor, RunError> {
        let (layout, copy) = &self.copies.inputs[index];
        let mut data = Buffer::zeroed(copy.slice().len);
        copy.read(0, data.bytes_mut())?;
        Ok(Tensor { layout: *layout, data })
    }
}
