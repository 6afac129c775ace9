//! A plan on a device: addresses, arguments, launches.

use super::device::Function;
use super::error::Attempt;
use super::kernel::Arg;
use super::transfer::Transfer;
use super::{CudaError, Device, DeviceBuffer, DeviceSlice};
use crate::graph::{StorageId, StorageKind};
use crate::plan::{Plan, StepKernel};
use crate::{Backend, Layout, ValueId};
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::ffi::c_void;

/// Says where the memory that the caller owns lies on the device: weights, inputs, states.
pub trait Places {
    /// The memory of a storage, none if it has none.
    fn place(&self, kind: StorageKind) -> Option<DeviceSlice>;

    /// Start and length of a temporary or output on the host, where some of the plan runs there.
    fn host(&self, _storage: StorageId) -> Option<(*mut u8, usize)> {
        None
    }
}

/// A plan's launches with addresses, and its arena. Good for as long as what it was bound to stays where it is.
pub struct Bound {
    device: Device,
    arena: DeviceBuffer,
    /// By step; none where it is a transfer or the processor's.
    steps: Vec<Vec<Ready>>,
    transfers: HashMap<usize, Transfer>,
    outputs: Vec<(u32, usize, usize)>,
    /// Where each storage of the plan lies.
    bases: Vec<Option<DeviceSlice>>,
}

/// A launch with its arguments.
struct Ready {
    entry: &'static str,
    function: Function,
    grid: [u32; 3],
    block: [u32; 3],
    /// Bytes of shared memory beyond what the kernel declares.
    shared: u32,
    /// Arguments side by side, each aligned to 8.
    words: Vec<u64>,
    /// Where each argument starts, in words.
    starts: Vec<usize>,
}

impl Bound {
    /// Compiles the plan's kernels and gives every view of its CUDA steps its address. The arena starts as zeros.
    ///
    /// # Errors
    /// If no step is for CUDA, a kernel does not compile, or memory is missing.
    ///
    /// # Safety
    /// What `to` names stays live on the device for as long as the result is used, and nobody else writes it while the
    /// plan runs.
    pub unsafe fn new(device: &Device, plan: &Plan, to: &dyn Places) -> Result<Bound, CudaError> {
        if !plan.runs_on(Backend::Cuda) {
            return Err(CudaError::NotCuda);
        }
        let arena = DeviceBuffer::zeroed(device, plan.arena_bytes)?;
        let mut outputs = Vec::new();
        let mut bases = Vec::with_capacity(plan.graph.storages.len());
        for (i, s) in plan.graph.storages.iter().enumerate() {
            bases.push(match s.kind {
                StorageKind::Temp | StorageKind::Output(_) => {
                    let at = plan.arena_offset(StorageId(i as u32)).unwrap_or(0);
                    if let StorageKind::Output(id) = s.kind {
                        outputs.push((id, at, s.bytes));
                    }
                    Some(DeviceSlice { address: arena.slice().address + at as u64, len: s.bytes })
                }
                kind => to.place(kind),
            });
        }
        let address = |v: ValueId| -> Result<(u64, Layout), CudaError> {
            let value = plan.graph.value(v);
            let kind = plan.graph.storage(v).kind;
            let need = value.offset + value.layout.span();
            match bases[value.storage.0 as usize] {
                Some(base) if need <= base.len => Ok((base.address + value.offset as u64, value.layout)),
                base => Err(CudaError::Unbound { kind, have: base.map_or(0, |b| b.len), need }),
            }
        };
        let mut steps = Vec::with_capacity(plan.steps.len());
        let mut transfers = HashMap::new();
        for (number, step) in plan.steps.iter().enumerate() {
            let mut ready = Vec::new();
            let kernel = match step.kernel {
                StepKernel::Cuda(kernel) => kernel,
                StepKernel::Transfer => {
                    let (address, layout) = address(step.inputs[0])?;
                    let device = DeviceSlice { address, len: layout.span() };
                    transfers.insert(number, Transfer::new(step, &plan.graph, device, to)?);
                    steps.push(ready);
                    continue;
                }
                StepKernel::Cpu(_) => {
                    steps.push(ready);
                    continue;
                }
            };
            let unit = kernel.unit(&step.inst, &step.tunables);
            for launch in kernel.launches(&step.inst, &step.tunables).into_iter().filter(|l| !l.is_empty()) {
                let function = device.function(&unit, launch.entry)?;
                let mut r = Ready {
                    entry: launch.entry,
                    function,
                    shared: device.shared(function, launch.shared)?,
                    grid: launch.grid.map(|n| n as u32),
                    block: launch.block.map(|n| n as u32),
                    words: Vec::new(),
                    starts: Vec::new(),
                };
                for arg in &launch.args {
                    r.starts.push(r.words.len());
                    match arg {
                        Arg::Input(i) => push_tensor(&mut r.words, address(step.inputs[*i])?),
                        Arg::Output(i) => push_tensor(&mut r.words, address(step.outputs[*i])?),
                        Arg::Scratch => r.words.push(step.shared.map(address).transpose()?.map_or(0, |(a, _)| a)),
                        Arg::ScratchAt(at) => {
                            let base = step.shared.map(address).transpose()?.map_or(0, |(a, _)| a);
                            r.words.push(base + *at as u64);
                        }
                        Arg::I32(v) => r.words.push(u64::from(*v as u32)),
                        Arg::F32(v) => r.words.push(u64::from(v.to_bits())),
                        Arg::Floats(v) => r.words.extend(v.chunks(2).map(pair)),
                    }
                }
                ready.push(r);
            }
            steps.push(ready);
        }
        Ok(Bound { device: device.clone(), arena, steps, transfers, outputs, bases })
    }

