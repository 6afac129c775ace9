//! One instance, one variant, given inputs: the smallest plan there is.

use super::on_device::on_device;
use super::{Difference, difference};
use crate::Buffer;
use crate::cuda::{CudaError, Device};
use crate::exec::{BindError, Bindings, Bound, run};
use crate::graph::{Graph, StorageKind, ValueId};
use crate::plan::{Chooser, Chosen, Plan, PlanError};
use crate::pool::Pool;
use crate::variant::{Instance, Tunables, Variant};
use crate::{Backend, Layout, Packing, Params, ops};

/// A tensor of its own: a layout over owned bytes.
#[derive(Debug)]
pub struct Tensor {
    /// Shape and strides, from the start of the bytes.
    pub layout: Layout,
    /// At least the layout's span.
    pub data: Buffer,
}

impl Clone for Tensor {
    fn clone(&self) -> Self {
        Tensor { layout: self.layout, data: Buffer::from_bytes(self.data.bytes()) }
    }
}

impl Tensor {
    /// F32, contiguous.
    pub fn f32(ne: [usize; 4], values: &[f32]) -> Tensor {
        Tensor { layout: Layout::f32(ne), data: Buffer::from_f32(values) }
    }
}

/// What a run left behind: the outputs, and the inputs that the op writes (states), in the op's order.
#[derive(Debug)]
pub struct Outcome {
    /// Contiguous, in the op's order.
    pub outputs: Vec<Tensor>,
    /// Inputs after the run, those of [`ops::OpDef::updates`].
    pub states: Vec<Tensor>,
    /// Wall time of the steps, microseconds.
    pub micros: f64,
}

/// Why a single run was not possible.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The variant does not serve the instance.
    #[error("{0}")]
    Unsupported(#[from] crate::Reason),
    /// A buffer is missing or too small.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The GPU, or that there is none.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

/// Chooses one variant for the op itself and leaves everything below to another chooser.
struct Only<'a> {
    variant: &'a str,
    backend: Backend,
    tunables: &'a Tunables,
    spec: &'a crate::Spec,
    below: &'a dyn Chooser,
}

/// The name of the node in a single plan.
const NODE: &str = "single";

impl Chooser for Only<'_> {
    fn choose(&self, name: &str, inst: &Instance) -> Option<Chosen> {
        if name != NODE {
            return self.below.choose(name, inst);
        }
        let mut tunables: Vec<(String, i64)> =
            self.spec.tunables.iter().zip(self.tunables.values()).map(|(t, &v)| (t.name.to_owned(), v)).collect();
        tunables.extend(self.tunables.threads.map(|t| ("threads".to_owned(), t as i64)));
        tunables.extend(self.tunables.redundant.map(|r| ("redundant".to_owned(), i64::from(r))));
        Some(Chosen { variant: Some(self.variant.to_owned()), revision: None, tunables, origin: NODE.to_owned() })
    }

    fn backend(&self) -> Backend {
        self.backend
    }
}

/// Memory of a single run: inputs by number, whether weights or states.
struct Given<'a> {
    inputs: &'a [Tensor],
    packed: Vec<((u32, Packing), Buffer)>,
}

impl Bindings for Given<'_> {
    fn weight(&self, id: u32) -> Option<(*const u8, usize)> {
        self.inputs.get(id as usize).map(|t| (t.data.as_ptr().cast_const(), t.data.len()))
    }

    fn packed(&self, id: u32, packing: Packing) -> Option<(*const u8, usize)> {
        let (_, b) = self.packed.iter().find(|(k, _)| *k == (id, packing))?;
        Some((b.as_ptr().cast_const(), b.len()))
    }

    fn input(&self, id: u32) -> Option<(*mut u8, usize)> {
        self.inputs.get(id as usize).map(|t| (t.data.as_ptr(), t.data.len()))
    }

    fn state(&self, id: u32) -> Option<(*mut u8, usize)> {
        self.input(id)
    }
}

/// Which inputs are weights: constants that a variant may pack. Block types always are; plain types if the op says so.
fn is_weight(inst: &Instance, i: usize) -> bool {
    let name = ops::def(inst.op).inputs()[i];
    inst.inputs[i].dtype.is_quantised() || name.starts_with('w') || name.ends_with("_exps") || name.ends_with("_shexp")
}

/// Runs a variant on inputs. `alias` names an (output, input) pair that is to be the same memory.
///
/// # Errors
/// If the variant does not serve the instance.
pub fn run_variant(
    pool: &mut Pool,
    variant: &dyn Variant,
    tunables: &Tunables,
    params: Params,
    inputs: &[Tensor],
    alias: Option<(usize, usize)>,
    below: &dyn Chooser,
) -> Result<Outcome, RunError> {
    run_on(variant.spec().backend, pool, variant, tunables, params, inputs, alias, below)
}

