//! What runs cost: one run's record, tables over many, and what a plan is made of.
//!
//! Times are those of the workers: in each step a worker first waits (for the others, at the barrier before it), then
//! works. A step's time is the mean over the workers of both, so that the steps of a run sum to the mean time that a
//! worker was inside it; what the run's wall time has beyond that is the *residual*, shown and never hidden.
//!
//! Times of a GPU are from event to event, or each kernel's own ([`Timing`]).

mod info;
mod kernels;
mod record;
mod recording;
mod stats;
mod timeline;

pub use info::{NodeInfo, PlanInfo};
pub use kernels::{Idle, KernelTime, Kernels};
pub use record::{RunRecord, StepCost, Timing, Track};
pub(crate) use recording::Recording;
pub use stats::{Group, Row, Stats, Table};
pub use timeline::{Timeline, TimelineRow};
