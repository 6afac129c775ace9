//! Weights on a GPU: uploaded once, when a plan first wants them, in the layout that it wants.

use crate::model::Model;
use crate::store::PackProgress;
use deltascope_kernels::cuda::{CudaError, Device, DeviceBuffer, DeviceSlice};
use deltascope_kernels::graph::StorageKind;
use deltascope_kernels::plan::Plan;
use deltascope_kernels::{Backend, Layout, Packing, packing};
use std::collections::{BTreeSet, HashMap};

/// A weight in the file's layout, or packed.
pub type Key = (u32, Option<Packing>);

/// Weights on one device.
pub struct DeviceWeights {
    device: Device,
    buffers: HashMap<Key, DeviceBuffer>,
    bytes: usize,
}

/// What a plan's steps on a GPU read of the weights.
pub fn wanted(plan: &Plan) -> BTreeSet<Key> {
    plan.steps
        .iter()
        .filter(|s| s.side() == Backend::Cuda)
        .flat_map(|s| &s.inputs)
        .filter_map(|&v| match plan.graph.storage(v).kind {
            StorageKind::Weight(id) => Some((id, None)),
            StorageKind::Packed(id, packing) => Some((id, Some(packing))),
            _ => None,
        })
        .collect()
}

impl DeviceWeights {
    /// None yet.
    pub fn new(device: &Device) -> DeviceWeights {
        DeviceWeights { device: device.clone(), buffers: HashMap::new(), bytes: 0 }
    }

    /// Bytes uploaded.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Uploads what is missing of `keys`, leaving `spare` bytes of the device free.
    ///
    /// # Errors
    /// If they do not fit, before any is uploaded; else the driver's.
    pub fn ensure(
        &mut self,
        model: &Model,
        keys: &BTreeSet<Key>,
        spare: usize,
        progress: &mut dyn FnMut(PackProgress),
    ) -> Result<(), CudaError> {
        let missing: Vec<Key> = keys.iter().filter(|k| !self.buffers.contains_key(k)).copied().collect();
        let total: usize = missing.iter().filter_map(|k| model.weight(k.0)).map(|t| t.data().len()).sum();
        if total == 0 {
            return Ok(());
        }
        let (free, all) = self.device.memory()?;
        if total.saturating_add(spare) > free {
            return Err(CudaError::OutOfMemory { need: total.saturating_add(spare), free, total: all });
        }
        let mut done = 0;
        for key in missing {
            let Some(t) = model.weight(key.0) else { continue };
            let buffer = match key.1 {
                None => DeviceBuffer::from_bytes(&self.device, t.data())?,
                Some(p) => {
                    let packed = packing::pack(p, &Layout::contiguous(t.dtype(), t.ne()), t.data());
                    DeviceBuffer::from_bytes(&self.device, packed.bytes())?
                }
            };
            done += t.data().len();
            self.bytes += t.data().len();
            self.buffers.insert(key, buffer);
            progress(PackProgress { done, total });
        }
        Ok(())
    }

    /// Where a weight lies.
    pub fn place(&self, key: Key) -> Option<DeviceSlice> {
        self.buffers.get(&key).map(DeviceBuffer::slice)
    }
}