    /// The device that it is bound to.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// An output's bytes after a run.
    ///
    /// # Errors
    /// The driver's, also of the run.
    pub fn output(&self, id: u32) -> Result<Option<Vec<u8>>, CudaError> {
        let Some(&(_, at, len)) = self.outputs.iter().find(|o| o.0 == id) else { return Ok(None) };
        let mut bytes = vec![0; len];
        self.arena.read(at, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// A copy of the bytes that a value of the plan reaches now, wherever it lies: for tapping live inputs. Only values
    /// that a step uses have an address; others are empty.
    ///
    /// # Errors
    /// The driver's, also of what was launched before.
    pub fn read(&self, plan: &Plan, v: ValueId) -> Result<Vec<u8>, CudaError> {
        let value = plan.graph.value(v);
        let n = value.layout.span();
        match self.bases[value.storage.0 as usize] {
            Some(base) if value.offset + n <= base.len => {
                let mut bytes = vec![0; n];
                self.device.read(DeviceSlice { address: base.address + value.offset as u64, len: n }, &mut bytes)?;
                Ok(bytes)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Where an output lies, for what goes on on the device.
    pub fn output_place(&self, id: u32) -> Option<DeviceSlice> {
        let &(_, at, len) = self.outputs.iter().find(|o| o.0 == id)?;
        Some(DeviceSlice { address: self.arena.slice().address + at as u64, len })
    }

    /// The kernels of some steps in the order of their launches, each with its step. Transfers have none.
    pub fn kernels(&self, steps: std::ops::Range<usize>) -> Vec<(usize, &'static str)> {
        steps.flat_map(|step| self.steps[step].iter().map(move |r| (step, r.entry))).collect()
    }

    /// Launches a step. Early: its kernels may start while what was launched before still runs; they wait themselves.
    fn launch(&self, step: usize, early: bool) -> Result<(), CudaError> {
        if let Some(transfer) = self.transfers.get(&step) {
            return transfer.launch(&self.device);
        }
        for r in &self.steps[step] {
            let mut params: Vec<*mut c_void> =
                r.starts.iter().map(|&at| r.words[at..].as_ptr().cast_mut().cast()).collect();
            let ([gx, gy, gz], [bx, by, bz]) = (r.grid, r.block);
            let stream = self.device.stream();
            // The driver copies arguments before it returns.
            // SAFETY: arguments are as the kernel declares them; `new` checked their memory, which its caller keeps.
            let launched = unsafe {
                if early {
                    let mut attribute = early_start();
                    let config = sys::CUlaunchConfig {
                        gridDimX: gx,
                        gridDimY: gy,
                        gridDimZ: gz,
                        blockDimX: bx,
                        blockDimY: by,
                        blockDimZ: bz,
                        sharedMemBytes: r.shared,
                        hStream: stream,
                        attrs: &mut attribute,
                        numAttrs: 1,
                    };
                    let none = std::ptr::null_mut();
                    sys::cuLaunchKernelEx(&config, r.function.0, params.as_mut_ptr(), none).result()
                } else {
                    result::launch_kernel(r.function.0, (gx, gy, gz), (bx, by, bz), r.shared, stream, &mut params)
                }
            };
            launched.attempt("launching a kernel")?;
        }
        Ok(())
    }
}

/// Programmatic dependent launch: the kernel before lets this one start.
fn early_start() -> sys::CUlaunchAttribute {
    sys::CUlaunchAttribute {
        id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: [0; 4],
        value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
    }
}

/// `Tensor` of the prelude: address, four ints, four strides.
fn push_tensor(words: &mut Vec<u64>, (address, layout): (u64, Layout)) {
    words.push(address);
    words.extend(layout.ne.chunks(2).map(|n| n[0] as u64 | (n[1] as u64) << 32));
    words.extend(layout.nb.map(|n| n as u64));
}

fn pair(v: &[f32]) -> u64 {
    u64::from(v[0].to_bits()) | u64::from(v.get(1).map_or(0, |f| f.to_bits())) << 32
}

/// Time of each step of a run, from the event after the step before to the one after it: attributed time, which is more
/// than the steps take without events between them.
pub struct StepTimes {
    events: Vec<sys::CUevent>,
    device: Device,
}

impl StepTimes {
    /// Room for so many steps.
    ///
    /// # Errors
    /// The driver's.
    pub fn new(device: &Device, steps: usize) -> Result<StepTimes, CudaError> {
        device.enter()?;
        let mut t = StepTimes { events: Vec::with_capacity(steps + 1), device: device.clone() };
        for _ in 0..=steps {
            let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
            t.events.push(result::event::create(flags).attempt("making an event")?);
        }
        Ok(t)
    }

    fn record(&self, at: usize, flags: sys::CUevent_record_flags) -> Result<(), CudaError> {
        // SAFETY: event and stream live as long as `self`.
        unsafe { sys::cuEventRecordWithFlags(self.events[at], self.device.stream(), flags as u32).result() }
            .attempt("recording an event")
    }

    /// Microseconds of each of the first `steps` steps; waits for the run.
    ///
    /// # Errors
    /// The driver's, also of the run.
    pub fn micros(&self, steps: usize) -> Result<Vec<f64>, CudaError> {
        self.device.synchronize()?;
        let pair = |w: &[sys::CUevent]| {
            // SAFETY: both were recorded in the run before, which is done.
            unsafe { result::event::elapsed(w[0], w[1]) }.attempt("reading an event").map(|ms| f64::from(ms) * 1e3)
        };
        self.events[..=steps].windows(2).map(pair).collect()
    }
}

impl Drop for StepTimes {
    fn drop(&mut self) {
        for &e in &self.events {
            // SAFETY: each is destroyed once; the driver waits for its use.
            let _ = unsafe { result::event::destroy(e) };
        }
    }
}

/// Launches steps `range`, of a CUDA leg; does not wait. With `times` there is an event before the first and after each.
///
/// # Errors
/// The driver's.
///
/// # Panics
/// If `times` has room for fewer steps.
pub fn run(bound: &mut Bound, range: std::ops::Range<usize>, times: Option<&StepTimes>) -> Result<(), CudaError> {
    launch(bound, range, times, sys::CUevent_record_flags::CU_EVENT_RECORD_DEFAULT)
}

/// As [`run`]; in a graph that is being recorded, events are nodes of it if they are external.
pub(super) fn launch(
    bound: &Bound,
    range: std::ops::Range<usize>,
    times: Option<&StepTimes>,
    flags: sys::CUevent_record_flags,
) -> Result<(), CudaError> {
    bound.device.enter()?;
    if let Some(t) = times {
        t.record(0, flags)?;
    }
    // A kernel that follows copies does not start early; and with events between them, each kernel's time is to be its
    // own.
    let early = times.is_none() && bound.device.starts_early();
    for (n, step) in range.enumerate() {
        let follows_kernel = n > 0 && !bound.transfers.contains_key(&(step - 1));
        bound.launch(step, early && follows_kernel)?;
        if let Some(t) = times {
            t.record(n + 1, flags)?;
        }
    }
    Ok(())
}
