//! A single plan with memory of its own: on the pool.

use super::single::{RunError, Tensor};
use crate::cpu::{Topology, bandwidth};
use crate::exec::{Bindings, Bound, Recorder, run};
use crate::plan::Plan;
use crate::pool::Pool;
use crate::{Backend, Buffer, Packing};
use std::time::Instant;

/// A single plan, bound where it runs.
pub(super) trait Alone {
    /// Runs it; microseconds from outside.
    fn run(&mut self, pool: &mut Pool) -> Result<f64, RunError>;

    /// Runs it while caches hold nothing that it reads; microseconds of its steps, as tables have them.
    fn run_cold(&mut self, pool: &mut Pool) -> Result<f64, RunError>;

    /// An output of the last run; empty where it is an input's memory.
    fn output(&self, id: u32) -> Result<Buffer, RunError>;

    /// An input as it is now.
    fn input(&self, index: usize) -> Result<Tensor, RunError>;
}

/// Inputs by number, whether weights or states, and packed weights.
struct Given {
    inputs: Vec<Tensor>,
    packed: Vec<((u32, Packing), Buffer)>,
}

impl Bindings for Given {
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

/// On the workers of a pool. Addresses come before what they are of: fields are dropped in order.
pub(super) struct OnPool<'a> {
    bound: Bound,
    plan: &'a Plan,
    given: Given,
    sweep: Option<Sweep>,
}

impl<'a> OnPool<'a> {
    pub fn new(plan: &'a Plan, threads: usize, inputs: Vec<Tensor>) -> Result<OnPool<'a>, RunError> {
        let pack = |(w, p): (u32, Packing)| {
            let t = &inputs[w as usize];
            ((w, p), crate::packing::pack(p, &t.layout, t.data.bytes()))
        };
        let packed = plan.packed(Backend::Cpu).into_iter().map(pack).collect();
        let given = Given { inputs, packed };
        // Moving `given` moves none of its buffers.
        // SAFETY: `given` goes where `bound` goes and outlives it; nobody else has its buffers.
        let bound = unsafe { Bound::new(plan, &given, threads)? };
        Ok(OnPool { bound, plan, given, sweep: None })
    }
}

impl Alone for OnPool<'_> {
    fn run(&mut self, pool: &mut Pool) -> Result<f64, RunError> {
        let start = Instant::now();
        run(pool, self.plan, &mut self.bound, 0..self.plan.steps.len(), None);
        Ok(start.elapsed().as_secs_f64() * 1e6)
    }

    fn run_cold(&mut self, pool: &mut Pool) -> Result<f64, RunError> {
        let steps = self.plan.steps.len();
        let Sweep { others, recorder } = self.sweep.get_or_insert_with(|| Sweep::new(pool.threads(), steps));
        let others = others.as_f32();
        pool.run(pool.threads(), |ith, team| {
            let part = others.len().div_ceil(team.nth());
            let end = others.len().min((ith + 1) * part);
            bandwidth::read(&others[end.min(ith * part)..end]);
        });
        run(pool, self.plan, &mut self.bound, 0..steps, Some(recorder));
        Ok(recorder.mean_micros(self.plan.threads.min(pool.threads()), 0..steps))
    }

    fn output(&self, id: u32) -> Result<Buffer, RunError> {
        Ok(Buffer::from_bytes(self.bound.output(id).unwrap_or(&[])))
    }

    fn input(&self, index: usize) -> Result<Tensor, RunError> {
        Ok(self.given.inputs[index].clone())
    }
}

/// What cold runs need.
struct Sweep {
    /// Bytes that take the place of all others in the caches, read by all workers together.
    others: Buffer,
    recorder: Recorder,
}

impl Sweep {
    /// Twice the last-level cache, so that whatever way it replaces lines nothing else is left.
    fn new(threads: usize, steps: usize) -> Sweep {
        const LEAST: usize = 32 << 20;
        const MOST: usize = 1 << 30;
        let bytes = (2 * Topology::detect().last_level_cache()).clamp(LEAST, MOST);
        let mut others = Buffer::zeroed(bytes);
        // Pages that nobody wrote are all the same one.
        others.as_f32_mut().fill(1.0);
        Sweep { others, recorder: Recorder::new(threads, steps) }
    }
}
