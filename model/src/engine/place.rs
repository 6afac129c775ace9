//! Where an engine runs: what was asked for against what there is.

use super::{EngineError, Place};
use crate::model::Model;
use crate::qwen3next::StateShape;
use crate::state::State;
use deltascope_kernels::cuda::{CudaError, Device};

/// An open GPU, or none and why not.
#[derive(Debug)]
pub(super) struct Found<D> {
    /// The GPU to run on; the processor if there is none.
    pub gpu: Option<D>,
    /// Why a GPU that is there is not used.
    pub note: Option<String>,
}

/// Bytes that temporaries, compiled kernels and the driver's own needs are left.
const HEADROOM: usize = 256 << 20;

/// What a model takes of a GPU's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// All weights.
    pub weights: usize,
    /// All sequences' states.
    pub state: usize,
}

impl Need {
    pub fn of(model: &Model, shape: StateShape) -> Need {
        Need { weights: model.weights.bytes() as usize, state: State::bytes_for(&model.config, shape) }
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

/// The place for a model on this machine.
///
/// # Errors
/// If a GPU is asked for and there is none that the model fits.
pub(super) fn find(place: Place, need: Need) -> Result<Found<Device>, EngineError> {
    settle(place, || Device::first().cloned(), |device| need.fits(device.memory()?.0))
}

/// The place, given how a GPU is opened and whether the model fits it.
fn settle<D>(
    place: Place,
    open: impl FnOnce() -> Result<D, CudaError>,
    fits: impl FnOnce(&D) -> Result<(), EngineError>,
) -> Result<Found<D>, EngineError> {
    let none = |note| Ok(Found { gpu: None, note });
    if place == Place::Cpu {
        return none(None);
    }
    let opened = open().map_err(EngineError::from).and_then(|gpu| fits(&gpu).map(|()| gpu));
    match (opened, place) {
        (Ok(gpu), _) => Ok(Found { gpu: Some(gpu), note: None }),
        // A machine without a GPU is nothing to speak of where none was asked for.
        (Err(EngineError::Cuda(CudaError::NoDriver)), Place::Auto) => none(None),
        (Err(e), Place::Auto) => none(Some(format!("the GPU is not used: {e}"))),
        (Err(e), _) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown() -> CudaError {
        CudaError::UnknownArchitecture { nvrtc: "12.9".into(), capability: (13, 0), known: "sm_75, sm_90".into() }
    }

    fn place(place: Place, open: Result<u8, CudaError>, need: Need, free: usize) -> Result<Found<u8>, EngineError> {
        settle(place, || open, |_| need.fits(free))
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
        let cpu: Found<u8> = settle(Place::Cpu, || panic!("opened"), |_| panic!("asked")).unwrap();
        assert!(cpu.gpu.is_none() && cpu.note.is_none());
    }
}
