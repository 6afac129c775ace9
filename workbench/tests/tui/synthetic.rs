//! A snapshot as a session could have published it, the same on every machine.

use deltascope::session::catalogue::{Catalogue, Choice, Node, TunableRange};
use deltascope::session::interval::{Interval, notch};
use deltascope::session::snapshot::{
    Baseline, CheckReport, Comparison, DivergenceReport, Known, Message, SideTime, Snapshot, Speed, Subject, SwapReport,
};
use deltascope::session::{Activity, Scope};
use deltascope_kernels::cuda::{Readings, Throttle};
use deltascope_kernels::{Backend, Cost, DType, Op};
use deltascope_model::profiling::{Group, Idle, Row, Table, Timing};
use deltascope_profiles::{Choice as ProfileChoice, Phase, Profile, Rule};
use std::sync::Arc;
use std::time::Duration;

/// Op, weight type, nodes, µs a token, GB/s, share of waiting, variant, lowered, time in the baseline over time now.
type Line = (Op, Option<DType>, usize, f64, f64, f64, &'static str, bool, f64);

const LINES: &[Line] = &[
    (Op::GatedDeltaNet, None, 6, 812.0, 11.2, 0.04, "fused_inplace", false, 2.56),
    (Op::MulMat, Some(DType::Q4_K), 49, 640.0, 16.0, 0.06, "rows8", false, 1.14),
    (Op::MoeUpGate, Some(DType::Q4_K), 8, 590.0, 15.1, 0.09, "rows8", false, 1.0),
    (Op::MoeDown, Some(DType::Q5_0), 8, 331.0, 14.7, 0.08, "rows8", false, 1.0),
    (Op::MulMat, Some(DType::Q6_K), 1, 301.0, 17.9, 0.01, "rows8", false, 1.42),
    (Op::Attention, None, 2, 120.0, 3.0, 0.33, "unfused", true, 1.0),
    (Op::SsmConv, None, 6, 92.0, 5.1, 0.31, "fused_silu", false, 0.9),
    (Op::RmsNorm, None, 33, 71.0, 0.0, 0.40, "fused", false, 1.0),
    (Op::Softmax, None, 2, 22.0, 0.0, 0.20, "threaded", false, 1.0),
    (Op::Scale, None, 6, 12.3, 0.0, 0.12, "blocked", false, 2.2),
    (Op::Sigmoid, None, 8, 0.62, 0.0, 0.05, "serial", false, 1.0),
];

const WALL: f64 = 4667.0;

fn samples(mean: f64) -> Vec<f32> {
    (0..48).map(|i| (mean * (0.97 + 0.002 * f64::from(i * 17 % 31))) as f32).collect()
}

fn label(op: Op, dtype: Option<DType>) -> String {
    dtype.map_or_else(|| op.name().to_owned(), |t| format!("{op} {t}"))
}

fn row(at: usize, line: &Line) -> Row {
    let &(op, dtype, n, us, gb, wait, variant, lowered, _) = line;
    let mut sorted = samples(us);
    sorted.sort_by(f32::total_cmp);
    Row {
        label: label(op, dtype),
        op: Some(op),
        n,
        nodes: vec![at],
        own_us: if lowered { 0.0 } else { us },
        total_us: us,
        p50_us: f64::from(sorted[24]),
        p95_us: f64::from(sorted[45]),
        share: us / WALL,
        wait_share: wait,
        cost: Cost { bytes: gb * us * 1e3, flops: us * 4e3 },
        gb_per_s: gb,
        variants: vec![variant],
        sides: vec![(Backend::Cpu, us)],
        lowered,
        samples: samples(us),
    }
}

fn range(name: &'static str, doc: &'static str, default: i64, values: &[i64]) -> TunableRange {
    TunableRange { name, doc, default, values: values.to_vec() }
}

fn choice(variant: &'static str, summary: &'static str, lowering: bool, tolerance: f32) -> Choice {
    let tunables = match variant {
        "fused_inplace" => vec![
            range("heads", "heads of one task", 2, &[1, 2, 4, 8]),
            range("threads", "workers of this op, at most", 2, &[1, 2]),
        ],
        "blocked" => vec![range("block", "elements of a task", 1024, &[256, 1024, 4096])],
        _ => Vec::new(),
    };
    Choice { variant, summary, lowering, reason: None, tunables, tolerance }
}

fn choices(line: &Line) -> Vec<Choice> {
    match line.0 {
        Op::GatedDeltaNet => vec![
            choice("fused_inplace", "One pass over the state where it lies, heads split over threads.", false, 1e-5),
            choice("fused_recurrent", "One pass over a copy of the state, a head at a time.", false, 1e-5),
            choice("lowered_chunked", "Products of chunks, as the first port had it.", true, 1e-5),
            choice("lowered_recurrent", "Token by token out of simple ops.", true, 1e-5),
            Choice {
                reason: Some("chunks start at 16 tokens, this is 1".into()),
                ..choice("chunked", "Chunks as products, for prompts.", false, 1e-5)
            },
            choice("reference", "The recurrence as it is written.", false, 0.0),
        ],
        _ => {
            vec![choice(line.6, "What serves it.", line.7, 1e-6), choice("reference", "As it is written.", false, 0.0)]
        }
    }
}

fn catalogue() -> Catalogue {
    let node = |(at, line): (usize, &Line)| Node {
        name: format!("blk.{at}.{}", line.0),
        op: line.0,
        dtype: line.1,
        shape: "F32 128×2×1, F32 128×2×1 → F32 128×4×1".into(),
        variant: line.6,
        tunables: match line.6 {
            "fused_inplace" => vec![("heads", 2)],
            "blocked" => vec![("block", 1024)],
            _ => Vec::new(),
        },
        note: None,
        lowered: line.7,
        parent: None,
        usage: at,
    };
    Catalogue {
        nodes: LINES.iter().enumerate().map(node).collect(),
        uses: LINES.iter().map(choices).collect(),
        threads: 2,
        barriers: 212,
    }
}

fn interval(median: f64, half: f64, n: usize) -> Interval {
    Interval { median, lo: median - half, hi: median + half, n }
}

pub fn scope() -> Scope {
    Scope { op: Op::GatedDeltaNet, dtype: None, node: None, phase: Phase::Decode }
}

/// The same on a GPU whose kernels CUPTI has seen, and whose clocks are held down.
pub fn on_gpu() -> Snapshot {
    let snap = snapshot();
    let mut rows = snap.table.rows.clone();
    for row in &mut rows {
        row.sides = vec![(Backend::Cuda, row.total_us)];
        row.wait_share = 0.0;
    }
    let idle = Idle { kernels: 302.0, gaps: 12.0, gap_us: 1.6, overlaps: 289.0, overlap_us: 1667.5 };
    let table = Table {
        rows,
        residual_us: 325.5,
        wait_us: 0.0,
        barriers: 0,
        backend: Backend::Cuda,
        timing: Timing::Cupti,
        idle: Some(idle),
        ..(*snap.table).clone()
    };
    let readings = Readings {
        sm_mhz: Some(1755),
        sm_max_mhz: Some(1980),
        memory_mhz: Some(3201),
        milliwatts: Some(698_600),
        limit_milliwatts: Some(700_000),
        celsius: Some(51),
        throttle: Some(Throttle(0x4)),
    };
    Snapshot {
        subject: Arc::new(Subject {
            backend: Backend::Cuda,
            gpu: Some("NVIDIA H200".into()),
            ..(*snap.subject).clone()
        }),
        table: Arc::new(table),
        gpu_now: Some(readings),
        ..snap
    }
}

/// A session that has been swapped, checked and compared.
pub fn snapshot() -> Snapshot {
    let subject = Subject {
        model: "deltascope-demo".into(),
        weights: "Q4_K Q5_0 Q6_K Q8_0 13 MB".into(),
        geometry: "8l-256d-16e".into(),
        path: "demo".into(),
        cpu: "AMD EPYC 7B13".into(),
        isa: "avx2",
        cores: 2,
        backend: Backend::Cpu,
        gpu: None,
        bandwidth: Some(23.3e9),
        bytes_per_token: 6.1e6,
        save_path: "profile.toml".into(),
    };
    let mut rule = Rule { phase: Some(Phase::Decode), ..Rule::new("gated_delta_net") };
    rule.set_types(None::<&str>);
    let profile = Profile {
        choices: vec![ProfileChoice::new(rule, "fused_inplace")],
        name: Some("demo".into()),
        ..Profile::default()
    };
    let snap = Snapshot::starting(subject, Phase::Decode, 2, profile);
    let rows: Vec<Row> = LINES.iter().enumerate().map(|(at, line)| row(at, line)).collect();
    let mut baseline = Baseline { name: "start".into(), ..Baseline::default() };
    baseline.tokens_per_s.insert(Phase::Decode, (171.0, 1.0));
    let mut known = Known::default();
    for (row, line) in rows.iter().zip(LINES) {
        let before: Vec<f32> = row.samples.iter().map(|s| s * line.8 as f32).collect();
        let key = (Phase::Decode, Group::Op, row.label.clone());
        baseline.rows.insert(key, notch(&before).unwrap());
        known
            .times
            .insert((Phase::Decode, Backend::Cpu, row.label.clone(), line.6.to_owned()), notch(&row.samples).unwrap());
    }
    let key = |variant: &str| (Phase::Decode, Backend::Cpu, "gated_delta_net".to_owned(), variant.to_owned());
    known.times.insert(key("lowered_recurrent"), interval(2088.0, 9.0, 64));
    let check = |against_reference, tolerance| CheckReport {
        nodes: 1,
        against_old: 3e-7,
        against_reference,
        tolerance,
        same_bits: false,
    };
    known.checks.insert(key("fused_inplace"), check(2e-7, 1e-5));
    known.checks.insert(key("lowered_chunked"), check(6e-4, 1e-5));
    let swap = SwapReport {
        scope: scope(),
        from: "lowered_recurrent".into(),
        to: "fused_inplace".into(),
        old: Some(interval(2088.0, 9.0, 64)),
        new: Some(interval(812.0, 4.0, 64)),
        change: Some(interval(-0.611, 0.012, 64)),
        check: Ok(check(2e-7, 1e-5)),
        divergence: Some(DivergenceReport { tokens: 8, mean: 3e-9, max: 9e-9, same_argmax: 8 }),
        undone: false,
    };
    let comparison = Comparison {
        scope: scope(),
        a: "fused_inplace heads=2".into(),
        b: "fused_recurrent".into(),
        pairs: 60,
        wanted: 60,
        time_a: Some(interval(812.0, 4.0, 60)),
        time_b: Some(interval(1104.0, 6.0, 60)),
        op: Some(interval(0.36, 0.011, 60)),
        run: Some(interval(0.004, 0.009, 60)),
    };
    Snapshot {
        seq: 7,
        activity: Activity::Running,
        speed: Speed {
            tokens_per_s: 214.3,
            plus_minus: 1.1,
            history: vec![150.0, 160.0, 171.0, 171.0, 180.0, 196.0, 214.0, 214.3, 214.0],
            limit_share: Some(0.41),
            recording_cost: Some(0.003),
        },
        table: Arc::new(Table {
            rows,
            runs: 48,
            wall_us: WALL,
            wait_us: 402.0,
            residual_us: 41.0,
            at_once_us: 0.0,
            barriers: 212,
            backend: Backend::Cpu,
            timing: Timing::Workers,
            idle: None,
            mixed: false,
        }),
        catalogue: Arc::new(catalogue()),
        known: Arc::new(known),
        baseline: Some(Arc::new(baseline)),
        last_swap: Some(Arc::new(swap)),
        comparison: Some(Arc::new(comparison)),
        prompt: "The `Iterator` trait".into(),
        text: " is the core of composition in this module. Its only required method, `next`, returns the next item, \
               or `None` once the iterator is exhausted.\n\n# Examples\n\n```\nlet v = vec![1, 2, 3];\n```\n"
            .into(),
        messages: Arc::new(vec![Message { id: 1, error: false, text: "undone: scale: rows → blocked".into() }]),
        undo: Arc::new(vec!["gated_delta_net: lowered_recurrent → fused_inplace".into()]),
        ..snap
    }
}

/// The same on a GPU, beside a processor: some rows were there once or were timed there, one runs there.
pub fn two_sides() -> Snapshot {
    let mut snap = snapshot();
    let subject = Subject {
        backend: Backend::Cuda,
        gpu: Some("NVIDIA H200".into()),
        cpu: "Intel Xeon Platinum 8481C".into(),
        ..Subject::clone(&snap.subject)
    };
    let mut table = Table::clone(&snap.table);
    (table.backend, table.mixed) = (Backend::Cuda, true);
    let mut known = Known::clone(&snap.known);
    for row in &mut table.rows {
        row.sides = match row.label.as_str() {
            "moe_up_gate Q4_K" => vec![(Backend::Cpu, row.total_us)],
            "mul_mat Q4_K" => vec![(Backend::Cpu, 61.0), (Backend::Cuda, row.total_us - 61.0)],
            _ => vec![(Backend::Cuda, row.total_us)],
        };
    }
    let mut time = |label: &str, on, median: f64, at, alone: bool| {
        let (variants, error) = if alone { ("rows8", Some(2e-6)) } else { ("two_launches", None) };
        let time = interval(median, median / 50.0, 20);
        let side = SideTime { time, at: Duration::from_secs(at), alone, variants: variants.into(), error };
        known.sides.insert((Phase::Decode, Group::Op, label.to_owned(), on), side);
    };
    time("gated_delta_net", Backend::Cpu, 20_488.0, 3590, true);
    time("moe_down Q5_0", Backend::Cpu, 1834.0, 3000, true);
    time("moe_up_gate Q4_K", Backend::Cuda, 97.3, 120, false);
    snap.clock = Duration::from_secs(3602);
    snap.subject = Arc::new(subject);
    snap.table = Arc::new(table);
    snap.known = Arc::new(known);
    snap
}
