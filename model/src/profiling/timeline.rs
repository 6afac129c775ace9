//! Every kernel of a GPU's run in the order of launches, over many runs.

use super::{KernelTime, PlanInfo, RunRecord};
use deltascope_kernels::cuda::KernelSpan;
use std::sync::Arc;

/// Kernels of runs of one plan.
#[derive(Default)]
pub struct Timeline {
    info: Option<Arc<PlanInfo>>,
    runs: Vec<Vec<KernelTime>>,
}

/// A kernel: medians over the runs.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineRow {
    /// The kernel's entry.
    pub kernel: &'static str,
    /// The node that it serves.
    pub node: String,
    /// Its op, with the weight's type.
    pub label: String,
    /// The variant.
    pub variant: &'static str,
    /// Microseconds.
    pub span: KernelSpan,
}

impl Timeline {
    /// Adds a run, if CUPTI saw its kernels. Runs of another plan are forgotten.
    pub fn push(&mut self, r: &RunRecord) {
        let Some(kernels) = &r.kernels else { return };
        if !self.info.as_ref().is_some_and(|i| Arc::ptr_eq(i, &r.info)) {
            self.runs.clear();
            self.info = Some(Arc::clone(&r.info));
        }
        self.runs.push(kernels.0.clone());
    }

    /// Runs that it is made of.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// A row for each kernel, in order.
    pub fn rows(&self) -> Vec<TimelineRow> {
        let (Some(info), Some(first)) = (&self.info, self.runs.first()) else { return Vec::new() };
        let row = |(i, k): (usize, &KernelTime)| {
            let node = &info.nodes[info.step_nodes[k.step]];
            let of = |get: fn(&KernelSpan) -> f64| median(self.runs.iter().map(|run| get(&run[i].span)).collect());
            TimelineRow {
                kernel: k.name,
                node: node.name.clone(),
                label: node.label.clone(),
                variant: node.variant.spec().name,
                span: KernelSpan {
                    start: of(|s| s.start),
                    duration: of(|s| s.duration),
                    own: of(|s| s.own),
                    gap: of(|s| s.gap),
                    overlap: of(|s| s.overlap),
                },
            }
        };
        first.iter().enumerate().map(row).collect()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}
