//! The table of ops, nodes, layers or blocks.

use super::super::app::{App, Focus, Overlay};
use super::super::format::{age, bar, change, micros, percent, short};
use super::super::rows::{Shown, Sort};
use super::measure::{left, right};
use super::pane;
use super::words::{level, sign, style};
use crate::session::Snapshot;
use deltascope_kernels::Backend;
use deltascope_model::profiling::Timing;
use deltascope_profiles::Phase;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Count,
    Time,
    /// The time on one backend, where there are two: in the place of `Time`.
    Side(Backend),
    Share,
    Bar,
    P50,
    P95,
    Rate,
    Roof,
    Wait,
    Variant,
    Change,
}

/// A mark, the time and its age.
const SIDE: usize = 11;
/// The part of it that the age takes.
const AGE: usize = 4;
/// Where less is left for the table, one time is all there is room for.
const ROOM_FOR_SIDES: usize = 56;

/// In the order of the screen, with width and rank: columns of high rank go first where there is no room.
const COLUMNS: [(Column, usize, u8); 12] = [
    (Column::Name, 18, 0),
    (Column::Count, 3, 4),
    (Column::Time, 7, 0),
    (Column::Share, 6, 1),
    (Column::Bar, 6, 5),
    (Column::P50, 7, 10),
    (Column::P95, 7, 7),
    (Column::Rate, 6, 6),
    (Column::Roof, 5, 8),
    (Column::Wait, 5, 6),
    (Column::Variant, 14, 2),
    (Column::Change, 9, 3),
];

pub fn draw(app: &mut App, frame: &mut Frame<'_>, area: Rect, snap: &Snapshot) {
    let rows = app.rows(snap);
    let block = pane(app, title(app, snap, rows.len()), app.focus == Focus::Table);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let columns = columns(usize::from(inner.width), snap.sides());
    let totals = totals(app, snap, &columns);
    let room = usize::from(inner.height).saturating_sub(1 + totals.len()).max(1);
    let at = app.selected_at(&rows);
    app.scroll = app.scroll.min(at).max((at + 1).saturating_sub(room)).min(rows.len().saturating_sub(room));
    app.areas.rows = Rect { y: inner.y + 1, height: room as u16, ..inner };
    let mut lines = vec![heading(app, snap, &columns)];
    for (i, row) in rows.iter().enumerate().skip(app.scroll).take(room) {
        let line = line(app, snap, &columns, row, i == at);
        let mark = if app.focus == Focus::Table { app.theme.selected() } else { app.theme.marked() };
        lines.push(if i == at { line.patch_style(mark) } else { line });
    }
    if rows.is_empty() {
        let why = if app.filter.is_empty() { " nothing measured yet" } else { " no row contains the filter" };
        lines.push(Line::styled(why, app.theme.dim()));
    }
    frame.render_widget(Paragraph::new(lines), inner);
    let height = (totals.len() as u16).min(inner.height);
    let foot = Rect { y: inner.bottom() - height, height, ..inner };
    frame.render_widget(Paragraph::new(totals), foot);
}

fn title(app: &App, snap: &Snapshot, rows: usize) -> Line<'static> {
    let t = app.theme;
    let what = if snap.phase == Phase::Decode { "tokens" } else { "ubatches" };
    let mut spans = vec![
        Span::styled(format!(" {} by {} ", level(snap.group).1, app.sort.name()), t.accent()),
        Span::styled(format!("─ {} ─ {} {what} ", snap.phase, snap.table.runs), t.dim()),
    ];
    match snap.table.timing {
        Timing::Workers => {}
        Timing::Events => spans.push(Span::styled("─ by events ", t.dim())),
        Timing::Cupti => spans.push(Span::styled("─ by CUPTI ", t.dim())),
    }
    if matches!(app.overlay, Overlay::Filter) {
        spans.push(Span::styled(format!("─ /{}█ ", app.filter), t.warn()));
    } else if !app.filter.is_empty() {
        spans.push(Span::styled(format!("─ /{} {rows} of {} ", app.filter, snap.table.rows.len()), t.warn()));
    }
    Line::from(spans)
}

