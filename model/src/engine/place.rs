//! Where an engine runs: what was asked for against what there is.

use super::{EngineError, Place};
use crate::choice::{ProfileChooser, placed_on};
use crate::device_weights::wanted;
use crate::model::Model;
use crate::qwen3next::{self, BatchShape, Logits, StateShape};
use crate::state::State;
use deltascope_kernels::Backend;
use deltascope_kernels::cuda::{CudaError, Device};
use deltascope_kernels::plan::Plan;
use deltascope_profiles::{Phase, Stack};
use std::collections::BTreeSet;

/// An open GPU, or none and why not.
#[derive(Debug)]
pub(super) struct Found<D> {
    /// Where nodes run that are not placed elsewhere.
    pub main: Backend,
    /// The GPU to run on, or to place nodes on.
    pub gpu: Option<D>,
    /// Why a GPU that is there is not used, or one that placements name is not there.
    pub note: Option<String>,
}

/// Bytes that temporaries, compiled kernels and the driver's own needs are left.
const HEADROOM: usize = 256 << 20;

/// What a model takes of a GPU's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// All weights that nodes on the GPU read.
    pub weights: usize,
    /// All sequences' states, if they are there.
    pub state: usize,
}

impl Need {
    /// Of a model whose nodes run on `main`, but for those that the profiles place elsewhere.
    pub fn of(model: &Model, shape: StateShape, main: Backend, stack: &Stack) -> Need {
        let state = if main == Backend::Cuda { State::bytes_for(&model.config, shape) } else { 0 };
        let weights = if stack.places().next().is_none() {
            model.weights.bytes() as usize
        } else {
            let on_gpu = weights_on_gpu(model, shape, main, stack);
            on_gpu.iter().filter_map(|&id| model.weight(id)).map(|t| t.data().len()).sum()
        };
        Need { weights, state }
    }

    /// Whether it fits so much free memory. Asked before anything is taken.
    ///
    /// # Errors
    /// If it does not.
    pub fn fits(&self, free: usize) -> Result<(), EngineError> {
        let need = self.weights.saturating_add(self.state).saturating_add(HEADROOM);
        if need > free {
            let what = "running the model on the GPU";
            return Err(EngineError::Memory { what, need: need >> 20, available: free >> 20 });
        }
        Ok(())
    }
}

/// Weights that the GPU's part of a plan reads. Parts run on the same side in every phase.
fn weights_on_gpu(model: &Model, state: StateShape, main: Backend, stack: &Stack) -> BTreeSet<u32> {
    let shape = BatchShape { n_tokens: 1, n_seqs: 1, n_kv: state.n_ctx.min(256), logits: Logits::Last };
    let graph = qwen3next::build(&model.config, &model.weights, &model.weight_ids, state, shape);
    let chooser = ProfileChooser { stack, phase: Phase::Decode, tokens: 1, backend: main, gpu: true };
    // Where there is no plan, that is what the user is told when one is made.
    let plan = Plan::build(graph, &chooser, 1).ok();
    plan.iter().flat_map(wanted).map(|(id, _)| id).collect()
}

/// The place for a model on this machine.
///
/// # Errors
/// If a GPU is asked for and there is none that the model fits.
pub(super) fn find(
    place: Place,
    model: &Model,
    shape: StateShape,
    stack: &Stack,
) -> Result<Found<Device>, EngineError> {
    let main = if place == Place::Cpu { Backend::Cpu } else { Backend::Cuda };
    let named = stack.places().any(|place| placed_on(place.backend, true) == Some(Backend::Cuda));
    let need = || Need::of(model, shape, main, stack);
    settle(place, named, || Device::first().cloned(), |device| need().fits(device.memory()?.0))
}

