//! Running a plan: every worker walks its steps.

mod bind;
mod clock;
mod record;

pub use bind::{BindError, Bindings, Bound};
pub use clock::{Clock, Ticks};
pub use record::{Recorder, StepTime};

use crate::plan::Plan;
use crate::pool::Pool;
use crate::variant::Call;

/// Runs steps `range` of a bound plan on the pool, one entry for all of them.
///
/// With a recorder each worker notes start and end of each of its steps; the time between an end and the next start
/// is its wait.
///
/// # Panics
/// If a kernel panics (which is a bug in it).
pub fn run(
    pool: &mut Pool,
    plan: &Plan,
    bound: &mut Bound,
    range: std::ops::Range<usize>,
    recorder: Option<&Recorder>,
) {
    let threads = plan.threads.min(pool.threads());
    let steps = &plan.steps[range.clone()];
    let calls = &bound.calls[range.clone()];
    let scratch = &bound.scratch;
    pool.run(threads, |ith, team| {
        let nth = team.nth();
        let mut track = recorder.map(|r| r.track(ith));
        if let Some(t) = &mut track {
            t.begin();
        }
        for (at, (step, call)) in steps.iter().zip(calls).enumerate() {
            if step.barrier && at > 0 {
                team.wait();
            }
            if let Some(t) = &mut track {
                t.start();
            }
            // Steps of fewer threads start at different workers, so that small ones run side by side.
            let (mine, step_threads) = if step.redundant {
                (0, 1)
            } else {
                ((ith + nth - step.first_worker % nth) % nth, step.threads.min(nth))
            };
            let (inputs, outputs) = call.of(ith);
            for phase in 0..step.phases {
                if phase > 0 {
                    team.wait();
                }
                if mine < step_threads {
                    let mut c = Call {
                        inst: &step.inst,
                        inputs,
                        outputs,
                        tunables: &step.tunables,
                        ith: mine,
                        nth: step_threads,
                        phase,
                        // SAFETY: worker `ith` alone uses scratch `ith`.
                        scratch: unsafe { scratch.of(ith) },
                        shared: call.shared.map_or(std::ptr::null_mut(), |t| t.ptr),
                    };
                    // SAFETY: the plan was built from variants that support their instances, `Bindings::bind` checked
                    // that every view lies in live memory, and the scheduler put a barrier between steps that touch
                    // the same bytes; a redundant step writes this worker's own.
                    unsafe { call.kernel.run(&mut c) };
                }
            }
            if let Some(t) = &mut track {
                t.end(range.start + at);
            }
        }
        team.wait();
        if let Some(t) = &mut track {
            t.finish();
        }
    });
}
