//! Drawing: the state and a snapshot go in, a frame comes out. One file a pane.

mod detail;
mod footer;
mod header;
mod help;
mod measure;
mod save;
mod table;
mod text;
pub mod words;

use super::app::{App, Areas, Focus, Overlay};
use crate::session::Snapshot;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph};
use std::sync::Arc;

/// Below this nothing readable fits.
const MIN_WIDTH: u16 = 60;
const MIN_HEIGHT: u16 = 15;
/// From this width on the detail pane stands beside the table all the time.
const WIDE: u16 = 110;

/// Draws the screen and notes where things are.
pub fn draw(app: &mut App, frame: &mut Frame<'_>, live: &Arc<Snapshot>) {
    let area = frame.area();
    if area.width < MIN_WIDTH || area.height < MIN_HEIGHT {
        app.areas = Areas::default();
        too_small(frame, area);
    } else {
        let snap = app.frozen.clone().unwrap_or_else(|| Arc::clone(live));
        screen(app, frame, &snap, live);
    }
    app.theme.finish(frame.buffer_mut());
}

fn screen(app: &mut App, frame: &mut Frame<'_>, snap: &Snapshot, live: &Snapshot) {
    let area = frame.area();
    let text_height = match area.height {
        ..20 => 3,
        20..30 => 4,
        30..45 => 6,
        _ => 10,
    };
    let [head, body, text_area, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(6),
        Constraint::Length(text_height),
        Constraint::Length(2),
    ])
    .areas(area);
    header::draw(app, frame, head, snap);
    let (table_area, detail_area) = panes(app, body);
    app.areas = Areas::default();
    table::draw(app, frame, table_area, snap);
    if let Some(area) = detail_area {
        detail::draw(app, frame, area, snap);
    }
    text::draw(app, frame, text_area, snap);
    footer::draw(app, frame, foot, live);
    match &app.overlay {
        Overlay::Help(scroll) => help::draw(app.theme, frame, body.union(text_area), *scroll),
        Overlay::Save(dialog) => save::draw(app.theme, frame, body.union(text_area), dialog),
        Overlay::None | Overlay::Filter | Overlay::Prompt(_) => {}
    }
}

/// The table's and the detail's areas. On narrow screens the detail takes most of the width while it has the keys.
fn panes(app: &App, body: Rect) -> (Rect, Option<Rect>) {
    let detail = match (body.width >= WIDE, app.focus) {
        (true, _) => (body.width * 3 / 8).clamp(48, 68),
        (false, Focus::Detail) => body.width - 32,
        (false, Focus::Table) => return (body, None),
    };
    let [left, right] = Layout::horizontal([Constraint::Min(20), Constraint::Length(detail)]).areas(body);
    (left, Some(right))
}

fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let lines = vec![
        Line::raw("deltascope"),
        Line::raw(format!("{}×{} is too small", area.width, area.height)),
        Line::raw(format!("{MIN_WIDTH}×{MIN_HEIGHT} is needed; q quits")),
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

/// A pane with a title.
fn pane<'a>(app: &App, title: Line<'a>, focused: bool) -> Block<'a> {
    Block::bordered().border_style(app.theme.border(focused)).title(title)
}
