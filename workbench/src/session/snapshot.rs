//! What a session shows of itself: plain data, made by the engine's thread, never changed afterwards.

use super::catalogue::Catalogue;
use super::command::Scope;
use super::interval::Interval;
use deltascope_kernels::Backend;
use deltascope_kernels::cuda::Readings;
use deltascope_model::engine::sides::other;
use deltascope_model::profiling::{Group, Table};
use deltascope_profiles::{Phase, Profile};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The state of a session at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Rises with every snapshot.
    pub seq: u64,
    /// Time since the session's start.
    pub clock: Duration,
    /// Model and machine.
    pub subject: Arc<Subject>,
    /// Whether it runs.
    pub activity: Activity,
    /// Which phase runs and is shown.
    pub phase: Phase,
    /// Workers of it.
    pub threads: usize,
    /// How fast.
    pub speed: Speed,
    /// The GPU's clocks, power and temperature; none without NVML.
    pub gpu_now: Option<Readings>,
    /// How the table is grouped.
    pub group: Group,
    /// Times of the last runs.
    pub table: Arc<Table>,
    /// Tokens of one run: 1 in decode.
    pub tokens_per_run: usize,
    /// The plan's nodes and what could compute them.
    pub catalogue: Arc<Catalogue>,
    /// What variants took when they were in force.
    pub known: Arc<Known>,
    /// What the table is compared with.
    pub baseline: Option<Arc<Baseline>>,
    /// The last change.
    pub last_swap: Option<Arc<SwapReport>>,
    /// The last comparison in turn, or the one under way.
    pub comparison: Option<Arc<Comparison>>,
    /// Something long under way.
    pub job: Option<Job>,
    /// That is timing on the other backend, which can be ended.
    pub surveying: bool,
    /// The prompt of the text.
    pub prompt: Arc<str>,
    /// The end of what was generated.
    pub text: Arc<str>,
    /// The newest last.
    pub messages: Arc<Vec<Message>>,
    /// What undo would take back, the newest last.
    pub undo: Arc<Vec<String>>,
    /// What saving writes.
    pub profile: Arc<Profile>,
}

/// What is constant in a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Subject {
    /// The model's name.
    pub model: String,
    /// Weight types and size: `Q4_K Q6_K 13 MB`.
    pub weights: String,
    /// `8l-256d-16e`.
    pub geometry: String,
    /// The file.
    pub path: String,
    /// The processor's name.
    pub cpu: String,
    /// The instruction set in use.
    pub isa: &'static str,
    /// Cores that the process may use.
    pub cores: usize,
    /// Where the model runs, but for nodes that are placed elsewhere.
    pub backend: Backend,
    /// The GPU that the model runs on, or that its nodes can be placed on.
    pub gpu: Option<String>,
    /// Bytes a second that memory gives; `None`: not measured.
    pub bandwidth: Option<f64>,
    /// Bytes of weights that a token reads.
    pub bytes_per_token: f64,
    /// Where profiles are saved.
    pub save_path: PathBuf,
}

/// Whether a session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// The first plan is not ready.
    Starting,
    /// Tokens go.
    Running,
    /// Paused by the user.
    Paused,
    /// It cannot go on; the reason.
    Failed(String),
}

/// Tokens a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Speed {
    /// Over the last runs.
    pub tokens_per_s: f64,
    /// Half the 95 % interval of it.
    pub plus_minus: f64,
    /// One value each half second, the newest last.
    pub history: Vec<f32>,
    /// Of what memory would allow; decode only.
    pub limit_share: Option<f64>,
    /// What recording costs, as a share of a token's time.
    pub recording_cost: Option<f64>,
}

/// Times that were measured and errors that were found, by variant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Time of a row while one variant computed it, µs a run.
    pub times: HashMap<VariantKey, Interval>,
    /// Checks of a row's variants.
    pub checks: HashMap<VariantKey, CheckReport>,
    /// The latest time of each row on each backend, in the model or by itself.
    pub sides: HashMap<(Phase, Group, String, Backend), SideTime>,
}

/// A row of ops or nodes under one variant, on the backend where that ran: variants of both may have one name.
pub type VariantKey = (Phase, Backend, String, String);

