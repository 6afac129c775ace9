//! An op's test suite over one variant: cases × strides × aliasing × tunables × threads.

use super::single::{Outcome, RunError, Tensor, compare, run_on, run_reference};
use super::{Difference, fill};
use crate::Buffer;
use crate::ops::{self, Case};
use crate::plan::Defaults;
use crate::pool::Pool;
use crate::variant::{Instance, Tunables, Variant};
use crate::{Backend, DType, Layout};

/// What a suite found.
#[derive(Debug, Default)]
pub struct SuiteReport {
    /// Runs compared.
    pub runs: usize,
    /// Runs that the variant declined, with its reason once each.
    pub declined: Vec<String>,
    /// The worst difference seen.
    pub worst: Difference,
    /// The largest that was allowed; cases of other types may allow less.
    pub tolerance: f32,
    /// What was wrong.
    pub failures: Vec<Failure>,
}

/// A run that went wrong.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Case, strides, tunables and threads.
    pub what: String,
    /// How it differed, or the error.
    pub why: String,
}

/// How inputs are laid out beside contiguous.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Strides {
    Contiguous,
    /// Gaps after each row and plane, as in views of larger tensors.
    Padded,
    /// Dimensions 0 and 1 lie changed over in memory, as after a transpose.
    Transposed,
    /// Dimensions 1 and 2 lie changed over, as after a permute of heads and tokens.
    HeadsFirst,
}

const STRIDES: [Strides; 4] = [Strides::Contiguous, Strides::Padded, Strides::Transposed, Strides::HeadsFirst];

/// Runs the op's whole suite over one variant, on pools of the given sizes. Results must stay within the variant's
/// tolerance and be the same bits for every number of threads.
pub fn suite(variant: &dyn Variant, threads: &[usize], seed: u64) -> SuiteReport {
    suite_on(variant.spec().backend, variant, threads, seed)
}

/// As [`suite`], on a backend that the variant serves. On CUDA the pools only say how often each run is repeated: its
/// results must be the same bits each time.
pub fn suite_on(backend: Backend, variant: &dyn Variant, threads: &[usize], seed: u64) -> SuiteReport {
    let mut pools: Vec<Pool> = threads.iter().map(|&t| Pool::new(t)).collect();
    let mut report = SuiteReport::default();
    for (i, case) in ops::def(variant.spec().op).cases().iter().enumerate() {
        for strides in STRIDES {
            one_case((backend, variant), case, strides, seed ^ (i as u64) << 20, &mut pools, &mut report);
        }
    }
    report
}

fn one_case(
    (backend, v): (Backend, &dyn Variant),
    case: &Case,
    strides: Strides,
    seed: u64,
    pools: &mut [Pool],
    report: &mut SuiteReport,
) {
    let spec = v.spec();
    let def = ops::def(spec.op);
    let inputs: Vec<Tensor> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(n, input)| {
            let dense = fill(&input.layout, input.fill, seed + n as u64);
            lay_out(&input.layout, &dense, strides)
        })
        .collect();
    if strides != Strides::Contiguous && inputs.iter().all(|t| t.layout.is_contiguous()) {
        return;
    }
    let reference = match run_reference(&mut pools[0], spec.op, case.params, &inputs) {
        Ok(r) => r,
        Err(e) => {
            report
                .failures
                .push(Failure { what: format!("{} {strides:?}", case.name), why: format!("reference: {e}") });
            return;
        }
    };
    let layouts: Vec<Layout> = inputs.iter().map(|t| t.layout).collect();
    let outputs = def.infer(&case.params, &layouts).unwrap_or_default();
    let tolerance = v.tolerance(backend, &Instance { op: spec.op, params: case.params, inputs: layouts, outputs });
    report.tolerance = report.tolerance.max(tolerance);
    let mut aliases = vec![None];
    aliases.extend(
        def.in_place().iter().copied().filter(|&(_, i)| i < inputs.len() && inputs[i].layout.is_contiguous()).map(Some),
    );
    for alias in aliases {
        for tunables in settings(v) {
            let mut first: Option<Outcome> = None;
            for pool in pools.iter_mut() {
                let what =
                    format!("{} {strides:?} alias {alias:?} {:?} threads {}", case.name, tunables, pool.threads());
                match run_on(backend, pool, v, &tunables, case.params, &inputs, alias, &Defaults) {
                    Err(RunError::Unsupported(why)) => {
                        if !report.declined.contains(&why.0) {
                            report.declined.push(why.0);
                        }
                        return;
                    }
                    Err(e) => report.failures.push(Failure { what, why: e.to_string() }),
                    Ok(result) => {
                        let d = compare(&reference, &result);
                        report.runs += 1;
                        report.worst = report.worst.worse(d);
                        if d.relative > f64::from(tolerance) {
                            let why = format!("{d:?} is above the tolerance of {tolerance:e}");
                            report.failures.push(Failure { what: what.clone(), why });
                        }
                        match &first {
                            None => first = Some(result),
                            Some(f) if compare(f, &result).bits_differ => report.failures.push(Failure {
                                what,
                                why: "other bits than with the first number of threads".to_owned(),
                            }),
                            Some(_) => {}
                        }
                    }
                }
            }
        }
    }
}

/// Defaults, and each other value of each tunable by itself.
fn settings(v: &dyn Variant) -> Vec<Tunables> {
    let spec = v.spec();
    let defaults = Tunables::defaults(spec.tunables);
    let mut all = vec![defaults.clone()];
    for t in spec.tunables {
        for &value in t.values.iter().filter(|&&x| x != t.default) {
            let mut s = defaults.clone();
            if s.set(spec.tunables, t.name, value).is_ok() {
                all.push(s);
            }
        }
    }
    all
}

/// Copies dense elements into a strided layout. Only plain types are laid out otherwise than contiguous.
fn lay_out(dense: &Layout, data: &Buffer, strides: Strides) -> Tensor {
    let plain = matches!(dense.dtype, DType::F32 | DType::F16 | DType::I32);
    let size = dense.dtype.block_bytes();
    let ne = dense.ne;
    let layout = match strides {
        _ if !plain => *dense,
        Strides::Contiguous => *dense,
        Strides::Padded => {
            let nb1 = size * (ne[0] + 4);
            let nb2 = nb1 * ne[1] + 8 * size;
            Layout { nb: [size, nb1, nb2, nb2 * ne[2] + 16 * size], ..*dense }
        }
        Strides::Transposed => {
            let d = Layout::contiguous(dense.dtype, [ne[1], ne[0], ne[2], ne[3]]);
            d.permuted([1, 0, 2, 3])
        }
        Strides::HeadsFirst => {
            let d = Layout::contiguous(dense.dtype, [ne[0], ne[2], ne[1], ne[3]]);
            d.permuted([0, 2, 1, 3])
        }
    };
    let mut out = Buffer::zeroed(layout.span());
    if layout == *dense {
        out.bytes_mut().copy_from_slice(&data.bytes()[..layout.span()]);
        return Tensor { layout, data: out };
    }
    for row in 0..dense.rows() {
        let [i1, i2, i3] = dense.row_index(row);
        for i0 in 0..ne[0] {
            let (from, to) = (dense.offset([i0, i1, i2, i3]), layout.offset([i0, i1, i2, i3]));
            out.bytes_mut()[to..to + size].copy_from_slice(&data.bytes()[from..from + size]);
        }
    }
    Tensor { layout, data: out }
}
