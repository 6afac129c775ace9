//! The kernels of one run on a GPU, as CUPTI saw them.

use deltascope_kernels::cuda::KernelSpan;

/// A kernel that a step has launched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelTime {
    /// The step; it may have launched several.
    pub step: usize,
    /// The kernel's entry.
    pub name: &'static str,
    /// When, in microseconds.
    pub span: KernelSpan,
}

/// All kernels of a run, in the order of their launches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kernels(pub Vec<KernelTime>);

impl Kernels {
    /// Microseconds between kernels in which none ran.
    pub fn gap_us(&self) -> f64 {
        self.0.iter().map(|k| k.span.gap).sum()
    }
}

/// What a GPU's kernels left unused between them, and did beside one another: of a run, or means over several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Idle {
    /// Kernels launched.
    pub kernels: f64,
    /// Kernels before which none ran for a while.
    pub gaps: f64,
    /// Microseconds of that, which no row contains.
    pub gap_us: f64,
    /// Kernels that started before all before them were done.
    pub overlaps: f64,
    /// Microseconds of that: no row is charged with them, they hide behind the kernels before.
    pub overlap_us: f64,
}

impl Idle {
    pub(super) fn of(kernels: &Kernels) -> Idle {
        kernels.0.iter().fold(Idle::default(), |sum, k| Idle {
            kernels: sum.kernels + 1.0,
            gaps: sum.gaps + f64::from(u8::from(k.span.gap > 0.0)),
            gap_us: sum.gap_us + k.span.gap,
            overlaps: sum.overlaps + f64::from(u8::from(k.span.overlap > 0.0)),
            overlap_us: sum.overlap_us + k.span.overlap,
        })
    }

    /// The mean over runs; none if there are none, or one was timed otherwise.
    pub(super) fn mean(runs: impl Iterator<Item = Option<Idle>>) -> Option<Idle> {
        let all: Vec<Idle> = runs.collect::<Option<_>>()?;
        let mean = |f: fn(&Idle) -> f64| all.iter().map(f).sum::<f64>() / all.len() as f64;
        (!all.is_empty()).then(|| Idle {
            kernels: mean(|i| i.kernels),
            gaps: mean(|i| i.gaps),
            gap_us: mean(|i| i.gap_us),
            overlaps: mean(|i| i.overlaps),
            overlap_us: mean(|i| i.overlap_us),
        })
    }
}