/// As [`run_variant`], on a backend that the variant serves: lowerings serve several. On CUDA the first device runs it.
///
/// # Errors
/// If the variant does not serve the instance, or there is no device.
#[allow(clippy::too_many_arguments)]
pub fn run_on(
    backend: Backend,
    pool: &mut Pool,
    variant: &dyn Variant,
    tunables: &Tunables,
    params: Params,
    inputs: &[Tensor],
    alias: Option<(usize, usize)>,
    below: &dyn Chooser,
) -> Result<Outcome, RunError> {
    let spec = variant.spec();
    let def = ops::def(spec.op);
    let layouts: Vec<Layout> = inputs.iter().map(|t| t.layout).collect();
    let out = def.infer(&params, &layouts).map_err(|e| crate::Reason(e.to_string()))?;
    let inst = Instance { op: spec.op, params, inputs: layouts, outputs: out };
    variant.supports(&inst)?;
    // The run may write states: it gets its own copies.
    let inputs: Vec<Tensor> = inputs.to_vec();
    let mut graph = Graph::default();
    let mut b = graph.builder();
    let values: Vec<ValueId> = (0..inputs.len())
        .map(|i| {
            let kind = if def.updates().contains(&i) || alias.is_some_and(|a| a.1 == i) {
                StorageKind::State(i as u32)
            } else if is_weight(&inst, i) {
                StorageKind::Weight(i as u32)
            } else {
                StorageKind::Input(i as u32)
            };
            b.bind(kind, inputs[i].layout)
        })
        .collect();
    let outputs: Vec<ValueId> = inst
        .outputs
        .iter()
        .enumerate()
        .map(|(o, &l)| match alias {
            Some((ao, ai)) if ao == o => values[ai],
            _ => b.bind(StorageKind::Output(o as u32), l),
        })
        .collect();
    b.node_into(NODE, spec.op, params, &values, &outputs);
    let only = Only { variant: spec.name, backend, tunables, spec, below };
    let plan = Plan::build(graph, &only, pool.threads())?;
    if !std::ptr::addr_eq(plan.nodes[0].variant, variant) {
        return Err(crate::Reason(plan.nodes[0].note.clone().unwrap_or_default()).into());
    }
    let (results, inputs, micros) = match backend {
        Backend::Cpu => on_pool(pool, &plan, inputs, &inst)?,
        Backend::Cuda => on_device(Device::first()?, &plan, inputs, &inst)?,
    };
    let outputs = results
        .into_iter()
        .zip(&inst.outputs)
        .enumerate()
        .map(|(o, (data, &layout))| match alias {
            Some((ao, ai)) if ao == o => inputs[ai].clone(),
            _ => Tensor { layout, data },
        })
        .collect();
    let states = def.updates().iter().filter_map(|&i| inputs.get(i).cloned()).collect();
    Ok(Outcome { outputs, states, micros })
}

/// What a run leaves: outputs by number (empty where an output is an input's memory), inputs, microseconds.
pub(super) type Left = (Vec<Buffer>, Vec<Tensor>, f64);

/// Runs a single plan on the pool.
fn on_pool(pool: &mut Pool, plan: &Plan, inputs: Vec<Tensor>, inst: &Instance) -> Result<Left, RunError> {
    let packed = plan
        .packed(Backend::Cpu)
        .into_iter()
        .map(|(w, p)| ((w, p), crate::packing::pack(p, &inputs[w as usize].layout, inputs[w as usize].data.bytes())))
        .collect();
    let given = Given { inputs: &inputs, packed };
    // SAFETY: `given` outlives `bound`, and nobody else has its buffers.
    let mut bound = unsafe { Bound::new(plan, &given, pool.threads())? };
    let start = std::time::Instant::now();
    run(pool, plan, &mut bound, 0..plan.steps.len(), None);
    let micros = start.elapsed().as_secs_f64() * 1e6;
    let outputs = (0..inst.outputs.len() as u32).map(|o| Buffer::from_bytes(bound.output(o).unwrap_or(&[]))).collect();
    Ok((outputs, inputs, micros))
}

/// Runs an op's reference on inputs.
///
/// # Errors
/// If the inputs do not fit the op.
pub fn run_reference(pool: &mut Pool, op: crate::Op, params: Params, inputs: &[Tensor]) -> Result<Outcome, RunError> {
    let variant = ops::variant(op, Backend::Cpu, "reference").expect("every op registers its reference");
    run_variant(pool, variant, &Tunables::defaults(&[]), params, inputs, None, &crate::plan::Defaults)
}

/// The worst difference between two outcomes over outputs and states. Strides may differ; shapes may not.
pub fn compare(reference: &Outcome, result: &Outcome) -> Difference {
    let pairs = reference.outputs.iter().zip(&result.outputs).chain(reference.states.iter().zip(&result.states));
    pairs.fold(Difference::default(), |worst, (a, b)| {
        let d = if a.layout == b.layout {
            difference(&a.layout, a.data.bytes(), b.data.bytes())
        } else {
            let (la, da) = dense(a);
            let (_, db) = dense(b);
            difference(&la, &da, &db)
        };
        worst.worse(d)
    })
}

/// The elements in order, without gaps.
fn dense(t: &Tensor) -> (Layout, Vec<u8>) {
    let l = Layout::contiguous(t.layout.dtype, t.layout.ne);
    let (block, n) = (l.dtype.block_len(), l.dtype.block_bytes());
    let mut out = Vec::with_capacity(l.bytes());
    for row in 0..l.rows() {
        let [i1, i2, i3] = l.row_index(row);
        for i0 in (0..l.ne[0]).step_by(block) {
            let at = t.layout.offset([i0, i1, i2, i3]);
            out.extend_from_slice(&t.data.bytes()[at..at + n]);
        }
    }
    (l, out)
}