/// What a row took on a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct SideTime {
    /// µs a run.
    pub time: Interval,
    /// When, since the session's start.
    pub at: Duration,
    /// Not in the model: each distinct node was run by itself, with cold caches, and counted as often as there are such.
    pub alone: bool,
    /// What computed it.
    pub variants: String,
    /// If it was run by itself: the relative error against what the model made of the same inputs.
    pub error: Option<f64>,
}

/// Pinned times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baseline {
    /// What it is called on screen.
    pub name: String,
    /// Tokens a second, and half the interval, by phase.
    pub tokens_per_s: HashMap<Phase, (f64, f64)>,
    /// Rows by phase, grouping and label, µs a run.
    pub rows: HashMap<(Phase, Group, String), Interval>,
}

/// A change of variant or tunables, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct SwapReport {
    /// What was changed.
    pub scope: Scope,
    /// What computed it.
    pub from: String,
    /// What computes it now.
    pub to: String,
    /// Time before, µs a run.
    pub old: Option<Interval>,
    /// Time since.
    pub new: Option<Interval>,
    /// Relative change of the median.
    pub change: Option<Interval>,
    /// New against old and against the reference on live inputs; an error: why it was not checked.
    pub check: Result<CheckReport, String>,
    /// How far the model's output moved.
    pub divergence: Option<DivergenceReport>,
    /// It was taken back.
    pub undone: bool,
}

/// The worst of a check over one node for each distinct shape.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckReport {
    /// Nodes that were run.
    pub nodes: usize,
    /// Relative error against what computed it before.
    pub against_old: f64,
    /// Relative error against the reference.
    pub against_reference: f64,
    /// What the variant promises.
    pub tolerance: f64,
    /// The same bits as before.
    pub same_bits: bool,
}

impl CheckReport {
    /// Within the tolerance.
    pub fn passed(&self) -> bool {
        self.against_reference <= self.tolerance
    }
}

/// Kullback-Leibler divergence of the next tokens' distributions, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DivergenceReport {
    /// Tokens compared.
    pub tokens: usize,
    /// Mean over them.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// Tokens whose likeliest successor is the same.
    pub same_argmax: usize,
}

/// Two choices measured in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What is compared.
    pub scope: Scope,
    /// What is in force.
    pub a: String,
    /// What is tried.
    pub b: String,
    /// Pairs measured.
    pub pairs: usize,
    /// Pairs to measure.
    pub wanted: usize,
    /// Time of A, µs a run.
    pub time_a: Option<Interval>,
    /// Time of B.
    pub time_b: Option<Interval>,
    /// Relative change of the op's time from A to B, over pairs.
    pub op: Option<Interval>,
    /// Relative change of the run's wall time.
    pub run: Option<Interval>,
}

impl Comparison {
    /// No more pairs come.
    pub fn done(&self) -> bool {
        self.pairs >= self.wanted
    }
}

/// Progress of something long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What is done.
    pub what: String,
    /// So far.
    pub done: usize,
    /// Of.
    pub total: usize,
}

/// Something to tell the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Rises with every message.
    pub id: u64,
    /// An error.
    pub error: bool,
    /// What.
    pub text: String,
}

impl Snapshot {
    /// Where the model runs and the other backend, if there is one as far as the session has looked.
    pub fn sides(&self) -> Option<[Backend; 2]> {
        let main = self.subject.backend;
        let side = other(main);
        let there = self.subject.gpu.is_some() || self.known.sides.keys().any(|key| key.3 == side);
        there.then_some([main, side])
    }

    /// What a row took on a backend when it was last there.
    pub fn side_time(&self, label: &str, backend: Backend) -> Option<&SideTime> {
        self.known.sides.get(&(self.phase, self.group, label.to_owned(), backend))
    }

    /// Before anything ran.
    pub fn starting(subject: Subject, phase: Phase, threads: usize, profile: Profile) -> Snapshot {
        Snapshot {
            seq: 0,
            clock: Duration::ZERO,
            subject: Arc::new(subject),
            activity: Activity::Starting,
            phase,
            threads,
            speed: Speed::default(),
            gpu_now: None,
            group: Group::Op,
            table: Arc::default(),
            tokens_per_run: 1,
            catalogue: Arc::default(),
            known: Arc::default(),
            baseline: None,
            last_swap: None,
            comparison: None,
            job: None,
            surveying: false,
            prompt: "".into(),
            text: "".into(),
            messages: Arc::default(),
            undo: Arc::default(),
            profile: Arc::new(profile),
        }
    }
}
