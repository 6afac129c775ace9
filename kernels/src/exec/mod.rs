//! Running a plan: workers go through its rounds.

mod bind;
mod clock;
mod record;

pub use bind::{BindError, Bindings, Bound};
pub use clock::{Clock, Ticks};
pub use record::{Recorder, StepTime};

use crate::plan::{Part, Plan};
use crate::pool::{Crew, Pool};
use crate::variant::Call;
use bind::{BoundCall, Pieces};
use record::Track;

/// Runs steps `range` of a bound plan on the pool, one entry for all of them.
///
/// With a recorder each worker notes start and end of each of its steps; the time between an end and the next start
/// is its wait. All workers take part in a whole leg, which is all of a plan without placements. Less than that is run by
/// the caller alone: that is for looking at what is between two steps.
///
/// # Panics
/// If a kernel panics (which is a bug in it), or a step is not the CPU's.
pub fn run(
    pool: &mut Pool,
    plan: &Plan,
    bound: &mut Bound,
    range: std::ops::Range<usize>,
    recorder: Option<&Recorder>,
) {
    // What workers have of their own is then all in the first one's memory, where `Bound::read` looks.
    let whole = plan.legs.iter().any(|leg| leg.steps == range);
    let threads = if whole { plan.threads.min(pool.threads()) } else { 1 };
    let (calls, scratch) = (&bound.calls[..], &bound.scratch);
    if let Some(r) = recorder {
        r.new_run();
    }
    pool.run_rounds(threads, |ith, crew| {
        let worker = Worker { ith, crew, plan, calls, scratch };
        let mut track = recorder.map(|r| r.track(ith));
        if let Some(t) = &mut track {
            t.begin();
        }
        let mut round = 0;
        for parts in plan.rounds.within(range.clone()) {
            round += u32::from(worker.go(round, parts, &mut track));
        }
        if let Some(t) = &mut track {
            t.finish();
        }
    });
}

/// One worker on its way through the rounds.
struct Worker<'a> {
    ith: usize,
    crew: Crew<'a>,
    plan: &'a Plan,
    calls: &'a [Option<BoundCall>],
    scratch: &'a Pieces,
}