/// The columns that fit, and their widths: what is left over goes to the names, then to variants and bars.
fn columns(room: usize, sides: Option<[Backend; 2]>) -> Vec<(Column, usize)> {
    let mut kept: Vec<(Column, usize, u8)> = COLUMNS.to_vec();
    if let Some(sides) = sides.filter(|_| room >= ROOM_FOR_SIDES) {
        let time = kept.iter().position(|c| c.0 == Column::Time).unwrap_or(0);
        kept.splice(time..=time, sides.map(|backend| (Column::Side(backend), SIDE, 0)));
    }
    let used = |kept: &[(Column, usize, u8)]| kept.iter().map(|(_, w, _)| w + 1).sum::<usize>();
    while used(&kept) > room && kept.len() > 2 {
        let Some(worst) = (0..kept.len()).max_by_key(|&i| kept[i].2) else { break };
        kept.remove(worst);
    }
    let mut rest = room as isize - used(&kept) as isize;
    for (column, most) in [(Column::Name, 6), (Column::Variant, 6), (Column::Bar, 14), (Column::Name, 24)] {
        if let Some(c) = kept.iter_mut().find(|c| c.0 == column) {
            let more = rest.min(most);
            c.1 = c.1.saturating_add_signed(more);
            rest -= more;
        }
        if rest <= 0 {
            break;
        }
    }
    kept.into_iter().map(|(c, w, _)| (c, w)).collect()
}

fn heading(app: &App, snap: &Snapshot, columns: &[(Column, usize)]) -> Line<'static> {
    let decode = snap.phase == Phase::Decode;
    let arrow = if app.reverse { "↑" } else { "↓" };
    let mark = |sort: Sort, text: &str| {
        if app.sort == sort { format!("{text}{arrow}") } else { text.to_owned() }
    };
    let spans = columns.iter().map(|&(column, width)| {
        let text = match column {
            Column::Name => left(&format!(" {}", mark(Sort::Name, level(snap.group).0)), width),
            Column::Count => right(&mark(Sort::Count, "n"), width),
            Column::Time => right(&mark(Sort::Time, "µs/tok"), width),
            Column::Side(side) => {
                let name = format!("{side} µs");
                let text = if side == snap.subject.backend { mark(Sort::Time, &name) } else { name };
                left(&right(&text, width - AGE + usize::from(text.ends_with(arrow))), width)
            }
            Column::Share => right("share", width),
            Column::Bar => left("", width),
            Column::P50 => right("p50", width),
            Column::P95 => right(&mark(Sort::P95, "p95"), width),
            Column::Rate => right(&mark(Sort::Rate, if decode { "GB/s" } else { "GF/s" }), width),
            Column::Roof => right("roof", width),
            Column::Wait => right(&mark(Sort::Wait, "wait"), width),
            Column::Variant => left("variant", width),
            Column::Change => right(&mark(Sort::Change, "Δ"), width),
        };
        Span::styled(format!("{text} "), app.theme.dim())
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn line(app: &App, snap: &Snapshot, columns: &[(Column, usize)], shown: &Shown<'_>, selected: bool) -> Line<'static> {
    let t = app.theme;
    let row = shown.row;
    let per_token = 1.0 / snap.tokens_per_run.max(1) as f64;
    // A lowered row's time is that of its parts, which have rows of their own: it is told apart from a row of its own.
    let plain = if row.lowered { t.dim() } else { t.text() };
    let most = snap.table.rows.iter().map(|r| r.share).fold(1e-9, f64::max);
    let spans = columns.iter().map(|&(column, width)| {
        let (text, style): (String, Style) = match column {
            Column::Name => {
                let mark = if selected { "▸" } else { " " };
                let lowered = if row.lowered { "↳ " } else { "" };
                (left(&format!("{mark}{lowered}{}", row.label), width), if row.lowered { t.dim() } else { t.text() })
            }
            Column::Count => (right(&row.n.to_string(), width), plain),
            Column::Time => {
                (right(&micros(row.total_us * per_token), width), if row.lowered { plain } else { t.strong() })
            }
            Column::Side(side) => side_cell(app, snap, shown, side, per_token),
            Column::Share => (right(&percent(row.share), width), plain),
            Column::Bar => (left(&bar(row.share / most, width), width), if row.lowered { t.dim() } else { t.bar() }),
            Column::P50 => (right(&micros(row.p50_us * per_token), width), plain),
            Column::P95 => (right(&micros(row.p95_us * per_token), width), plain),
            Column::Rate => (right(&rate(snap, shown), width), plain),
            Column::Roof => (right(&roof(snap, shown), width), plain),
            Column::Wait => {
                let style = if row.wait_share > 0.3 { t.warn() } else { plain };
                (right(&format!("{:.0}%", row.wait_share * 100.0), width), style)
            }
            Column::Variant => {
                let names = variants(&snap.catalogue.variants_of(&row.nodes), row.op.is_some());
                let has_sides = columns.iter().any(|(c, _)| matches!(c, Column::Side(_)));
                let place = if has_sides { String::new() } else { place(snap, shown) };
                (left(&format!("{place}{names}"), width), plain)
            }
            Column::Change => match shown.change {
                Some((relative, verdict)) => {
                    (right(&format!("{}{}", change(relative), sign(verdict, false)), width), style(t, verdict))
                }
                None => (right("—", width), t.dim()),
            },
        };
        Span::styled(format!("{text} "), style)
    });
    Line::from(spans.collect::<Vec<_>>())
}

/// A row's time on a backend: marked if it runs there, else with its age, if it was ever timed there.
fn side_cell(app: &App, snap: &Snapshot, shown: &Shown<'_>, side: Backend, per_token: f64) -> (String, Style) {
    let t = app.theme;
    let row = shown.row;
    if let Some((_, us)) = row.sides.iter().find(|(backend, _)| *backend == side) {
        let text = format!("●{}{}", right(&micros(us * per_token), SIDE - AGE - 1), " ".repeat(AGE));
        return (text, if row.lowered { t.text() } else { t.strong() });
    }
    let text = match snap.side_time(&row.label, side) {
        Some(known) => {
            let us = right(&micros(known.time.median * per_token), SIDE - AGE - 1);
            format!("○{us}{}", right(&age(snap.clock.saturating_sub(known.at)), AGE))
        }
        None => format!("{}{}", right("—", SIDE - AGE), " ".repeat(AGE)),
    };
    (text, t.dim())
}

/// Gigabytes a second in decode, where memory is the roof; else billions of operations a second.
fn rate(snap: &Snapshot, shown: &Shown<'_>) -> String {
    let row = shown.row;
    match snap.phase {
        Phase::Decode if row.gb_per_s > 0.0 => short(row.gb_per_s),
        Phase::Prefill if row.cost.flops > 0.0 && row.total_us > 0.0 => short(row.cost.flops / row.total_us / 1e3),
        _ => "—".into(),
    }
}

fn roof(snap: &Snapshot, shown: &Shown<'_>) -> String {
    match snap.subject.bandwidth {
        Some(b) if snap.phase == Phase::Decode && shown.row.gb_per_s > 0.0 => {
            format!("{:.0}%", shown.row.gb_per_s * 1e9 / b * 100.0)
        }
        _ => "—".into(),
    }
}

fn variants(names: &[&str], one_op: bool) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first, rest @ ..] if one_op => format!("{first} +{}", rest.len()),
        many => format!("{} variants", many.len()),
    }
}

