//! What sequences keep between runs: the KV cache of attention layers, convolution and recurrent state of delta-net
//! layers. It lies where the model runs.

use crate::config::{Config, LayerKind};
use crate::qwen3next::{StateShape, state_ids, state_layouts};
use deltascope_kernels::Buffer;
use deltascope_kernels::cuda::{CudaError, Device, DeviceBuffer, DeviceSlice};
use std::ops::Range;

/// The states of `n_slots` sequences. A state's memory holds one slot after another.
pub struct State {
    shape: StateShape,
    /// By state number.
    parts: Vec<Part>,
    positions: Vec<usize>,
}

/// One state of all slots.
struct Part {
    memory: Memory,
    /// Bytes of a slot.
    each: usize,
    /// A run changes it beyond recall.
    recurrent: bool,
}

enum Memory {
    Host(Buffer),
    Device(DeviceBuffer),
}

/// A copy of a slot's recurrent states, on the host, and its position. KV cells need no copy: those beyond the position
/// are written before they are read.
pub struct Checkpoint {
    slot: usize,
    position: usize,
    parts: Vec<Vec<u8>>,
}

impl State {
    /// Empty sequences, on a device if one is given.
    ///
    /// # Errors
    /// If the device has not so much memory free.
    pub fn new(c: &Config, shape: StateShape, device: Option<&Device>) -> Result<State, CudaError> {
        let mut parts = Vec::new();
        for layer in 0..c.n_layer() {
            let (first, second) = state_layouts(c, &shape, layer);
            debug_assert_eq!(state_ids(layer), (parts.len() as u32, parts.len() as u32 + 1));
            for l in [first, second] {
                let bytes = l.bytes() * shape.n_slots;
                let memory = match device {
                    None => Memory::Host(Buffer::zeroed(bytes)),
                    Some(device) => Memory::Device(DeviceBuffer::zeroed(device, bytes)?),
                };
                parts.push(Part { memory, each: l.bytes(), recurrent: c.layers[layer] == LayerKind::Delta });
            }
        }
        Ok(State { shape, parts, positions: vec![0; shape.n_slots] })
    }

    /// Bytes that a state of this shape takes, before it is taken.
    pub fn bytes_for(c: &Config, shape: StateShape) -> usize {
        (0..c.n_layer())
            .map(|layer| {
                let (a, b) = state_layouts(c, &shape, layer);
                (a.bytes() + b.bytes()).saturating_mul(shape.n_slots)
            })
            .fold(0, usize::saturating_add)
    }

    /// Its shape.
    pub fn shape(&self) -> StateShape {
        self.shape
    }

    /// Tokens that a slot has seen.
    pub fn position(&self, slot: usize) -> usize {
        self.positions[slot]
    }

    pub(crate) fn advance(&mut self, slot: usize, tokens: usize) {
        self.positions[slot] += tokens;
    }

    /// Forgets a sequence.
    ///
    /// # Errors
    /// The device's.
    pub fn reset(&mut self, slot: usize) -> Result<(), CudaError> {
        self.positions[slot] = 0;
        for part in self.parts.iter_mut().filter(|p| p.recurrent) {
            part.write(slot, &vec![0; part.each])?;
        }
        Ok(())
    }

    /// Copies what a run would change beyond recall.
    ///
    /// # Errors
    /// The device's.
    pub fn checkpoint(&self, slot: usize) -> Result<Checkpoint, CudaError> {
        let parts = self.parts.iter().filter(|p| p.recurrent).map(|p| p.read(slot)).collect::<Result<_, _>>()?;
        Ok(Checkpoint { slot, position: self.positions[slot], parts })
    }

    /// Goes back to a checkpoint of this state that is not ahead of the slot.
    ///
    /// # Errors
    /// The device's.
    pub fn restore(&mut self, c: &Checkpoint) -> Result<(), CudaError> {
        for (part, saved) in self.parts.iter_mut().filter(|p| p.recurrent).zip(&c.parts) {
            part.write(c.slot, saved)?;
        }
        self.positions[c.slot] = c.position;
        Ok(())
    }

    /// Start and length of a state from a slot on, if it is the host's.
    pub(crate) fn bind(&self, id: u32, slot: usize) -> Option<(*mut u8, usize)> {
        let part = self.parts.get(id as usize)?;
        let Memory::Host(buffer) = &part.memory else { return None };
        let from = slot * part.each;
        // SAFETY: a slot's part lies inside the buffer.
        Some((unsafe { buffer.as_ptr().add(from) }, buffer.len() - from))
    }

    /// A state from a slot on, if it is a device's.
    pub(crate) fn place(&self, id: u32, slot: usize) -> Option<DeviceSlice> {
        let part = self.parts.get(id as usize)?;
        let Memory::Device(buffer) = &part.memory else { return None };
        let (all, from) = (buffer.slice(), slot * part.each);
        Some(DeviceSlice { address: all.address + from as u64, len: all.len - from })
    }
}

impl Part {
    fn of(&self, slot: usize) -> Range<usize> {
        slot * self.each..(slot + 1) * self.each
    }

    fn read(&self, slot: usize) -> Result<Vec<u8>, CudaError> {
        let range = self.of(slot);
        match &self.memory {
            Memory::Host(buffer) => Ok(buffer.bytes()[range].to_vec()),
            Memory::Device(buffer) => {
                let mut bytes = vec![0; self.each];
                buffer.read(range.start, &mut bytes)?;
                Ok(bytes)
            }
        }
    }

    fn write(&mut self, slot: usize, bytes: &[u8]) -> Result<(), CudaError> {
        let range = self.of(slot);
        match &mut self.memory {
            Memory::Host(buffer) => buffer.bytes_mut()[range].copy_from_slice(bytes),
            Memory::Device(buffer) => buffer.write(range.start, bytes)?,
        }
        Ok(())
    }
}
