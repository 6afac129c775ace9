//! The text that is generated, and the line where a prompt is typed.

use super::super::app::{App, Overlay};
use super::measure::wrap;
use super::pane;
use crate::session::Snapshot;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

pub fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, snap: &Snapshot) {
    let t = app.theme;
    if let Overlay::Prompt(input) = &app.overlay {
        let title = Line::styled(" prompt ─ enter runs it, esc leaves ", t.warn());
        let block = pane(app, title, true);
        let inner = block.inner(area);
        let (before, after) = input.split();
        let shown = format!("{before}█{after}").replace('\n', "⏎");
        let lines = wrap(&shown, usize::from(inner.width));
        let from = lines.len().saturating_sub(usize::from(inner.height));
        let lines: Vec<Line<'_>> = lines[from..].iter().map(|l| Line::raw(l.as_str())).collect();
        frame.render_widget(Paragraph::new(lines).block(block), area);
        return;
    }
    let block = pane(app, Line::styled(" text ", t.accent()), false);
    let inner = block.inner(area);
    let lines = wrap(format!("{}{}", snap.prompt, snap.text).trim_end(), usize::from(inner.width));
    // The prompt is told from the answer for as long as its first line is in sight.
    let prompt_lines = wrap(&snap.prompt, usize::from(inner.width));
    let from = lines.len().saturating_sub(usize::from(inner.height));
    let styled = |(i, line): (usize, &String)| match prompt_lines.get(i) {
        Some(p) if line.starts_with(p.as_str()) => {
            Line::from(vec![Span::styled(p.clone(), t.strong()), Span::raw(line[p.len()..].to_owned())])
        }
        _ => Line::raw(line.clone()),
    };
    let lines: Vec<Line<'_>> = lines.iter().enumerate().skip(from).map(styled).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
