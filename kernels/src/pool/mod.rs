//! Worker threads that are entered once a token and meet at barriers inside it.
//!
//! Fork-join libraries enter a pool once per parallel loop; at a thousand loops a token that is most of the time of a
//! small model (candle#3584: 33 → 103 t/s by entering once). Here a job is one closure that every worker runs from the
//! first step of a token to the last. The caller is worker 0.
//!
//! Waiting spins for a bounded time and then parks in the kernel, so that a worker whose core is taken by another
//! program costs the others a wake-up, not its whole time slice of spinning.

mod barrier;

pub use barrier::Barrier;

use barrier::Latch;
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
    done: Latch,
    barrier: Barrier,
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
            done: Latch::default(),
            barrier: Barrier::new(),
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

    /// Runs `f(ith, team)` on workers `0 .. threads` and returns when all have finished.
    ///
    /// # Panics
    /// If `f` panics on any worker (after all workers have left it; a job that panics between barriers would leave
    /// the others waiting, so barriers of the job are broken first).
    pub fn run(&mut self, threads: usize, f: impl Fn(usize, Team<'_>) + Sync) {
        let nth = threads.clamp(1, self.threads());
        let shared = &*self.shared;
        let body = |ith: usize| {
            if ith < nth {
                let team = Team { barrier: &shared.barrier, nth, spin: shared.spin.barrier };
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(ith, team))) {
                    shared.barrier.break_it();
                    if ith == 0 {
                        shared.panicked.store(true, Ordering::Release);
                        return Some(payload);
                    }
                    shared.panicked.store(true, Ordering::Release);
                }
            }
            None
        };
        if nth == 1 {
            if let Some(p) = body(0) {
                shared.panicked.store(false, Ordering::Release);
                shared.barrier.mend();
                resume_unwind(p);
            }
            return;
        }
        let job = |ith: usize| {
            body(ith);
        };
        let job: &Job<'_> = &job;
        // SAFETY: only the lifetime changes. Workers use the job between the raise of `generation` below and their
        // arrival at `done`, and this function does not return before all of them have arrived.
        let mut job: &'static Job<'static> = unsafe { std::mem::transmute(job) };
        shared.job.store(&raw mut job, Ordering::Release);
        shared.done.set(self.handles.len() as u32);
        shared.generation.fetch_add(1, Ordering::SeqCst);
        if shared.parked.load(Ordering::SeqCst) > 0 {
            atomic_wait::wake_all(&raw const shared.generation);
        }
        let mine = body(0);
        shared.done.wait(shared.spin.barrier);
        if shared.panicked.swap(false, Ordering::AcqRel) {
            shared.barrier.mend();
            match mine {
                Some(payload) => resume_unwind(payload),
                None => panic!("a worker panicked"),
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
        // SAFETY: a raise of `generation` without `stop` follows the store of a job whose owner waits at `done`.
        let job = unsafe { *shared.job.load(Ordering::Acquire) };
        job(ith);
        // Every worker of the pool counts down, also those that this job does not use.
        shared.done.count_down();
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
