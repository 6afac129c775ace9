//! What a profile was measured on: the machine and the model.

use serde::{Deserialize, Serialize};

/// The machine that a profile was measured on, or the one at hand.
///
/// What is absent (or `"*"`) is not compared; see [`Profile::fit`](crate::Profile::fit).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The processor's name, `"AMD EPYC (Zen 3)"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// CPU features that kernels were chosen by, `["avx2", "fma", "f16c"]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub isa: Vec<String>,
    /// Cores that the process may use, after affinity and quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Memory, in GiB. Said for the reader; never compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<u32>,
    /// The GPUs in device order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
}

/// One GPU of a [`Machine`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// The device's name as the driver gives it.
    pub name: String,
    /// Compute capability, `"9.0"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    /// Device memory, in GiB. Never compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<u32>,
    /// The driver's version. Never compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// The model that a profile was measured on, or the one at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelId {
    /// The architecture, `"qwen3next"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Its size in words: layers, width, experts; `"8l-256d-16e"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geometry: Option<String>,
    /// The types of its weights, `["Q4_K", "Q6_K"]`, in any order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// A hash of all tensors' names, shapes and types: not of weights, so that a finetune keeps its profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}