impl Worker<'_> {
    /// Does its pieces of a round, then what others have not begun, and returns when the round is over; `false` if
    /// there was nothing that workers share, and so nothing to wait for.
    ///
    /// Parts that are a worker's own it does when it has claimed a piece that follows them, not before: as long as
    /// that piece is not done the round is not over, and what they read stays as it is.
    fn go(&self, round: u32, parts: &[Part], track: &mut Option<Track<'_>>) -> bool {
        let total: usize = (0..parts.len()).map(|i| self.threads(&parts[i]) * self.pieces(&parts[i])).sum();
        let total = total as u32;
        let mut at = Recording { parts, at: 0, track };
        at.start();
        let mut own_done = 0;
        if total > 0 {
            let mine = self.share(parts, self.ith);
            let mut done = 0;
            while let Some(piece) = self.crew.claim(self.ith, round, mine) {
                let (index, piece) = self.find(parts, self.ith, piece);
                self.own_parts(parts, &mut own_done, index, &mut at);
                at.go_to(index);
                self.run(&parts[index], self.ith, piece);
                done += 1;
            }
            if self.crew.nth() == 1 {
                self.own_parts(parts, &mut own_done, parts.len(), &mut at);
            }
            at.go_to(parts.len());
            self.crew.finish(done, total);
        } else {
            // The end of a part of a plan: run by one.
            self.own_parts(parts, &mut own_done, parts.len(), &mut at);
            at.go_to(parts.len());
            return false;
        }
        if self.crew.linger(round) {
            return true;
        }
        let nth = self.crew.nth();
        for other in (self.ith + 1..nth).chain(0..self.ith) {
            let theirs = self.share(parts, other);
            while let Some(piece) = self.crew.claim(other, round, theirs) {
                let (index, piece) = self.find(parts, other, piece);
                self.own_parts(parts, &mut own_done, index, &mut at);
                self.run(&parts[index], other, piece);
                at.helped();
                self.crew.finish(1, total);
            }
        }
        self.crew.wait(self.ith, round);
        true
    }

    /// Does the worker's own parts before `index` that it has not done yet.
    fn own_parts(&self, parts: &[Part], done: &mut usize, index: usize, at: &mut Recording<'_, '_, '_>) {
        while *done < index {
            if parts[*done].own {
                at.go_to(*done);
                self.run(&parts[*done], self.ith, 0);
            }
            *done += 1;
        }
    }

    /// How many pieces of a round are a worker's.
    fn share(&self, parts: &[Part], worker: usize) -> u32 {
        let its = parts.iter().filter(|p| self.number(p, worker) < self.threads(p));
        its.map(|p| self.pieces(p) as u32).sum()
    }

    /// Pieces that each worker's share of a part is divided into; none if it is not shared.
    fn pieces(&self, part: &Part) -> usize {
        if part.own { 0 } else { self.plan.steps[part.step].pieces }
    }

    /// Workers among whom a part is divided.
    fn threads(&self, part: &Part) -> usize {
        self.plan.steps[part.step].threads.min(self.crew.nth())
    }

    /// What number a worker has in a part: steps of fewer workers begin at different ones, so that small steps run side
    /// by side.
    fn number(&self, part: &Part, worker: usize) -> usize {
        let nth = self.crew.nth();
        (worker + nth - self.plan.steps[part.step].first_worker % nth) % nth
    }

    /// Which part of the round a worker's piece belongs to, and which piece of that it is.
    fn find(&self, parts: &[Part], worker: usize, mut piece: u32) -> (usize, usize) {
        for (index, part) in parts.iter().enumerate() {
            if self.number(part, worker) < self.threads(part) {
                let pieces = self.pieces(part) as u32;
                if piece < pieces {
                    return (index, piece as usize);
                }
                piece -= pieces;
            }
        }
        unreachable!("no more pieces are claimed than the parts have");
    }

    fn run(&self, part: &Part, worker: usize, piece: usize) {
        let step = &self.plan.steps[part.step];
        let call = self.calls[part.step].as_ref().expect("the steps are the CPU's");
        let (inputs, outputs) = call.of(self.ith, part.own);
        let (ith, nth) = if part.own {
            (0, 1)
        } else {
            (self.number(part, worker) * step.pieces + piece, self.threads(part) * step.pieces)
        };
        let mut c = Call {
            inst: &step.inst,
            inputs,
            outputs,
            tunables: &step.tunables,
            ith,
            nth,
            phase: part.phase,
            // SAFETY: worker `self.ith`, who runs this, alone uses this piece, for whomever it works.
            scratch: unsafe { self.scratch.of(self.ith) },
            shared: call.shared.map_or(std::ptr::null_mut(), |t| t.ptr),
        };
        // Steps that touch the same bytes are in different rounds, each piece of a round is claimed once, and own parts
        // write this worker's memory alone.
        // SAFETY: variants of a plan support their instances; `Bindings::bind` checked that views lie in live memory.
        unsafe { call.kernel.run(&mut c) };
    }
}

/// The pen of a worker in a round, if it has one.
struct Recording<'a, 'b, 'c> {
    parts: &'a [Part],
    at: usize,
    track: &'b mut Option<Track<'c>>,
}