/// The place, given whether a GPU is named by placements, how it is opened and whether the model fits it.
fn settle<D>(
    place: Place,
    named: bool,
    open: impl FnOnce() -> Result<D, CudaError>,
    fits: impl FnOnce(&D) -> Result<(), EngineError>,
) -> Result<Found<D>, EngineError> {
    let none = |note| Ok(Found { main: Backend::Cpu, gpu: None, note });
    if place == Place::Cpu && !named {
        return none(None);
    }
    let main = if place == Place::Cpu { Backend::Cpu } else { Backend::Cuda };
    let opened = open().map_err(EngineError::from).and_then(|gpu| fits(&gpu).map(|()| gpu));
    match (opened, place) {
        (Ok(gpu), _) => Ok(Found { main, gpu: Some(gpu), note: None }),
        // A machine without a GPU is nothing to speak of where none was asked for.
        (Err(EngineError::Cuda(CudaError::NoDriver)), Place::Auto) if !named => none(None),
        (Err(e), Place::Auto | Place::Cpu) => none(Some(format!("the GPU is not used: {e}"))),
        (Err(e), Place::Cuda) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> CudaError {
        CudaError::UnknownArchitecture { nvrtc: "12.9".into(), capability: (13, 0), known: "sm_75, sm_90".into() }
    }

    fn place(place: Place, open: Result<u8, CudaError>, need: Need, free: usize) -> Result<Found<u8>, EngineError> {
        settle(place, false, || open, |_| need.fits(free))
    }

    const SMALL: Need = Need { weights: 1 << 20, state: 1 << 20 };
    const LARGE: Need = Need { weights: 80 << 30, state: 1 << 30 };

    #[test]
    fn what_is_missing_for_a_gpu_is_an_error_where_it_was_asked_for_and_leaves_auto_on_the_processor() {
        let missing = [
            (CudaError::NoDriver, "no CUDA driver"),
            (CudaError::NoNvrtc("libnvrtc.so.12".into()), "no NVRTC (looked for libnvrtc.so.12)"),
            (unknown(), "compute capability 13.0"),
            (CudaError::NoDevice("it counts none".into()), "no device"),
        ];
        for (error, words) in missing {
            let asked = place(Place::Cuda, Err(error.clone()), SMALL, 1 << 40).unwrap_err().to_string();
            assert!(asked.contains(words), "{asked}");
            let auto = place(Place::Auto, Err(error.clone()), SMALL, 1 << 40).unwrap();
            assert!(auto.gpu.is_none());
            match error {
                CudaError::NoDriver => assert_eq!(auto.note, None),
                _ => assert!(auto.note.unwrap().contains(words)),
            }
        }
    }

    #[test]
    fn a_model_that_does_not_fit_is_refused_before_anything_is_taken() {
        let e = place(Place::Cuda, Ok(0), LARGE, 24 << 30).unwrap_err();
        assert!(matches!(e, EngineError::Memory { available: 24576, .. }), "{e}");
        assert!(e.to_string().contains("83200 MiB") && e.to_string().contains("24576 MiB are available"), "{e}");
        let auto = place(Place::Auto, Ok(0), LARGE, 24 << 30).unwrap();
        assert!(auto.gpu.is_none() && auto.note.unwrap().contains("24576 MiB"));
        assert!(Need { weights: usize::MAX, state: usize::MAX }.fits(usize::MAX - 1).is_err());
    }

    #[test]
    fn a_gpu_that_serves_is_taken_and_the_processor_asks_for_none() {
        for choice in [Place::Cuda, Place::Auto] {
            assert_eq!(place(choice, Ok(7), SMALL, 1 << 40).unwrap().gpu, Some(7));
        }
        let cpu: Found<u8> = settle(Place::Cpu, false, || panic!("opened"), |_| panic!("asked")).unwrap();
        assert!(cpu.gpu.is_none() && cpu.note.is_none());
    }

    #[test]
    fn a_gpu_that_placements_name_is_opened_beside_the_processor_and_said_to_be_missing_where_it_is() {
        let there = settle(Place::Cpu, true, || Ok(7), |_| SMALL.fits(1 << 40)).unwrap();
        assert_eq!((there.main, there.gpu, there.note), (Backend::Cpu, Some(7), None));
        for place in [Place::Cpu, Place::Auto] {
            let missing: Found<u8> = settle(place, true, || Err(CudaError::NoDriver), |_| Ok(())).unwrap();
            assert!(missing.gpu.is_none() && missing.note.unwrap().contains("no CUDA driver"));
        }
    }

    #[test]
    fn only_what_is_placed_on_the_gpu_has_to_fit_it() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/deltascope-demo-q4_k_m.gguf");
        let model = Model::open(file).unwrap();
        let shape = StateShape { n_slots: 1, n_ctx: 256, kv_type: deltascope_kernels::DType::F16 };
        let need = |main, places: &[&str]| {
            let mut stack = Stack::new();
            stack.session_mut().places = places.iter().map(|p| p.parse().unwrap()).collect();
            Need::of(&model, shape, main, &stack)
        };
        let (all, none) = (need(Backend::Cuda, &[]), need(Backend::Cpu, &["nobody=cuda"]));
        assert_eq!(need(Backend::Cuda, &["nobody=cpu"]), all);
        assert_eq!(none, Need { weights: 0, state: 0 });
        let (rest, experts) = (need(Backend::Cuda, &["blk.*.ffn*=cpu"]), need(Backend::Cpu, &["blk.*.ffn=cuda"]));
        assert_eq!(rest.state, all.state);
        assert!(
            experts.weights > all.weights / 2 && rest.weights + experts.weights == all.weights,
            "{rest:?} {experts:?}"
        );
        // The shared expert stays unless it is named.
        let beside = need(Backend::Cuda, &["blk.*.ffn=cpu"]);
        assert!(beside.weights > rest.weights && beside.weights - rest.weights < experts.weights / 4, "{beside:?}");
    }
}