/// Where a row's nodes run, where that is not the same for all rows.
fn place(snap: &Snapshot, shown: &Shown<'_>) -> String {
    match &shown.row.sides[..] {
        [(one, _)] if snap.table.mixed => format!("{one}: "),
        [_, ..] if snap.table.mixed => "both: ".to_owned(),
        _ => String::new(),
    }
}

/// What no row has: waiting at barriers (on a GPU the sum of the steps), which the rows contain, and the residual, which
/// they do not. Where CUPTI saw each kernel: the gaps between them, the time outside of them all, and what ran beside
/// another, which is hidden behind it.
fn totals(app: &App, snap: &Snapshot, columns: &[(Column, usize)]) -> Vec<Line<'static>> {
    let t = app.theme;
    let table = &snap.table;
    let per_token = 1.0 / snap.tokens_per_run.max(1) as f64;
    let one = |name: &str, count: String, us: f64| {
        let share = if table.wall_us > 0.0 { us / table.wall_us } else { 0.0 };
        let spans = columns.iter().map(|&(column, width)| {
            let text = match column {
                Column::Name => left(&format!(" {name}"), width),
                Column::Count => right(&count, width),
                Column::Time => right(&micros(us * per_token), width),
                Column::Side(side) if side == snap.subject.backend => {
                    left(&right(&micros(us * per_token), width - AGE), width)
                }
                Column::Share => right(&percent(share), width),
                Column::Bar => left(&bar(share, width), width),
                _ => " ".repeat(width),
            };
            Span::styled(format!("{text} "), t.dim())
        });
        Line::from(spans.collect::<Vec<_>>())
    };
    let times = |n: f64| format!("{n:.0}");
    match (table.backend, &table.idle) {
        _ if table.mixed => vec![
            one("barrier wait", table.barriers.to_string(), table.wait_us),
            one("launches, waits", String::new(), table.residual_us),
        ],
        (Backend::Cpu, _) => vec![
            one("barrier wait", table.barriers.to_string(), table.wait_us),
            one("residual", String::new(), table.residual_us),
        ],
        (Backend::Cuda, Some(idle)) => vec![
            one("launch gaps", times(idle.gaps), idle.gap_us),
            one("outside kernels", String::new(), table.residual_us),
            one("hidden, early", times(idle.overlaps), idle.overlap_us),
        ],
        // Steps are timed by events between them, which the steps of a whole graph do not have.
        (Backend::Cuda, None) => vec![
            one("attributed", String::new(), table.wall_us - table.residual_us),
            one("launch and copies", String::new(), table.residual_us),
        ],
    }
}
