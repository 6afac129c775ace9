//! How long an op takes on a backend by itself.

use super::single::{Outcome, RunError, Single, Tensor, instance};
use crate::plan::{Chooser, Chosen};
use crate::pool::Pool;
use crate::variant::{Instance, Variant};
use crate::{Backend, Op, Params};
use std::time::{Duration, Instant};

/// What came of running an op by itself.
pub struct Timed {
    /// What computed it.
    pub variant: &'static dyn Variant,
    /// Microseconds of its steps in each run, with caches that held nothing of it.
    pub micros: Vec<f64>,
    /// What the first run made of the inputs.
    pub outcome: Outcome,
}

/// How often an op is run to be timed.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// Times at most.
    pub most: usize,
    /// After this time no run is begun, if there were [`Repeat::LEAST`].
    pub within: Duration,
}

impl Repeat {
    /// Runs that a median is taken of at least.
    pub const LEAST: usize = 5;
}

/// Asks another chooser for choices of one backend, and places nothing elsewhere.
struct On<'a>(Backend, &'a dyn Chooser);

impl Chooser for On<'_> {
    fn choose(&self, name: &str, inst: &Instance) -> Option<Chosen> {
        self.1.choose_on(self.0, name, inst)
    }

    fn backend(&self) -> Backend {
        self.0
    }
}

/// Runs a node of a model by itself on a backend, whether it runs there in the model or not, by what `chooser` says or
/// the op's default. States are the node's own copies, and go from run to run.
///
/// # Errors
/// If the backend is not there or has no variant for it.
pub fn time_on(
    backend: Backend,
    pool: &mut Pool,
    (node, op, params): (&str, Op, Params),
    inputs: Vec<Tensor>,
    chooser: &dyn Chooser,
    repeat: Repeat,
) -> Result<Timed, RunError> {
    let inst = instance(op, params, inputs.iter().map(|t| t.layout).collect())?;
    let single = Single::new(node, inst, None, &On(backend, chooser), pool.threads())?;
    let mut alone = single.alone(backend, pool, inputs)?;
    let first = alone.run(pool)?;
    let outcome = single.outcome(&*alone, first)?;
    // What is first of its kind (a graph, a page) is not counted.
    alone.run_cold(pool)?;
    let began = Instant::now();
    let mut micros = Vec::with_capacity(repeat.most);
    while micros.len() < repeat.most.max(1) && (micros.len() < Repeat::LEAST || began.elapsed() < repeat.within) {
        micros.push(alone.run_cold(pool)?);
    }
    drop(alone);
    Ok(Timed { variant: single.plan.nodes[0].variant, micros, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Defaults;
    use crate::{Buffer, Layout};

    const FEW: Repeat = Repeat { most: 9, within: Duration::ZERO };

    /// Chooses by the node's name, and places every node on a GPU: which a node that is timed alone must not follow.
    struct Named;

    impl Chooser for Named {
        fn choose(&self, _name: &str, _inst: &Instance) -> Option<Chosen> {
            panic!("asked without a backend")
        }

        fn choose_on(&self, backend: Backend, name: &str, _inst: &Instance) -> Option<Chosen> {
            assert_eq!(backend, Backend::Cpu);
            (name == "blk.3.scale").then(|| Chosen { variant: Some("serial".into()), ..Chosen::default() })
        }

        fn place(&self, _name: &str) -> Option<crate::plan::Placed> {
            Some(crate::plan::Placed { backend: Backend::Cuda, origin: "test".into() })
        }
    }

    fn scaled(node: &str, chooser: &dyn Chooser) -> Timed {
        let x = Tensor::f32([3, 2, 1, 1], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let what = (node, Op::Scale, Params::Scale { factor: 2.0 });
        time_on(Backend::Cpu, &mut Pool::new(2), what, vec![x], chooser, FEW).unwrap()
    }

    #[test]
    fn a_node_is_timed_with_the_choice_of_its_name_on_that_backend() {
        let timed = scaled("blk.3.scale", &Named);
        assert_eq!(timed.variant.spec().name, "serial");
        assert_eq!(timed.outcome.outputs[0].data.as_f32(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(timed.micros.len(), Repeat::LEAST);
        assert!(timed.micros.iter().all(|us| us.is_finite() && *us > 0.0), "{:?}", timed.micros);
        let other = scaled("blk.4.scale", &Named).variant.spec().name;
        assert_eq!(other, scaled("blk.4.scale", &Defaults).variant.spec().name);
    }

    /// The first run's states are what is compared, whatever later runs make of them.
    #[test]
    fn states_are_those_after_one_run() {
        let row = Tensor::f32([4, 1, 1, 1], &[1.0, 2.0, 3.0, 4.0]);
        let at = Tensor { layout: Layout::i32([1, 1, 1, 1]), data: Buffer::from_bytes(&1i32.to_le_bytes()) };
        let cache = Tensor::f32([4, 3, 1, 1], &[0.0; 12]);
        let what = ("store", Op::SetRows, Params::None);
        let inputs = vec![row, at, cache];
        let timed = time_on(Backend::Cpu, &mut Pool::new(1), what, inputs, &Defaults, FEW).unwrap();
        assert_eq!(timed.outcome.states[0].data.as_f32()[4..8], [1.0, 2.0, 3.0, 4.0]);
    }
}
