//! Worker threads that are entered once a token and proceed in rounds inside it.
//!
//! Fork-join libraries enter a pool once per parallel loop; at a thousand loops a token that is most of the time of a
//! small model (candle#3584: 33 → 103 t/s by entering once). Here a job is one closure that every worker runs from the
//! first step of a token to the last. The caller is worker 0.
//!
//! Waiting spins for a bounded time and then sleeps in the kernel. In a job of rounds ([`Pool::run_rounds`]) nobody
//! waits for a worker whose core another program has taken, only for work that it has begun.

mod barrier;
mod door;
mod rounds;

pub use barrier::Barrier;
pub use rounds::Crew;

use door::Door;
use rounds::Rounds;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::thread::JoinHandle;

/// How long to spin before parking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spin {
    /// Rounds of `pause` at a barrier inside a job.
    pub barrier: u32,
    /// Rounds of `pause` between two jobs.
    pub idle: u32,
}

impl Spin {
    /// For `threads` workers on the cores that this process may use: none to spare, no spinning.
    pub fn for_threads(threads: usize) -> Spin {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        if threads > cores { Spin { barrier: 0, idle: 0 } } else { Spin { barrier: 4000, idle: 20_000 } }
    }
}

/// A fixed set of workers.
pub struct Pool {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

type Job<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// Raised once per job; workers wait for it to change.
    generation: AtomicU32,
    parked: AtomicU32,
    /// The job of this generation: a pointer to a `&Job` on the stack of the caller, who waits for all to finish.
    job: AtomicPtr<&'static Job<'static>>,
    /// Of workers 1, 2 ….
    doors: Box<[Door]>,
    barrier: Barrier,
    rounds: Rounds,
    spin: Spin,
    stop: AtomicBool,
    panicked: AtomicBool,
}

impl Pool {
    /// Workers `0 .. threads`, worker 0 being whoever calls [`Self::run`].
    pub fn new(threads: usize) -> Pool {
        Pool::with_spin(threads, Spin::for_threads(threads))
    }

