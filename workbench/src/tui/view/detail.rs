//! The selected row: what could compute it, what can be tuned, how its time is spread, what the last change did.

use super::super::app::{App, Focus};
use super::super::format::{age, change, columns, histogram, micros, tiny};
use super::super::theme::Theme;
use super::super::tunables::Selected;
use super::measure::{cut, left, right, wrap};
use super::pane;
use super::words::{interval, sign, style, word};
use crate::session::Snapshot;
use crate::session::interval::Verdict;
use crate::session::snapshot::{CheckReport, Comparison, SwapReport};
use deltascope_kernels::Backend;
use deltascope_model::profiling::Row;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

pub fn draw(app: &mut App, frame: &mut Frame<'_>, area: Rect, snap: &Snapshot) {
    let rows = app.rows(snap);
    let focused = app.focus == Focus::Detail;
    let Some(row) = rows.get(app.selected_at(&rows)).map(|s| s.row) else {
        frame.render_widget(pane(app, Line::raw(""), focused), area);
        return;
    };
    let selected = Selected::of(snap, row);
    let nodes = if selected.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", selected.nodes) };
    let title = Line::from(vec![
        Span::styled(
            format!(" {} ", cut(&selected.label, usize::from(area.width).saturating_sub(24))),
            app.theme.accent(),
        ),
        Span::styled(format!("─ {} ─ {nodes} ", row.on()), app.theme.dim()),
    ]);
    let block = pane(app, title, focused);
    let inner = block.inner(area);
    let pen = Pen { t: app.theme, snap, width: usize::from(inner.width) };
    let cursor = focused.then_some(app.cursor);
    let mut lines = pen.variants(&selected, cursor);
    app.areas.detail = inner;
    app.areas.first_variant = 2;
    lines.extend(pen.tunables(&selected, cursor));
    let mut below = pen.sides(row);
    below.extend(pen.last_swap());
    below.extend(pen.comparison());
    // What was measured comes before what can be read elsewhere, unless the user stands on it.
    let about = pen.about(&selected, cursor);
    if cursor.is_some() || lines.len() + about.len() + below.len() <= usize::from(inner.height) {
        lines.extend(about);
    }
    let rest = usize::from(inner.height).saturating_sub(lines.len() + below.len());
    lines.extend(pen.histogram(row, rest));
    lines.extend(below);
    // With the cursor far down on a small screen, the top gives way.
    let under = cursor.map_or(0, |c| usize::from(app.areas.first_variant) + c + 2);
    let skip = under.saturating_sub(usize::from(inner.height)) as u16;
    app.areas.first_variant = app.areas.first_variant.saturating_sub(skip);
    frame.render_widget(Paragraph::new(lines).block(block).scroll((skip, 0)), area);
}

/// What the parts are drawn with.
struct Pen<'a> {
    t: Theme,
    snap: &'a Snapshot,
    width: usize,
}

