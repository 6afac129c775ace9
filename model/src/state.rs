//! What sequences keep between runs: the KV cache of attention layers, convolution and recurrent state of delta-net
//! layers.

use crate::config::{Config, LayerKind};
use crate::qwen3next::{StateShape, state_ids, state_layouts};
use deltascope_kernels::Buffer;

/// The states of `n_slots` sequences. A state's memory holds one slot after another.
pub struct State {
    shape: StateShape,
    /// By state number: memory and bytes of a slot.
    buffers: Vec<(Buffer, usize)>,
    recurrent: Vec<bool>,
    positions: Vec<usize>,
}

/// A copy of a slot's recurrent states and its position. KV cells need no copy: those beyond the position are written
/// before they are read.
pub struct Checkpoint {
    slot: usize,
    position: usize,
    parts: Vec<Vec<u8>>,
}

impl State {
    /// Empty sequences.
    pub fn new(c: &Config, shape: StateShape) -> State {
        let mut buffers = Vec::new();
        let mut recurrent = Vec::new();
        for layer in 0..c.n_layer() {
            let (first, second) = state_layouts(c, &shape, layer);
            debug_assert_eq!(state_ids(layer), (buffers.len() as u32, buffers.len() as u32 + 1));
            for l in [first, second] {
                buffers.push((Buffer::zeroed(l.bytes() * shape.n_slots), l.bytes()));
                recurrent.push(c.layers[layer] == LayerKind::Delta);
            }
        }
        State { shape, buffers, recurrent, positions: vec![0; shape.n_slots] }
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
    pub fn reset(&mut self, slot: usize) {
        self.positions[slot] = 0;
        for ((buffer, each), recurrent) in self.buffers.iter_mut().zip(&self.recurrent) {
            if *recurrent {
                buffer.bytes_mut()[slot * *each..(slot + 1) * *each].fill(0);
            }
        }
    }

    /// Copies what a run would change beyond recall.
    pub fn checkpoint(&self, slot: usize) -> Checkpoint {
        let parts = self
            .buffers
            .iter()
            .zip(&self.recurrent)
            .filter(|(_, r)| **r)
            .map(|((b, each), _)| b.bytes()[slot * each..(slot + 1) * each].to_vec())
            .collect();
        Checkpoint { slot, position: self.positions[slot], parts }
    }

    /// Goes back to a checkpoint of this state that is not ahead of the slot.
    pub fn restore(&mut self, c: &Checkpoint) {
        let recurrent = self.buffers.iter_mut().zip(&self.recurrent).filter(|(_, r)| **r);
        for (((buffer, each), _), part) in recurrent.zip(&c.parts) {
            buffer.bytes_mut()[c.slot * *each..(c.slot + 1) * *each].copy_from_slice(part);
        }
        self.positions[c.slot] = c.position;
    }

    /// Start and length of a state from a slot on.
    pub(crate) fn bind(&self, id: u32, slot: usize) -> Option<(*mut u8, usize)> {
        let (buffer, each) = self.buffers.get(id as usize)?;
        let from = slot * each;
        // SAFETY: a slot's part lies inside the buffer.
        Some((unsafe { buffer.as_ptr().add(from) }, buffer.len() - from))
    }
}
