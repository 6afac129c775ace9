//! The dialog that saves the profile.

use super::super::dialog::SaveDialog;
use super::super::theme::Theme;
use super::measure::{cut, wrap};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

pub fn draw(t: Theme, frame: &mut Frame<'_>, area: Rect, dialog: &SaveDialog) {
    let width = area.width.saturating_sub(2).min(110);
    let room = usize::from(width.saturating_sub(4));
    let (before, after) = dialog.path.split();
    let mut lines = vec![
        Line::from(vec![Span::styled(" to  ", t.dim()), Span::styled(format!("{before}█{after}"), t.strong())]),
        Line::raw(""),
    ];
    let foot = foot(t, dialog, room);
    let least = lines.len() + foot.len() + 2;
    let shown = usize::from(area.height).saturating_sub(least).max(1);
    let p = &dialog.preview;
    for change in p.changes.iter().skip(dialog.scroll).take(shown) {
        let style = match change.chars().next() {
            Some('+') => t.good(),
            Some('-') => t.bad(),
            _ => t.warn(),
        };
        lines.push(Line::styled(format!(" {}", cut(change, room)), style));
    }
    if p.changes.is_empty() {
        lines.push(Line::styled(" the file says this already", t.dim()));
    }
    lines.extend(foot);
    let height = (lines.len() as u16 + 2).min(area.height);
    let at = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let what = if p.exists { "changes in" } else { "new file" };
    let title = format!(" save profile ─ {what}: {} lines ", p.changes.len());
    let block = Block::bordered().border_style(t.accent()).title(Line::styled(title, t.accent()));
    frame.render_widget(Clear, at);
    frame.render_widget(Paragraph::new(lines).block(block), at);
}

fn foot(t: Theme, dialog: &SaveDialog, room: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::raw("")];
    let wrapped = |text: &str, style| wrap(text, room).into_iter().map(move |l| Line::styled(format!(" {l}"), style));
    match (&dialog.result, &dialog.preview.refused) {
        (Some(Ok(done)), _) => {
            lines.extend(wrapped(done, t.good()));
            lines.push(Line::styled(" any key closes", t.dim()));
            return lines;
        }
        (Some(Err(why)), _) | (None, Some(why)) => lines.extend(wrapped(&format!("✗ {why}"), t.bad())),
        (None, None) => {}
    }
    let refused = dialog.preview.refused.is_some();
    let keys = if refused {
        " ctrl-o overwrites it · esc leaves"
    } else {
        " enter writes it · ↑↓ scrolls · esc leaves"
    };
    lines.push(Line::styled(keys, t.dim()));
    lines
}
