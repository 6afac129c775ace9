//! The two lines at the top: what runs where and how fast; the level of the table and the baseline.

use super::super::app::App;
use super::super::format::{change, percent, sparkline};
use super::measure::{cut, width};
use super::words::{level, sign, style};
use crate::session::interval::Verdict;
use crate::session::{Activity, Snapshot};
use deltascope_kernels::Backend;
use deltascope_kernels::cuda::{Readings, Throttle};
use deltascope_model::profiling::Group;
use deltascope_profiles::Phase;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, snap: &Snapshot) {
    let lines = vec![first(app, snap, usize::from(area.width)), second(app, snap, usize::from(area.width))];
    frame.render_widget(Paragraph::new(lines), area);
}

/// A part of a line; the less important ones go where there is no room.
struct Part {
    rank: u8,
    spans: Vec<(String, Style)>,
}

impl Part {
    fn width(&self) -> usize {
        self.spans.iter().map(|(text, _)| width(text)).sum()
    }
}

/// As many parts as fit, in their order, those of low rank first.
fn fit(mut parts: Vec<Part>, room: usize) -> Vec<Span<'static>> {
    while parts.len() > 1 && parts.iter().map(Part::width).sum::<usize>() > room {
        let Some(worst) = (0..parts.len()).max_by_key(|&i| parts[i].rank) else { break };
        parts.remove(worst);
    }
    parts.into_iter().flat_map(|p| p.spans).map(|(text, style)| Span::styled(text, style)).collect()
}

fn first(app: &App, snap: &Snapshot, room: usize) -> Line<'static> {
    let t = app.theme;
    let (s, v) = (&snap.subject, &snap.speed);
    let one = |rank, text: String, style| Part { rank, spans: vec![(text, style)] };
    let rule = |rank, text: String| Part { rank, spans: vec![(" │ ".into(), t.dim()), (text, t.text())] };
    // What runs the model: the processor with its threads, or the GPU.
    let (processor, threads, kernels) = match &s.gpu {
        Some(gpu) if s.backend == Backend::Cuda => (gpu, "GPU".to_owned(), "cuda"),
        _ if snap.threads == 1 => (&s.cpu, "1 thread".to_owned(), s.isa),
        _ => (&s.cpu, format!("{} threads", snap.threads), s.isa),
    };
    let (rate, half) = if v.tokens_per_s > 0.0 {
        (format!("{:.1} t/s", v.tokens_per_s), format!(" ±{:.1}", v.plus_minus))
    } else {
        ("— t/s".to_owned(), String::new())
    };
    let mut parts = vec![
        one(0, " deltascope".into(), t.accent()),
        one(3, format!("  {}", cut(&s.path, 30)), t.strong()),
        one(5, format!(" {}", s.weights), t.text()),
        rule(8, cut(processor, 28)),
        rule(4, threads),
        one(7, format!(" · {kernels}"), t.text()),
        Part {
            rank: 0,
            spans: vec![
                (" │ ".into(), t.dim()),
                (format!("{} ", snap.phase.as_str().to_uppercase()), t.accent()),
                (rate, t.strong()),
                (half, t.dim()),
            ],
        },
    ];
    if !v.history.is_empty() {
        parts.push(one(2, format!(" {}", sparkline(&v.history, if room > 150 { 24 } else { 10 })), t.bar()));
    }
    if let Some(share) = v.limit_share {
        let words = if room > 120 { " of memory limit" } else { " of memory" };
        parts.push(one(3, format!("  {}{words}", percent(share)), t.text()));
    }
    if let Some(cost) = v.recording_cost {
        parts.push(rule(6, format!("rec {}", percent(cost.max(0.0)))));
    }
    Line::from(fit(parts, room))
}

