//! A single plan on a GPU: everything that is bound goes there before the run, and what was written comes back.

use super::single::{Left, RunError, Tensor};
use crate::cuda::{Bound, CudaError, Device, DeviceBuffer, DeviceSlice, Places, run};
use crate::graph::StorageKind;
use crate::plan::Plan;
use crate::variant::Instance;
use crate::{Backend, Buffer, Packing};

/// Inputs by number, whether weights or states, and packed weights.
struct Copies {
    inputs: Vec<DeviceBuffer>,
    packed: Vec<((u32, Packing), DeviceBuffer)>,
}

impl Places for Copies {
    fn place(&self, kind: StorageKind) -> Option<DeviceSlice> {
        match kind {
            StorageKind::Weight(id) | StorageKind::Input(id) | StorageKind::State(id) => {
                self.inputs.get(id as usize).map(DeviceBuffer::slice)
            }
            StorageKind::Packed(id, p) => self.packed.iter().find(|(k, _)| *k == (id, p)).map(|(_, b)| b.slice()),
            StorageKind::Temp | StorageKind::Output(_) => None,
        }
    }
}

/// Runs a single plan on a device.
pub(super) fn on_device(
    device: &Device,
    plan: &Plan,
    mut inputs: Vec<Tensor>,
    inst: &Instance,
) -> Result<Left, RunError> {
    let upload = |bytes: &[u8]| DeviceBuffer::from_bytes(device, bytes);
    let packed = plan.packed(Backend::Cuda).into_iter().map(|(w, p)| {
        let t = &inputs[w as usize];
        Ok(((w, p), upload(crate::packing::pack(p, &t.layout, t.data.bytes()).bytes())?))
    });
    let packed = packed.collect::<Result<_, CudaError>>()?;
    let copies = inputs.iter().map(|t| upload(t.data.bytes())).collect::<Result<_, CudaError>>()?;
    let copies = Copies { inputs: copies, packed };
    // SAFETY: `copies` outlives `bound`, and nobody else has its buffers.
    let mut bound = unsafe { Bound::new(device, plan, &copies)? };
    device.synchronize()?;
    let start = std::time::Instant::now();
    run(&mut bound, 0..plan.steps.len(), None)?;
    device.synchronize()?;
    let micros = start.elapsed().as_secs_f64() * 1e6;
    let mut outputs = Vec::with_capacity(inst.outputs.len());
    for o in 0..inst.outputs.len() as u32 {
        outputs.push(Buffer::from_bytes(&bound.output(o)?.unwrap_or_default()));
    }
    for (t, copy) in inputs.iter_mut().zip(&copies.inputs) {
        copy.read(0, t.data.bytes_mut())?;
    }
    Ok((outputs, inputs, micros))
}
