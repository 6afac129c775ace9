//! Work in rounds that goes on without workers who are late.
//!
//! A barrier waits for *workers*; on a machine that other programs use too, one whose core was taken holds up all the
//! others for a whole time slice, at every barrier, even when it had nothing left to do. Here a round is over when its
//! *pieces* are done. Each worker has its own pieces and takes them first, so that on a quiet machine everything is
//! where it was in the last token; who has waited a little takes what others have not begun. What a piece computes
//! does not depend on who takes it, so results are the same bits.
//!
//! Claims are one word a worker, on a cache line of its own: on a quiet machine only its owner writes it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Rounds of `pause` before a worker that has to wait looks for work of others. Shorter than what it costs to look when
/// all are about to finish.
const BEFORE_HELPING: u32 = 64;

/// Shortest spin before sleeping, for workers that had to sleep lately.
const SHORTEST_SPIN: u32 = 32;

/// Progress of the rounds of all jobs that a pool ever ran.
pub(super) struct Rounds {
    open: Open,
    /// Pieces of the open round that are done.
    done: Line<AtomicU32>,
    workers: Box<[Line<Worker>]>,
    broken: AtomicBool,
}

#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

#[repr(align(128))]
#[derive(Default)]
struct Open {
    /// Number of the round at work; wraps around. Workers sleep on it.
    round: AtomicU32,
    sleepers: AtomicU32,
}

#[derive(Default)]
struct Worker {
    /// The last round in which a piece of this worker was claimed, and how many: `round << 32 | pieces`.
    claimed: AtomicU64,
    /// How long it spins now. Its own business, kept from round to round.
    spin: AtomicU32,
}

impl Rounds {
    pub(super) fn new(threads: usize, spin: u32) -> Rounds {
        let workers: Box<[Line<Worker>]> = (0..threads).map(|_| Line::default()).collect();
        for w in &workers {
            w.0.spin.store(spin, Ordering::Relaxed);
        }
        Rounds { open: Open::default(), done: Line::default(), workers, broken: AtomicBool::new(false) }
    }

    /// Before a job of `nth` workers, when nobody is inside one.
    pub(super) fn begin(&self, nth: usize, spin: u32) -> Crew<'_> {
        let base = self.open.round.load(Ordering::Relaxed);
        for w in &self.workers[..nth] {
            // So that no word is ever so old that the wrapped number of its round seems to lie ahead.
            w.0.claimed.store(u64::from(base) << 32, Ordering::Relaxed);
        }
        Crew { rounds: self, base, nth, spin }
    }

    /// Lets everybody go with a panic.
    pub(super) fn break_them(&self) {
        self.broken.store(true, Ordering::SeqCst);
        atomic_wait::wake_all(&raw const self.open.round);
    }

    /// Makes broken rounds usable when nobody is inside them.
    pub(super) fn mend(&self) {
        self.done.0.store(0, Ordering::SeqCst);
        self.broken.store(false, Ordering::SeqCst);
    }
}

/// What a worker needs to take part in a job's rounds, which all workers number 0, 1, 2 ….
#[derive(Clone, Copy)]
pub struct Crew<'a> {
    rounds: &'a Rounds,
    /// What the pool calls this job's round 0.
    base: u32,
    nth: usize,
    spin: u32,
}

impl Crew<'_> {
    /// Workers that this job's work is divided among. Some may come late, or not at all.
    pub fn nth(&self) -> usize {
        self.nth
    }

    /// Takes the next piece of `worker`, who has `pieces` of them in this round: its number, or `None` if all are taken.
    ///
    /// All earlier rounds must be over ([`Self::is_over`], [`Self::wait`]).
    #[inline]
    pub fn claim(&self, worker: usize, round: u32, pieces: u32) -> Option<u32> {
        let round = self.base.wrapping_add(round);
        let word = &self.rounds.workers[worker].0.claimed;
        let mut seen = word.load(Ordering::Acquire);
        loop {
            let (at, taken) = ((seen >> 32) as u32, seen as u32);
            let next = if at == round {
                taken
            } else if (round.wrapping_sub(at) as i32) > 0 {
                0
            } else {
                return None; // This worker is late: the round is long over.
            };
            if next >= pieces {
                return None;
            }
            let claim = u64::from(round) << 32 | u64::from(next + 1);
            match word.compare_exchange_weak(seen, claim, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(next),
                Err(now) => seen = now,
            }
        }
    }

    /// `pieces` that the caller has claimed in the open round are done, of `total`. Whoever brings the last ones opens
    /// the next round.
    #[inline]
    pub fn finish(&self, pieces: u32, total: u32) {
        if pieces == 0 {
            return;
        }
        let done = &self.rounds.done.0;
        if done.fetch_add(pieces, Ordering::AcqRel) + pieces == total {
            done.store(0, Ordering::Relaxed);
            let open = &self.rounds.open;
            open.round.fetch_add(1, Ordering::SeqCst);
            if open.sleepers.load(Ordering::SeqCst) > 0 {
                atomic_wait::wake_all(&raw const open.round);
            }
        }
    }

    /// Whether all pieces of a round are done.
    ///
    /// # Panics
    /// If a worker panicked: its piece will never be done.
    #[inline]
    pub fn is_over(&self, round: u32) -> bool {
        let open = self.rounds.open.round.load(Ordering::Acquire);
        if open.wrapping_sub(self.base.wrapping_add(round)) as i32 > 0 {
            return true;
        }
        assert!(!self.rounds.broken.load(Ordering::Relaxed), "another worker panicked");
        false
    }

    /// A short wait for the others to finish; `false` says that it is time to help.
    ///
    /// # Panics
    /// If a worker panicked.
    #[inline]
    pub fn linger(&self, round: u32) -> bool {
        for _ in 0..BEFORE_HELPING.min(self.spin) {
            if self.is_over(round) {
                return true;
            }
            std::hint::spin_loop();
        }
        self.is_over(round)
    }

    /// Waits until a round is over: spins for a while, then sleeps. A worker that had to sleep spins less next time:
    /// what it waits for does not have a core of its own.
    ///
    /// # Panics
    /// If a worker panicked.
    pub fn wait(&self, worker: usize, round: u32) {
        let patience = &self.rounds.workers[worker].0.spin;
        let spin = patience.load(Ordering::Relaxed).min(self.spin);
        for _ in 0..spin {
            if self.is_over(round) {
                patience.store((spin * 2).clamp(SHORTEST_SPIN.min(self.spin), self.spin), Ordering::Relaxed);
                return;
            }
            std::hint::spin_loop();
        }
        let open = &self.rounds.open;
        while !self.is_over(round) {
            open.sleepers.fetch_add(1, Ordering::SeqCst);
            let now = self.base.wrapping_add(round);
            if open.round.load(Ordering::SeqCst) == now && !self.rounds.broken.load(Ordering::SeqCst) {
                atomic_wait::wait(&open.round, now);
            }
            open.sleepers.fetch_sub(1, Ordering::SeqCst);
            patience.store((spin / 4).max(SHORTEST_SPIN).min(self.spin), Ordering::Relaxed);
        }
    }
}
