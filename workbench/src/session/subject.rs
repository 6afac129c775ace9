//! What a session runs, and on what: constant while it lasts.

use super::snapshot::Subject;
use deltascope_kernels::cpu::{self, Isa, Topology};
use deltascope_model::{Engine, Model};
use deltascope_profiles::Machine;
use std::path::PathBuf;

/// Of an engine; memory's bandwidth takes a while and is left out.
pub(super) fn of(engine: &Engine, machine: &Machine, path: String, save_path: PathBuf) -> Subject {
    let model = engine.model();
    Subject {
        model: model.name.clone(),
        weights: weights_line(model),
        geometry: model.weights.geometry().to_owned(),
        path,
        cpu: machine.cpu.clone().unwrap_or_else(|| "unknown CPU".to_owned()),
        isa: Isa::detect().name(),
        cores: machine.cores.map_or(1, |n| n as usize),
        backend: engine.backend(),
        gpu: engine.device().map(|d| d.name.clone()),
        bandwidth: None,
        bytes_per_token: model.bytes_per_token(),
        save_path,
    }
}

/// Bytes a second that as many threads as decode has read from memory; of a GPU what its memory gives by its clock.
pub(super) fn bandwidth(engine: &Engine) -> Option<f64> {
    match engine.device() {
        Some(gpu) => Some(gpu.bandwidth).filter(|&b| b > 0.0),
        None => Some(cpu::bandwidth::read_bandwidth(
            engine.options().threads_decode,
            cpu::bandwidth::buffer_bytes(&Topology::detect()),
        )),
    }
}

/// `Q4_K Q6_K 13 MB`
fn weights_line(model: &Model) -> String {
    let mut types: Vec<&str> =
        model.weights.types().into_iter().filter(|t| t.is_quantised()).map(|t| t.name()).collect();
    if types.is_empty() {
        types = model.weights.types().into_iter().map(|t| t.name()).collect();
    }
    let mb = model.weights.bytes() as f64 / 1e6;
    let size = if mb < 1000.0 { format!("{mb:.0} MB") } else { format!("{:.1} GB", mb / 1000.0) };
    format!("{} {size}", types.join(" "))
}
