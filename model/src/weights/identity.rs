//! What a profile compares to tell whether it was made for this model: sizes and types, never the weights.

use std::collections::BTreeMap;

use deltascope_kernels::DType;

use super::{AttentionInput, DeltaInput, ExpertInput, MixerWeights, Weights};
use crate::gguf::TensorInfo;

impl Weights {
    /// The size in short: `48l-2048d-512e` for layers, width and experts.
    pub fn geometry(&self) -> &str {
        &self.geometry
    }

    /// Types of the matrices, those with most bytes first. The float types are left out if any matrix is quantised:
    /// they hold little beside.
    pub fn types(&self) -> Vec<DType> {
        let mut bytes = BTreeMap::<DType, usize>::new();
        for t in self.tensors() {
            if t.ne()[1] > 1 {
                *bytes.entry(t.dtype()).or_default() += t.range().len();
            }
        }
        let quantised = bytes.keys().any(|t| t.is_quantised());
        let mut types: Vec<_> = bytes.into_iter().filter(|(t, _)| t.is_quantised() == quantised).collect();
        types.sort_by_key(|(t, n)| (std::cmp::Reverse(*n), *t));
        types.into_iter().map(|(t, _)| t).collect()
    }

    /// FNV-1a (64 bits) over names, types and shapes of the tensors in use, in hex. Two files have the same fingerprint
    /// exactly if all kernels see the same shapes and types.
    pub fn fingerprint(&self) -> String {
        let mut tensors: Vec<_> = self.tensors().collect();
        tensors.sort_by_key(|t| t.name());
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for t in tensors {
            for byte in format!("{} {} {:?}\n", t.name(), t.dtype(), t.ne()).bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        format!("{hash:016x}")
    }

    /// Bytes of all tensors in use; a tied output is counted once.
    pub fn bytes(&self) -> u64 {
        self.tensors().map(|t| t.range().len() as u64).sum()
    }

    /// All tensors in use, in the order of the graph; a tied output is listed once, as the embedding.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        let ends = [&self.output_norm].into_iter().chain((!self.output_is_tied).then_some(&self.output));
        let layers = self.layers.iter().flat_map(|l| {
            let m = &l.moe;
            let mut all = vec![&l.attn_norm];
            match &l.mixer {
                MixerWeights::Attention(a) => {
                    match &a.qkv {
                        AttentionInput::Separate { q, k, v } => all.extend([q, k, v]),
                        AttentionInput::Fused(qkv) => all.push(qkv),
                    }
                    all.extend([&a.q_norm, &a.k_norm, &a.output]);
                }
                MixerWeights::Delta(d) => {
                    match &d.input {
                        DeltaInput::Split { qkv, gate } => all.extend([qkv, gate]),
                        DeltaInput::Legacy(input) => all.push(input),
                    }
                    all.extend([&d.ba, &d.conv1d, &d.dt_bias, &d.a, &d.norm, &d.output]);
                }
            }
            all.extend([&l.post_attention_norm, &m.router]);
            match &m.experts {
                ExpertInput::Separate { gate, up } => all.extend([gate, up]),
                ExpertInput::Merged(gate_up) => all.push(gate_up),
            }
            all.extend([&m.down, &m.shared_router, &m.shared_gate, &m.shared_up, &m.shared_down]);
            all
        });
        [&self.token_embd].into_iter().chain(layers).chain(ends)
    }
}
