//! The two lines at the bottom: what there is to say, and the keys.

use super::super::app::App;
use super::super::format::bar;
use super::super::keys::{Action, BINDINGS, Binding};
use super::measure::{cut, width};
use crate::session::{Activity, Snapshot};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

pub fn draw(app: &mut App, frame: &mut Frame<'_>, area: Rect, live: &Snapshot) {
    let room = usize::from(area.width);
    let lines = vec![status(app, live, room), keys(app, room)];
    frame.render_widget(Paragraph::new(lines), area);
}

/// Work under way, else the last message, else what saving would write.
fn status(app: &mut App, snap: &Snapshot, room: usize) -> Line<'static> {
    let t = app.theme;
    if let Some(job) = &snap.job {
        let share = job.done as f64 / job.total.max(1) as f64;
        let text = format!(" {} {:>3.0}% {}", job.what, share * 100.0, bar(share, 20));
        return Line::styled(cut(&text, room), t.warn());
    }
    if let Some(c) = snap.comparison.as_ref().filter(|c| !c.done()) {
        let text = format!(" A/B {} against {}: pair {} of {}, a ends it", c.a, c.b, c.pairs, c.wanted);
        return Line::styled(cut(&text, room), t.warn());
    }
    if let Activity::Failed(why) = &snap.activity {
        return Line::styled(cut(&format!(" stopped: {why}"), room), t.bad());
    }
    if let Some(message) = app.message(snap) {
        let style = if message.error { t.bad() } else { t.good() };
        let mark = if message.error { "✗ " } else { "" };
        return Line::styled(cut(&format!(" {mark}{}", message.text), room), style);
    }
    match snap.undo.last() {
        Some(what) => Line::styled(cut(&format!(" {} changes, the last: {what}", snap.undo.len()), room), t.dim()),
        None => Line::raw(""),
    }
}

fn keys(app: &App, room: usize) -> Line<'static> {
    let t = app.theme;
    let key = |shown: &str, what: &str| {
        [Span::styled(format!(" {shown}"), t.accent()), Span::styled(format!(" {what} "), t.text())]
    };
    // How to learn the rest and how to leave are always there.
    let always = |b: &Binding| matches!(b.action, Action::Help | Action::Quit);
    let quit: Vec<Span<'static>> = BINDINGS.iter().filter(|b| always(b)).flat_map(|b| key(b.shown, b.short)).collect();
    let size = |spans: &[Span<'static>]| spans.iter().map(|s| width(&s.content)).sum::<usize>();
    let mut spans: Vec<Span<'static>> = Vec::new();
    for b in BINDINGS.iter().filter(|b| !b.short.is_empty() && !always(b)) {
        let next = key(b.shown, b.short);
        // What does not fit is left out, not what comes after it.
        if size(&spans) + size(&next) + size(&quit) <= room {
            spans.extend(next);
        }
    }
    let gap = room.saturating_sub(size(&spans) + size(&quit));
    spans.push(Span::raw(" ".repeat(gap)));
    spans.extend(quit);
    Line::from(spans)
}
