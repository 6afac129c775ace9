//! How a GPU's steps are timed in recorded runs: by CUPTI where it is asked for and serves, else by events.

use deltascope_kernels::cuda::{Cupti, CuptiError};

/// CUPTI, as far as it is used.
pub(super) struct Activity {
    state: State,
    /// Why it is not used though it was asked for.
    note: Option<String>,
}

enum State {
    /// It was not asked for, or does not serve.
    Unused,
    /// It is asked for, and was not needed yet.
    Wanted,
    /// Loaded, and not tracing.
    Idle(&'static Cupti),
    Tracing(&'static Cupti),
}

impl Activity {
    pub fn new(wanted: bool) -> Activity {
        Activity { state: if wanted { State::Wanted } else { State::Unused }, note: None }
    }

    /// Begins or ends tracing of the runs that follow; `driver` is the CUDA version that the driver serves.
    pub fn switch(&mut self, on: bool, driver: i32) {
        let done = match (&self.state, on) {
            (State::Wanted, true) => Cupti::load(driver).and_then(|c| c.start().map(|()| State::Tracing(c))),
            (State::Idle(c), true) => c.start().map(|()| State::Tracing(c)),
            // Kernels of checks and the like, which were nobody's run.
            (State::Tracing(c), true) => c.take().map(|_| State::Tracing(c)),
            (State::Tracing(c), false) => c.stop().map(|()| State::Idle(c)),
            _ => return,
        };
        match done {
            Ok(state) => self.state = state,
            Err(e) => self.refuse(&e),
        }
    }

    /// CUPTI, while it traces.
    pub fn tracing(&self) -> Option<&'static Cupti> {
        match self.state {
            State::Tracing(cupti) => Some(cupti),
            _ => None,
        }
    }

    /// Times come from events from now on.
    pub fn refuse(&mut self, why: &CuptiError) {
        if let State::Tracing(cupti) = self.state {
            // It is no longer listened to, whatever it answers.
            let _ = cupti.stop();
        }
        self.state = State::Unused;
        self.note = Some(format!("times of the GPU's steps come from events: {why}"));
    }

    /// Why it is not used though it was asked for.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if let State::Tracing(cupti) = self.state {
            let _ = cupti.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_is_not_loaded_and_a_refusal_is_said_once_and_for_all() {
        let mut unasked = Activity::new(false);
        unasked.switch(true, 13_000);
        assert!(unasked.tracing().is_none() && unasked.note().is_none());
        let mut refused = Activity::new(true);
        refused.refuse(&CuptiError::Count { seen: 3, launched: 4 });
        refused.switch(true, 13_000);
        assert!(refused.tracing().is_none());
        let note = refused.note().unwrap();
        assert!(note.contains("events") && note.contains("saw 3 kernels of a run that launched 4"), "{note}");
    }
}
