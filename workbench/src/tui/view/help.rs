//! The list of keys.

use super::super::keys::BINDINGS;
use super::super::theme::Theme;
use super::measure::left;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

/// Signs that stand for themselves nowhere else.
const SIGNS: [(&str, &str); 8] = [
    ("● ○ ✗", "variant in force · can run · cannot, with the reason"),
    ("▼ ▲ ≈", "less time · more time · a tie: the intervals overlap"),
    ("↳", "lowered: its time is that of its parts, which have rows of their own"),
    ("roof", "bytes that must move, over time, of what memory gives"),
    ("wait", "share of the time that workers stood at the barrier before the op"),
    ("barrier", "barrier wait is in the rows' times; the residual is in none: time outside all steps"),
    ("attributed", "on a GPU: the steps' sum, with an event after each; t/s is that of whole CUDA graphs without"),
    ("err/tol", "relative error against the reference on live inputs / what is allowed"),
];

pub fn draw(t: Theme, frame: &mut Frame<'_>, area: Rect, scroll: u16) {
    let width = area.width.saturating_sub(4).min(96);
    let lines: Vec<Line<'_>> = BINDINGS
        .iter()
        .map(|b| (b.shown, b.long))
        .chain([("", ""), ("mouse", "click selects a row or a variant, the wheel moves")])
        .chain(SIGNS)
        .map(|(keys, what)| {
            Line::from(vec![Span::styled(format!(" {} ", left(keys, 8)), t.accent()), Span::styled(what, t.text())])
        })
        .collect();
    let height = (lines.len() as u16 + 2).min(area.height);
    let scroll = scroll.min((lines.len() as u16 + 2).saturating_sub(height));
    let at = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let more = if lines.len() as u16 + 2 > height {
        " help ─ ↑↓ scroll, any other key closes "
    } else {
        " help ─ any key closes "
    };
    let block = Block::bordered().border_style(t.accent()).title(Line::styled(more, t.accent()));
    frame.render_widget(Clear, at);
    frame.render_widget(Paragraph::new(lines).block(block).scroll((scroll, 0)), at);
}