    /// As [`Self::new`], with a given spinning time.
    pub fn with_spin(threads: usize, spin: Spin) -> Pool {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            generation: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            job: AtomicPtr::new(std::ptr::null_mut()),
            doors: (1..threads).map(|_| Door::default()).collect(),
            barrier: Barrier::new(),
            rounds: Rounds::new(threads, spin.barrier),
            spin,
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        let handles = (1..threads)
            .map(|ith| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("worker-{ith}"))
                    .spawn(move || work(ith, &shared))
                    .expect("the system starts a thread")
            })
            .collect();
        Pool { shared, handles }
    }

    /// Number of workers, the caller included.
    pub fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Runs `f(ith, team)` on workers `0 .. threads` and returns when all have finished. Every worker takes part.
    ///
    /// # Panics
    /// If `f` panics on any worker (after all workers have left it; a job that panics between barriers would leave
    /// the others waiting, so barriers of the job are broken first).
    pub fn run(&mut self, threads: usize, f: impl Fn(usize, Team<'_>) + Sync) {
        let nth = threads.clamp(1, self.threads());
        let shared = &*self.shared;
        let team = Team { barrier: &shared.barrier, nth, spin: shared.spin.barrier };
        shared.enter(nth, true, &|ith| f(ith, team));
    }

    /// Runs `f(ith, crew)` on the caller and on those of workers `1 .. threads` that come before the caller is through,
    /// and returns when all who came have finished. The caller must not return before the last round is over.
    ///
    /// # Panics
    /// If `f` panics on any worker, after all have left it.
    pub fn run_rounds(&mut self, threads: usize, f: impl Fn(usize, Crew<'_>) + Sync) {
        let nth = threads.clamp(1, self.threads());
        let shared = &*self.shared;
        let crew = shared.rounds.begin(nth, shared.spin.barrier);
        shared.enter(nth, false, &|ith| f(ith, crew));
    }
}

impl Shared {
    /// Has workers `0 .. nth` run a job, worker 0 being the caller; all of them, or those who come in time.
    fn enter(&self, nth: usize, all: bool, f: &Job<'_>) {
        let body = |ith: usize| {
            catch_unwind(AssertUnwindSafe(|| f(ith))).inspect_err(|_| {
                self.panicked.store(true, Ordering::Release);
                self.barrier.break_it();
                self.rounds.break_them();
            })
        };
        let mine = if nth == 1 {
            body(0)
        } else {
            let job = |ith: usize| {
                // The panic was noted; the caller raises it again.
                let _ = body(ith);
            };
            let job: &Job<'_> = &job;
            // Workers use the job between entering and leaving their doors, which open below.
            // SAFETY: only the lifetime changes, and this function does not return before all doors are shut.
            let mut job: &'static Job<'static> = unsafe { std::mem::transmute(job) };
            self.job.store(&raw mut job, Ordering::Release);
            let doors = &self.doors[..nth - 1];
            doors.iter().for_each(Door::open);
            self.generation.fetch_add(1, Ordering::SeqCst);
            if self.parked.load(Ordering::SeqCst) > 0 {
                atomic_wait::wake_all(&raw const self.generation);
            }
            let mine = body(0);
            if !all {
                doors.iter().for_each(Door::shut);
            }
            doors.iter().for_each(|d| d.wait(self.spin.barrier));
            mine
        };
        if self.panicked.swap(false, Ordering::AcqRel) {
            self.barrier.mend();
            self.rounds.mend();
            match mine {
                Err(payload) => resume_unwind(payload),
                Ok(()) => panic!("a worker panicked"),
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        atomic_wait::wake_all(&raw const self.shared.generation);
        for h in self.handles.drain(..) {
            // A worker cannot panic outside a job, and a panic in a job is caught there.
            let _ = h.join();
        }
    }
}

fn work(ith: usize, shared: &Shared) {
    let mut seen = 0;
    loop {
        seen = wait_for_change(shared, seen);
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let door = &shared.doors[ith - 1];
        if door.enter() {
            // SAFETY: the door was opened after the job was stored, and its owner waits until the door is shut.
            let job = unsafe { *shared.job.load(Ordering::Acquire) };
            job(ith);
            door.leave();
        }
    }
}

fn wait_for_change(shared: &Shared, seen: u32) -> u32 {
    for _ in 0..shared.spin.idle {
        let now = shared.generation.load(Ordering::Acquire);
        if now != seen {
            return now;
        }
        std::hint::spin_loop();
    }
    loop {
        shared.parked.fetch_add(1, Ordering::SeqCst);
        let now = shared.generation.load(Ordering::SeqCst);
        if now == seen {
            atomic_wait::wait(&shared.generation, seen);
        }
        shared.parked.fetch_sub(1, Ordering::SeqCst);
        let now = shared.generation.load(Ordering::Acquire);
        if now != seen {
            return now;
        }
    }
}

/// What a worker needs to meet the others.
#[derive(Clone, Copy)]
pub struct Team<'a> {
    barrier: &'a Barrier,
    nth: usize,
    spin: u32,
}

impl Team<'_> {
    /// Workers in this job.
    pub fn nth(&self) -> usize {
        self.nth
    }

    /// Waits until all workers of the job are here.
    #[inline]
    pub fn wait(&self) {
        if self.nth > 1 {
            self.barrier.wait(self.nth, self.spin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, AtomicUsize};

    #[test]
    fn every_worker_sees_what_the_others_wrote_before_the_barrier() {
        for threads in [1, 2, 3, 5, 8] {
            let mut pool = Pool::new(threads);
            let cells: Vec<AtomicU64> = (0..threads).map(|_| AtomicU64::new(0)).collect();
            for job in 0..50u64 {
                pool.run(threads, |ith, team| {
                    for step in 0..20u64 {
                        cells[ith].store(job * 100 + step, Ordering::Relaxed);
                        team.wait();
                        for c in &cells {
                            assert_eq!(c.load(Ordering::Relaxed), job * 100 + step);
                        }
                        team.wait();
                    }
                });
            }
        }
    }

    #[test]
    fn a_job_may_use_fewer_workers_than_there_are() {
        let mut pool = Pool::new(4);
        let ran = AtomicUsize::new(0);
        pool.run(2, |_, team| {
            assert_eq!(team.nth(), 2);
            ran.fetch_add(1, Ordering::Relaxed);
            team.wait();
        });
        assert_eq!(ran.into_inner(), 2);
    }

    #[test]
    fn every_piece_of_every_round_is_done_once_and_in_order() {
        for threads in [1, 2, 3, 5, 8] {
            let mut pool = Pool::new(threads);
            for _ in 0..30 {
                const ROUNDS: u32 = 40;
                let pieces = |worker: usize, round: u32| (worker as u32 + round) % 4;
                let total = |round: u32| (0..threads).map(|w| pieces(w, round)).sum::<u32>();
                let marks: Vec<AtomicU32> = (0..ROUNDS).map(|_| AtomicU32::new(0)).collect();
                pool.run_rounds(threads, |ith, crew| {
                    for round in (0..ROUNDS).filter(|&r| total(r) > 0).collect::<Vec<_>>().iter().enumerate() {
                        let (at, &round) = (round.0 as u32, round.1);
                        for worker in (ith..threads).chain(0..ith) {
                            while crew.claim(worker, at, pieces(worker, round)).is_some() {
                                let before = round.checked_sub(1).filter(|&r| total(r) > 0);
                                assert!(before.is_none_or(|r| marks[r as usize].load(Ordering::Relaxed) == total(r)));
                                marks[round as usize].fetch_add(1, Ordering::Relaxed);
                                crew.finish(1, total(round));
                            }
                        }
                        crew.wait(ith, at);
                    }
                });
                for (round, mark) in marks.iter().enumerate() {
                    assert_eq!(mark.load(Ordering::Relaxed), total(round as u32));
                }
            }
        }
    }

    #[test]
    fn rounds_go_on_without_a_worker_that_is_late() {
        let mut pool = Pool::new(3);
        let (late, gate) = (AtomicBool::new(false), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            // Worker 2 comes to the job when the others are through with all rounds.
            pool.run_rounds(3, |ith, crew| {
                if ith == 2 {
                    late.store(true, Ordering::SeqCst);
                    gate.wait();
                }
                while ith == 0 && !late.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                for round in 0..10 {
                    for worker in 0..3 {
                        while crew.claim(worker, round, 2).is_some() {
                            crew.finish(1, 6);
                        }
                    }
                    crew.wait(ith, round);
                }
                if ith == 0 {
                    scope.spawn(|| gate.wait());
                }
            });
        });
    }

    #[test]
    fn a_panic_in_a_round_reaches_the_caller_and_the_pool_lives_on() {
        for at in 0..3 {
            let mut pool = Pool::new(3);
            let rounds = |pool: &mut Pool, bad: usize| {
                pool.run_rounds(3, |ith, crew| {
                    for round in 0..3 {
                        while crew.claim(ith, round, 1).is_some() {
                            assert!(ith != bad, "on purpose");
                            crew.finish(1, 3);
                        }
                        if crew.linger(round) {
                            continue;
                        }
                        for worker in 0..3 {
                            while crew.claim(worker, round, 1).is_some() {
                                assert!(worker != bad, "on purpose");
                                crew.finish(1, 3);
                            }
                        }
                        crew.wait(ith, round);
                    }
                });
            };
            assert!(catch_unwind(AssertUnwindSafe(|| rounds(&mut pool, at))).is_err());
            rounds(&mut pool, usize::MAX);
        }
    }

    #[test]
    fn a_panic_in_a_worker_reaches_the_caller_and_the_pool_lives_on() {
        for at in 0..3 {
            let mut pool = Pool::new(3);
            let failed = catch_unwind(AssertUnwindSafe(|| {
                pool.run(3, |ith, team| {
                    assert!(ith != at, "on purpose");
                    team.wait();
                });
            }));
            assert!(failed.is_err());
            let ran = AtomicUsize::new(0);
            pool.run(3, |_, team| {
                team.wait();
                ran.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(ran.into_inner(), 3);
        }
    }
}
