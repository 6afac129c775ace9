//! From a stack of profiles to the planner's choices.

use deltascope_kernels::plan::{Chooser, Chosen, Placed};
use deltascope_kernels::{Backend, Instance, Op};
use deltascope_profiles::{Phase, Query, Stack, TunableValue};

/// Answers the planner from a stack of profiles, for one run's phase and number of tokens.
pub struct ProfileChooser<'a> {
    /// Profiles over one another.
    pub stack: &'a Stack,
    /// Of the plan.
    pub phase: Phase,
    /// Tokens in the run, over all sequences.
    pub tokens: usize,
    /// Where nodes run that are not placed elsewhere.
    pub backend: Backend,
    /// Whether there is a GPU to place nodes on.
    pub gpu: bool,
}

/// A backend as a profile's rule names it: whichever of its devices.
pub fn rule_backend(backend: Backend) -> deltascope_profiles::Backend {
    match backend {
        Backend::Cpu => deltascope_profiles::Backend::Cpu,
        Backend::Cuda => deltascope_profiles::Backend::Cuda(None),
    }
}

/// A backend as profiles are asked for it. The engine runs on the first GPU.
pub fn in_profiles(backend: Backend) -> deltascope_profiles::Backend {
    match backend {
        Backend::Cpu => deltascope_profiles::Backend::Cpu,
        Backend::Cuda => deltascope_profiles::Backend::Cuda(Some(0)),
    }
}

/// What a profile may ask of a node: the weight's rows, columns and type where the op has a weight, else the shape of
/// the first input.
pub fn query<'a>(backend: Backend, phase: Phase, tokens: usize, name: &'a str, inst: &Instance) -> Query<'a> {
    let sized = weight_of(inst).or(inst.inputs.first().copied());
    Query {
        elements: inst.outputs.first().map(|o| o.elements() as u64),
        tokens: Some(tokens as u64),
        rows: sized.map(|l| l.rows() as u64),
        cols: sized.map(|l| l.ne[0] as u64),
        dtype: sized.map(|l| l.dtype.name()),
        node: Some(name),
        ..Query::new(inst.op.name(), in_profiles(backend), phase)
    }
}

/// The weight whose size and type say what an instance is like.
pub fn weight_of(inst: &Instance) -> Option<deltascope_kernels::Layout> {
    let at = match inst.op {
        Op::MulMat | Op::MulMatId | Op::GetRows => 0,
        Op::MoeUpGate => 2,
        Op::MoeDown => 3,
        Op::MoeFfn => 3,
        _ => return None,
    };
    inst.inputs.get(at).copied()
}

/// Where a placement puts a node; `None` if it is a GPU that there is not, or not the first.
pub fn placed_on(backend: deltascope_profiles::Backend, gpu: bool) -> Option<Backend> {
    match backend {
        deltascope_profiles::Backend::Cpu => Some(Backend::Cpu),
        deltascope_profiles::Backend::Cuda(None | Some(0)) if gpu => Some(Backend::Cuda),
        deltascope_profiles::Backend::Cuda(_) => None,
    }
}

impl Chooser for ProfileChooser<'_> {
    fn choose(&self, name: &str, inst: &Instance) -> Option<Chosen> {
        self.choose_on(self.backend, name, inst)
    }

    /// Other backends' choices do not count.
    fn choose_on(&self, backend: Backend, name: &str, inst: &Instance) -> Option<Chosen> {
        let found = self.stack.lookup(&query(backend, self.phase, self.tokens, name, inst))?;
        let tunables = found
            .choice
            .tunables
            .iter()
            .filter_map(|(name, value)| match value {
                TunableValue::Int(v) => Some((name.clone(), *v)),
                TunableValue::Text(_) => None,
            })
            .collect();
        Some(Chosen {
            variant: Some(found.choice.variant.clone()),
            revision: found.choice.revision,
            tunables,
            origin: found.origin.to_string(),
        })
    }

    fn backend(&self) -> Backend {
        self.backend
    }

    fn place(&self, name: &str) -> Option<Placed> {
        let (place, origin) = self.stack.place(name)?;
        let backend = placed_on(place.backend, self.gpu)?;
        Some(Placed { backend, origin: format!("{origin}, {place}") })
    }
}
