//! One instance, one variant, given inputs: the smallest plan there is.

use super::alone::{Alone, OnPool};
use super::on_device::OnDevice;
use super::{Difference, difference};
use crate::cuda::{CudaError, Device};
use crate::exec::BindError;
use crate::graph::{Graph, StorageKind, ValueId};
use crate::plan::{Chooser, Chosen, Plan, PlanError};
use crate::pool::Pool;
use crate::variant::{Instance, Tunables, Variant};
use crate::{Backend, Buffer, Layout, Op, Params, ops};

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
    let only = Only { variant: spec.name, backend, tunables, spec, below };
    let layouts: Vec<Layout> = inputs.iter().map(|t| t.layout).collect();
    let inst = instance(spec.op, params, layouts)?;
    variant.supports(&inst)?;
    let single = Single::new(NODE, inst, alias, &only, pool.threads())?;
    if !std::ptr::addr_eq(single.plan.nodes[0].variant, variant) {
        return Err(crate::Reason(single.plan.nodes[0].note.clone().unwrap_or_default()).into());
    }
    // The run may write states: it gets its own copies.
    let mut alone = single.alone(backend, pool, inputs.to_vec())?;
    let micros = alone.run(pool)?;
    single.outcome(&*alone, micros)
}

/// An op with its shapes, those of the outputs worked out.
pub(super) fn instance(op: Op, params: Params, inputs: Vec<Layout>) -> Result<Instance, RunError> {
    let outputs = ops::def(op).infer(&params, &inputs).map_err(|e| crate::Reason(e.to_string()))?;
    Ok(Instance { op, params, inputs, outputs })
}

/// The plan of one node, whose inputs and outputs are all of what is bound.
pub(super) struct Single {
    pub plan: Plan,
    inst: Instance,
    alias: Option<(usize, usize)>,
}

impl Single {
    pub fn new(
        name: &str,
        inst: Instance,
        alias: Option<(usize, usize)>,
        chooser: &dyn Chooser,
        threads: usize,
    ) -> Result<Single, RunError> {
        let mut graph = Graph::default();
        let mut b = graph.builder();
        let updates = ops::def(inst.op).updates();
        let values: Vec<ValueId> = (0..inst.inputs.len())
            .map(|i| {
                let kind = if updates.contains(&i) || alias.is_some_and(|a| a.1 == i) {
                    StorageKind::State(i as u32)
                } else if is_weight(&inst, i) {
                    StorageKind::Weight(i as u32)
                } else {
                    StorageKind::Input(i as u32)
                };
                b.bind(kind, inst.inputs[i])
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
        b.node_into(name, inst.op, inst.params, &values, &outputs);
        Ok(Single { plan: Plan::build(graph, chooser, threads)?, inst, alias })
    }

    /// Gives it memory with these inputs in it, where it runs.
    pub fn alone<'a>(
        &'a self,
        backend: Backend,
        pool: &Pool,
        inputs: Vec<Tensor>,
    ) -> Result<Box<dyn Alone + 'a>, RunError> {
        Ok(match backend {
            Backend::Cpu => Box::new(OnPool::new(&self.plan, pool.threads(), inputs)?),
            Backend::Cuda => Box::new(OnDevice::new(Device::first()?, &self.plan, inputs)?),
        })
    }

    /// What its last run left behind.
    pub fn outcome(&self, alone: &dyn Alone, micros: f64) -> Result<Outcome, RunError> {
        let output = |(o, &layout): (usize, &Layout)| match self.alias {
            Some((ao, ai)) if ao == o => alone.input(ai),
            _ => Ok(Tensor { layout, data: alone.output(o as u32)? }),
        };
        let updates = ops::def(self.inst.op).updates().iter().filter(|&&i| i < self.inst.inputs.len());
        Ok(Outcome {
            outputs: self.inst.outputs.iter().enumerate().map(output).collect::<Result<_, _>>()?,
            states: updates.map(|&i| alone.input(i)).collect::<Result<_, _>>()?,
            micros,
        })
    }
}

/// Runs an op's reference on inputs.
///
/// # Errors
/// If the inputs do not fit the op.
pub fn run_reference(pool: &mut Pool, op: Op, params: Params, inputs: &[Tensor]) -> Result<Outcome, RunError> {
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
