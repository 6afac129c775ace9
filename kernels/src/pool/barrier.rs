//! A barrier that spins for a bounded time and then parks.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A counter that the last to arrive turns over. Can be used again at once.
#[repr(align(128))]
#[derive(Default)]
pub struct Barrier {
    arrived: AtomicU32,
    /// On its own line: waiting workers read it while others arrive.
    turn: Turn,
    broken: AtomicBool,
}

#[repr(align(128))]
#[derive(Default)]
struct Turn {
    generation: AtomicU32,
    parked: AtomicU32,
}

impl Barrier {
    /// A barrier that nobody has reached.
    pub fn new() -> Barrier {
        Barrier::default()
    }

    /// Waits until `nth` workers are here; spins `spin` rounds, then gives the core away.
    ///
    /// # Panics
    /// If another worker broke the barrier because it panicked.
    pub fn wait(&self, nth: usize, spin: u32) {
        let seen = self.turn.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) as usize + 1 == nth {
            self.arrived.store(0, Ordering::Relaxed);
            self.release();
            return;
        }
        for _ in 0..spin {
            if self.passed(seen) {
                return;
            }
            std::hint::spin_loop();
        }
        while !self.passed(seen) {
            self.turn.parked.fetch_add(1, Ordering::SeqCst);
            if self.turn.generation.load(Ordering::SeqCst) == seen && !self.broken.load(Ordering::SeqCst) {
                atomic_wait::wait(&self.turn.generation, seen);
            }
            self.turn.parked.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn passed(&self, seen: u32) -> bool {
        if self.turn.generation.load(Ordering::Acquire) != seen {
            return true;
        }
        assert!(!self.broken.load(Ordering::Relaxed), "another worker panicked");
        false
    }

    fn release(&self) {
        self.turn.generation.fetch_add(1, Ordering::SeqCst);
        if self.turn.parked.load(Ordering::SeqCst) > 0 {
            atomic_wait::wake_all(&raw const self.turn.generation);
        }
    }

    /// Lets everybody go with a panic.
    pub(super) fn break_it(&self) {
        self.broken.store(true, Ordering::SeqCst);
        atomic_wait::wake_all(&raw const self.turn.generation);
    }

    /// Makes a broken barrier usable when nobody is at it.
    pub(super) fn mend(&self) {
        self.arrived.store(0, Ordering::SeqCst);
        self.broken.store(false, Ordering::SeqCst);
    }
}
