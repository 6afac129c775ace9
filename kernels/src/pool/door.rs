//! Whether a worker is inside a job.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const SHUT: u32 = 0;
const OPEN: u32 = 1;
const INSIDE: u32 = 2;

/// One worker's way in and out of jobs. A job lives on its caller's stack, so a worker may touch it only between
/// [`Self::enter`] and [`Self::leave`], and the caller returns only when every door is shut again.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Door {
    state: AtomicU32,
    /// The caller sleeps until the worker leaves.
    awaited: AtomicBool,
}

impl Door {
    /// By the caller, before a job.
    pub(super) fn open(&self) {
        self.state.store(OPEN, Ordering::Release);
    }

    /// By the worker: `false` if there is no job for it (any more).
    pub(super) fn enter(&self) -> bool {
        self.state.compare_exchange(OPEN, INSIDE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// By the worker, when it is done with the job.
    pub(super) fn leave(&self) {
        self.state.store(SHUT, Ordering::SeqCst);
        if self.awaited.load(Ordering::SeqCst) {
            atomic_wait::wake_all(&raw const self.state);
        }
    }

    /// By the caller: a worker that has not come yet need not come any more.
    pub(super) fn shut(&self) {
        let _ = self.state.compare_exchange(OPEN, SHUT, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// By the caller: returns when the worker has come and left, or the door was shut before it came.
    pub(super) fn wait(&self, spin: u32) {
        for _ in 0..spin {
            if self.state.load(Ordering::Acquire) == SHUT {
                return;
            }
            std::hint::spin_loop();
        }
        self.awaited.store(true, Ordering::SeqCst);
        loop {
            let now = self.state.load(Ordering::SeqCst);
            if now == SHUT {
                break;
            }
            atomic_wait::wait(&self.state, now);
        }
        self.awaited.store(false, Ordering::Relaxed);
    }
}