fn second(app: &App, snap: &Snapshot, room: usize) -> Line<'static> {
    let t = app.theme;
    let mut tabs: Vec<Span<'static>> = vec![Span::raw(" ")];
    for group in [Group::Op, Group::Node, Group::Layer, Group::Block] {
        let style = if group == snap.group { t.selected() } else { t.dim() };
        tabs.push(Span::styled(format!(" {} ", level(group).1), style));
    }
    let mut badge = |text: String, style: Style| {
        tabs.push(Span::raw("  "));
        tabs.push(Span::styled(text, style));
    };
    match &snap.activity {
        Activity::Running => {}
        Activity::Starting => badge("starting".into(), t.warn()),
        Activity::Paused => badge("PAUSED".into(), t.warn()),
        Activity::Failed(_) => badge("STOPPED".into(), t.bad()),
    }
    if app.frozen.is_some() {
        badge("FROZEN".into(), t.warn());
    }
    let used: usize = tabs.iter().map(|s| width(&s.content)).sum();
    let baseline = baseline(app, snap);
    let wide: usize = baseline.iter().map(|s| width(&s.content)).sum();
    if let Some(readings) = &snap.gpu_now {
        tabs.extend(clocks(app, readings, room.saturating_sub(used + wide + 1)));
    }
    let used: usize = tabs.iter().map(|s| width(&s.content)).sum();
    if used + wide < room {
        tabs.push(Span::raw(" ".repeat(room - used - wide)));
        tabs.extend(baseline);
    }
    Line::from(tabs)
}

/// What the GPU says of itself, as much of it as fits; what holds its clocks down comes first.
fn clocks(app: &App, r: &Readings, room: usize) -> Vec<Span<'static>> {
    let t = app.theme;
    let part = |rank, text: String, style| Part { rank, spans: vec![(text, style)] };
    let watts = |milliwatts: u32| (milliwatts + 500) / 1000;
    let mut parts = vec![part(0, String::new(), t.dim())];
    parts.extend(r.sm_mhz.map(|mhz| part(2, format!("  {mhz} MHz"), t.text())));
    parts.extend(r.memory_mhz.map(|mhz| part(6, format!(" · memory {mhz} MHz"), t.dim())));
    parts.extend(r.milliwatts.map(|power| {
        let limit = r.limit_milliwatts.map_or_else(String::new, |most| format!("/{}", watts(most)));
        part(3, format!(" · {}{limit} W", watts(power)), t.text())
    }));
    parts.extend(r.celsius.map(|degrees| part(5, format!(" · {degrees} °C"), t.text())));
    let reasons = r.throttle.map(Throttle::reasons).unwrap_or_default();
    if !reasons.is_empty() {
        parts.push(part(1, "  throttled".to_owned(), t.warn()));
        parts.push(part(4, format!(": {}", reasons.join(", ")), t.warn()));
    }
    fit(parts, room)
}

fn baseline(app: &App, snap: &Snapshot) -> Vec<Span<'static>> {
    let t = app.theme;
    let Some(b) = &snap.baseline else { return vec![Span::styled("no baseline yet ", t.dim())] };
    let Some(&(rate, half)) = b.tokens_per_s.get(&snap.phase) else {
        return vec![Span::styled(format!("baseline: {} ", b.name), t.dim())];
    };
    let v = &snap.speed;
    if v.tokens_per_s <= 0.0 {
        return vec![Span::styled(format!("baseline: {} {rate:.1} t/s  measuring ", b.name), t.dim())];
    }
    let relative = v.tokens_per_s / rate - 1.0;
    let verdict = if (v.tokens_per_s - rate).abs() <= v.plus_minus + half || relative.abs() < 0.005 {
        Verdict::Tie
    } else if relative > 0.0 {
        Verdict::Faster
    } else {
        Verdict::Slower
    };
    let unit = if snap.phase == Phase::Decode { "t/s" } else { "t/s prefill" };
    vec![
        Span::styled(format!("baseline: {} {rate:.1} {unit}  ", b.name), t.dim()),
        Span::styled(format!("{} {} ", change(relative), sign(verdict, true)), style(t, verdict)),
    ]
}