impl Recording<'_, '_, '_> {
    fn start(&mut self) {
        let first = self.is_first(self.at);
        if let Some(t) = self.track.as_mut().filter(|_| first) {
            t.start();
        }
    }

    /// The work on parts before `index` is over.
    fn go_to(&mut self, index: usize) {
        if self.track.is_none() {
            return;
        }
        while self.at < index {
            self.end(self.at);
            self.at += 1;
            if self.at < self.parts.len() {
                self.start();
            }
        }
    }

    /// A piece of another worker was done. Time has one owner: the last part of the round.
    fn helped(&mut self) {
        if let Some(t) = self.track {
            t.extend(self.parts[self.parts.len() - 1].step);
        }
    }

    /// Whether no part of the same step was before it: other phases, and the own part of what is also shared.
    fn is_first(&self, index: usize) -> bool {
        let part = self.parts[index];
        part.phase == 0 && (index == 0 || self.parts[index - 1].step != part.step)
    }

    fn end(&mut self, index: usize) {
        let (step, first) = (self.parts[index].step, self.is_first(index));
        if let Some(t) = self.track {
            if first { t.end(step) } else { t.extend(step) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, StorageKind};
    use crate::plan::{Chooser, Chosen, Placed};
    use crate::{Backend, Buffer, Instance, Layout, Op, Packing, Params};

    /// The last node is a GPU's.
    struct LastOnGpu;

    impl Chooser for LastOnGpu {
        fn choose(&self, _name: &str, _inst: &Instance) -> Option<Chosen> {
            None
        }

        fn place(&self, name: &str) -> Option<Placed> {
            (name == "last").then(|| Placed { backend: Backend::Cuda, origin: "test".into() })
        }
    }

    struct One(Buffer);

    impl Bindings for One {
        fn weight(&self, _: u32) -> Option<(*const u8, usize)> {
            None
        }
        fn packed(&self, _: u32, _: Packing) -> Option<(*const u8, usize)> {
            None
        }
        fn input(&self, _: u32) -> Option<(*mut u8, usize)> {
            Some((self.0.as_ptr(), self.0.len()))
        }
        fn state(&self, _: u32) -> Option<(*mut u8, usize)> {
            None
        }
    }

    /// A leg of a mixed plan is run by all workers, who publish what the other side reads: also what each of them made
    /// for itself.
    #[test]
    fn a_leg_is_run_by_all_workers_and_leaves_what_the_other_side_reads() {
        const N: usize = 2048;
        let mut graph = Graph::default();
        let mut b = graph.builder();
        let x = b.bind(StorageKind::Input(0), Layout::f32([N, 1, 1, 1]));
        let twice = b.one("twice", Op::Add, Params::None, &[x, x]);
        let thrice = b.one("thrice", Op::Add, Params::None, &[twice, x]);
        let y = b.bind(StorageKind::Output(0), Layout::f32([N, 1, 1, 1]));
        b.node_into("last", Op::Add, Params::None, &[twice, thrice], &[y]);
        let given = One(Buffer::from_f32(&(0..N).map(|i| i as f32).collect::<Vec<_>>()));
        for threads in [1, 2, 3, 5] {
            let plan = Plan::build(graph.clone(), &LastOnGpu, threads).unwrap();
            let leg = plan.legs[0].steps.clone();
            assert_eq!((leg.clone(), plan.steps[0].redundant), (0..2, threads > 1));
            let mut pool = Pool::new(threads);
            // SAFETY: `given` outlives `bound`, and nobody else has it.
            let mut bound = unsafe { Bound::new(&plan, &given, threads) }.unwrap();
            let mut recorder = Recorder::new(threads, plan.steps.len());
            run(&mut pool, &plan, &mut bound, leg, Some(&recorder));
            for (v, times) in [(twice, 2), (thrice, 3)] {
                let want: Vec<u8> = (0..N).flat_map(|i| ((i * times) as f32).to_le_bytes()).collect();
                let (at, len) = bound.place(plan.graph.value(v).storage).unwrap();
                // SAFETY: the arena is alive, and nobody writes it.
                let published = unsafe { std::slice::from_raw_parts(at, len) };
                assert!(published == want, "times {times} by {threads}");
            }
            assert!((0..threads).any(|ith| recorder.took_part(ith) && recorder.steps(ith)[1].end > Ticks(0)));
        }
    }
}