impl Pen<'_> {
    fn variants(&self, s: &Selected, cursor: Option<usize>) -> Vec<Line<'static>> {
        let t = self.t;
        let name = self.width.saturating_sub(29).clamp(12, 22);
        let mut lines = vec![Line::styled(cut(&format!(" {}", s.shape), self.width), t.dim())];
        if s.choices.is_empty() {
            lines.push(Line::styled(" rows by op or by node (1, 2) have variants to choose", t.dim()));
            return lines;
        }
        let head = format!("   {} {} {} err/tol", left("variant", name), right("µs/tok", 6), right("vs", 7));
        lines.push(Line::styled(head, t.dim()));
        for (i, choice) in s.choices.iter().enumerate() {
            let current = s.current == Some(i);
            let mark = match (&choice.reason, current) {
                (_, true) => "●",
                (None, false) => "○",
                (Some(_), false) => "✗",
            };
            let label = left(choice.variant, name);
            let mut spans = vec![Span::raw(format!(" {mark}{}", if choice.lowering { "↳" } else { " " }))];
            match &choice.reason {
                Some(why) => {
                    spans.push(Span::styled(label, t.dim()));
                    spans.push(Span::styled(cut(&format!(" {why}"), self.width.saturating_sub(name + 3)), t.dim()));
                }
                None => {
                    spans.push(Span::styled(label, if current { t.strong() } else { t.text() }));
                    spans.extend(self.figures(s, choice.variant, choice.tolerance));
                }
            }
            let line = Line::from(spans);
            lines.push(if cursor == Some(i) { line.patch_style(t.selected()) } else { line });
        }
        lines
    }

    /// Time, change against the variant in force, error and tolerance.
    fn figures(&self, s: &Selected, variant: &str, tolerance: f32) -> Vec<Span<'static>> {
        let t = self.t;
        let per_token = 1.0 / self.snap.tokens_per_run.max(1) as f64;
        let key = |v: &str| (self.snap.phase, s.backend, s.label.clone(), v.to_owned());
        let time = |v: &str| self.snap.known.times.get(&key(v));
        let mine = time(variant);
        let now = s.current.and_then(|at| time(s.choices[at].variant));
        let us = mine.map_or_else(|| "—".to_owned(), |i| micros(i.median * per_token));
        let current = s.current.is_some_and(|at| s.choices[at].variant == variant);
        let versus = match (mine, now) {
            (Some(a), Some(b)) if !current => Span::raw(right(&change(a.median / b.median - 1.0), 7)),
            _ => Span::styled(right("—", 7), t.dim()),
        };
        let check = self.snap.known.checks.get(&key(variant));
        let error = check.map_or_else(|| "—".to_owned(), |c| tiny(c.against_reference));
        let failed = check.is_some_and(|c| !c.passed());
        vec![
            Span::raw(format!(" {} ", right(&us, 6))),
            versus,
            Span::styled(
                format!(" {error}/{}{}", tiny(f64::from(tolerance)), if failed { " ✗" } else { "" }),
                if failed { t.bad() } else { t.dim() },
            ),
        ]
    }

    fn tunables(&self, s: &Selected, cursor: Option<usize>) -> Vec<Line<'static>> {
        let t = self.t;
        let mut lines = Vec::new();
        for (i, (range, value)) in s.tunables.iter().zip(&s.values).enumerate() {
            let shown = value.map_or_else(|| format!("{} auto", range.default), |v| v.to_string());
            let at = value.unwrap_or(range.default);
            let others: Vec<String> = range.values.iter().map(ToString::to_string).collect();
            let line = Line::from(vec![
                Span::raw(format!("   {} ", left(range.name, 14))),
                Span::styled(if range.values.first() < Some(&at) { "◂ " } else { "  " }, t.accent()),
                Span::styled(shown, t.strong()),
                Span::styled(if range.values.last() > Some(&at) { " ▸" } else { "  " }, t.accent()),
                Span::styled(format!("   {}", others.join(" ")), t.dim()),
            ]);
            let here = cursor == Some(s.choices.len() + i);
            lines.push(if here { line.patch_style(t.selected()) } else { line });
        }
        if !lines.is_empty() {
            lines.insert(0, Line::styled(" tunables", t.dim()));
        }
        lines
    }

    /// What the line under the cursor is, or the variant in force.
    fn about(&self, s: &Selected, cursor: Option<usize>) -> Vec<Line<'static>> {
        let at = cursor.or(s.current);
        let text = at.and_then(|at| match s.choices.get(at) {
            Some(choice) => Some(match &choice.reason {
                Some(why) => format!("{}: cannot run: {why}", choice.variant),
                None => format!("{}: {}", choice.variant, choice.summary),
            }),
            None => s.tunables.get(at - s.choices.len()).map(|t| format!("{}: {}", t.name, t.doc)),
        });
        let mut lines: Vec<Line<'static>> = Vec::new();
        for text in text.into_iter().chain(s.note.as_ref().map(|n| format!("why this variant: {n}"))) {
            let wrapped = wrap(&text, self.width.saturating_sub(2));
            lines.extend(wrapped.into_iter().take(3).map(|l| Line::styled(format!(" {l}"), self.t.dim())));
        }
        lines
    }

    /// Columns of text as high as there is room, at most six lines, and the ends below.
    fn histogram(&self, row: &Row, room: usize) -> Vec<Line<'static>> {
        if room < 3 || row.samples.len() < 8 {
            return Vec::new();
        }
        let bins = self.width.saturating_sub(2).min(48);
        let Some((counts, lo, hi)) = histogram(&row.samples, bins) else { return Vec::new() };
        let per_token = 1.0 / self.snap.tokens_per_run.max(1) as f64;
        let mut lines: Vec<Line<'static>> = columns(&counts, (room - 2).min(6))
            .into_iter()
            .map(|l| Line::styled(format!(" {l}"), self.t.bar()))
            .collect();
        let ends = [micros(lo * per_token), format!("{}+", micros(hi * per_token))];
        let gap = bins.saturating_sub(ends[0].len() + ends[1].len());
        lines.insert(0, Line::styled(format!(" µs/tok of {} runs", row.samples.len()), self.t.dim()));
        lines.push(Line::styled(format!(" {}{}{}", ends[0], " ".repeat(gap), ends[1]), self.t.dim()));
        lines
    }

    /// Each backend's time, where there are two.
    fn sides(&self, row: &Row) -> Vec<Line<'static>> {
        let Some(backends) = self.snap.sides() else { return Vec::new() };
        let t = self.t;
        let per_token = 1.0 / self.snap.tokens_per_run.max(1) as f64;
        let now = |b: Backend| row.sides.iter().find(|(at, _)| *at == b).map(|(_, us)| *us);
        let mine = row.sides.first().map(|(_, us)| *us);
        let one = |b: Backend| match (now(b), self.snap.side_time(&row.label, b)) {
            (Some(us), _) => {
                let us = right(&micros(us * per_token), 6);
                Line::styled(format!(" ● {} {us} µs/tok here", left(b.name(), 4)), t.strong())
            }
            (None, Some(side)) => {
                let how = if side.alone { "alone, cold, " } else { "" };
                let us = right(&micros(side.time.median * per_token), 6);
                let versus = mine.map_or_else(String::new, |m| format!(", {}", change(side.time.median / m - 1.0)));
                let error = side.error.map_or_else(String::new, |e| format!(", err {}", tiny(e)));
                let when = age(self.snap.clock.saturating_sub(side.at));
                let text = format!(" ○ {} {us} {} ({how}{when} ago{versus}{error})", left(b.name(), 4), side.variants);
                Line::styled(cut(&text, self.width), t.dim())
            }
            (None, None) => {
                Line::styled(format!(" ○ {}      — x times it there, X all ops", left(b.name(), 4)), t.dim())
            }
        };
        backends.map(one).into()
    }

    fn last_swap(&self) -> Vec<Line<'static>> {
        let Some(swap) = &self.snap.last_swap else { return Vec::new() };
        let t = self.t;
        let undone = if swap.undone { " (undone)" } else { "" };
        let mut lines = vec![
            Line::styled(cut(&format!(" last swap ─ {}{undone}", swap.scope.row().1), self.width), t.accent()),
            Line::raw(cut(&format!(" {} → {}", swap.from, swap.to), self.width)),
        ];
        lines.extend(self.times(swap));
        lines.push(self.check(&swap.check));
        if let Some(d) = &swap.divergence {
            let text = format!(" KL {} nats, same next token {}/{}", tiny(d.mean), d.same_argmax, d.tokens);
            lines.push(Line::styled(cut(&text, self.width), t.dim()));
        }
        lines
    }

    fn times(&self, swap: &SwapReport) -> Vec<Line<'static>> {
        let t = self.t;
        let per_token = 1.0 / self.snap.tokens_per_run.max(1) as f64;
        let one = |i: &crate::session::interval::Interval| {
            let [m, lo, hi] = [i.median, i.lo, i.hi].map(|v| micros(v * per_token));
            format!("{m} [{lo}, {hi}]")
        };
        let text = match (&swap.old, &swap.new) {
            (Some(old), Some(new)) => format!(" {} → {} µs/tok", one(old), one(new)),
            (None, Some(new)) => format!(" {} µs/tok; not measured before", one(new)),
            _ => " measuring …".to_owned(),
        };
        let mut lines = vec![Line::raw(cut(&text, self.width))];
        if let Some(change) = &swap.change {
            let v = change.verdict();
            let text = format!(" {} {} {}", sign(v, false), interval(change), word(v));
            lines.push(Line::styled(cut(&text, self.width), style(t, v)));
        }
        lines
    }

    fn check(&self, check: &Result<CheckReport, String>) -> Line<'static> {
        let t = self.t;
        match check {
            Ok(c) => {
                let old = if c.same_bits { "same bits".to_owned() } else { format!("{} vs old", tiny(c.against_old)) };
                let (mark, style) = if c.passed() { ("", t.good()) } else { ("✗ CHECK FAILED: ", t.bad()) };
                let text =
                    format!(" {mark}err {old}, {} vs reference / {}", tiny(c.against_reference), tiny(c.tolerance));
                Line::styled(cut(&text, self.width), style)
            }
            Err(why) => Line::styled(cut(&format!(" not checked: {why}"), self.width), t.warn()),
        }
    }

    fn comparison(&self) -> Vec<Line<'static>> {
        let Some(c) = &self.snap.comparison else { return Vec::new() };
        let t = self.t;
        let Comparison { a, b, pairs, wanted, .. } = &**c;
        let progress = if c.done() { format!("{pairs} pairs") } else { format!("pair {pairs} of {wanted}") };
        let mut lines = vec![
            Line::styled(cut(&format!(" A/B ─ {} ─ {progress}", c.scope.row().1), self.width), t.accent()),
            Line::raw(cut(&format!(" A {a}   B {b}"), self.width)),
        ];
        for (what, change) in [("op ", &c.op), ("run", &c.run)] {
            if let Some(i) = change {
                let v = i.verdict();
                let text = format!(" {} {what} {}: B is {}", sign(v, false), interval(i), word(v));
                lines.push(Line::styled(cut(&text, self.width), style(t, v)));
            }
        }
        if c.done() && c.op.as_ref().is_some_and(|i| i.verdict() == Verdict::Faster) {
            lines.push(Line::styled(cut(" enter on B's line swaps to it", self.width), t.dim()));
        }
        lines
    }
}
