//! What the user has done to the screen, and what events do: the state apart from how it is drawn.

use super::dialog::{Outcome, SaveDialog, TextInput};
use super::keys::{Action, action, is_interrupt};
use super::rows::{Shown, Sort, shown};
use super::theme::Theme;
use super::tunables::{self, Selected};
use crate::session::{Activity, Command, Snapshot};
use deltascope_model::profiling::Group;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which pane has the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The table.
    Table,
    /// The variants and tunables of the selected row.
    Detail,
}

/// What lies over the main screen or takes its keys.
pub enum Overlay {
    /// Nothing.
    None,
    /// The list of keys, scrolled down by so many lines.
    Help(u16),
    /// Typing a filter.
    Filter,
    /// Typing a prompt.
    Prompt(TextInput),
    /// Saving the profile.
    Save(SaveDialog),
}

/// Where things were drawn, for the mouse.
#[derive(Clone, Copy, Debug, Default)]
pub struct Areas {
    /// Lines of the table's rows.
    pub rows: Rect,
    /// Lines of the detail pane.
    pub detail: Rect,
    /// Number of the line of the detail pane that shows the first variant.
    pub first_variant: u16,
}

/// How long what is no error stays on the message line.
const MESSAGE_TIME: Duration = Duration::from_secs(10);

/// The screen's state.
pub struct App {
    /// What the terminal can show.
    pub theme: Theme,
    /// Which pane has the keys.
    pub focus: Focus,
    /// What lies over it.
    pub overlay: Overlay,
    /// The selected row by name: rows move.
    pub selected: Option<String>,
    /// First row that is shown.
    pub scroll: usize,
    /// The line of the detail pane: variants, then tunables.
    pub cursor: usize,
    /// Only rows that contain it.
    pub filter: String,
    /// Sorted by.
    pub sort: Sort,
    /// The other way.
    pub reverse: bool,
    /// The snapshot that stays on screen.
    pub frozen: Option<Arc<Snapshot>>,
    /// Where things were drawn last.
    pub areas: Areas,
    dismissed: u64,
    newest: (u64, Option<Instant>),
    quit: bool,
}

impl App {
    /// At the start.
    pub fn new(theme: Theme) -> App {
        App {
            theme,
            focus: Focus::Table,
            overlay: Overlay::None,
            selected: None,
            scroll: 0,
            cursor: 0,
            filter: String::new(),
            sort: Sort::default(),
            reverse: false,
            frozen: None,
            areas: Areas::default(),
            dismissed: 0,
            newest: (0, None),
            quit: false,
        }
    }

    /// The user wants to leave.
    pub fn quits(&self) -> bool {
        self.quit
    }

    /// The rows as they are shown.
    pub fn rows<'a>(&self, snap: &'a Snapshot) -> Vec<Shown<'a>> {
        shown(snap, &self.filter, self.sort, self.reverse)
    }

    /// Position of the selected row among those shown; the first if it is gone.
    pub fn selected_at(&self, rows: &[Shown<'_>]) -> usize {
        let find = |label: &String| rows.iter().position(|r| r.row.label == *label);
        self.selected.as_ref().and_then(find).unwrap_or(0)
    }

    /// The selected row with its variants and tunables.
    pub fn selection(&self, snap: &Snapshot) -> Option<Selected> {
        let rows = self.rows(snap);
        rows.get(self.selected_at(&rows)).map(|r| Selected::of(snap, r.row))
    }

    /// The message to show now.
    pub fn message<'a>(&mut self, snap: &'a Snapshot) -> Option<&'a crate::session::snapshot::Message> {
        let last = snap.messages.last()?;
        if self.newest.0 != last.id {
            self.newest = (last.id, Some(Instant::now()));
        }
        let old = !last.error && self.newest.1.is_some_and(|t| t.elapsed() > MESSAGE_TIME);
        (last.id > self.dismissed && !old).then_some(last)
    }

    /// Takes an event; `live` is the latest snapshot. Returns what the session is to be told.
    pub fn on_event(&mut self, event: &Event, live: &Arc<Snapshot>) -> Vec<Command> {
        let shown = self.frozen.clone().unwrap_or_else(|| Arc::clone(live));
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if is_interrupt(*key) {
                    self.quit = true;
                    return Vec::new();
                }
                match &mut self.overlay {
                    Overlay::None => self.on_key(*key, live, &shown),
                    _ => self.on_overlay_key(*key, live),
                }
            }
            Event::Mouse(mouse) if matches!(self.overlay, Overlay::None) => self.on_mouse(*mouse, &shown),
            Event::Paste(text) => {
                match &mut self.overlay {
                    Overlay::Prompt(input) => input.insert(text),
                    Overlay::Save(dialog) => dialog.paste(text, live),
                    Overlay::Filter => self.filter.push_str(text.lines().next().unwrap_or_default()),
                    _ => {}
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn on_overlay_key(&mut self, key: KeyEvent, live: &Snapshot) -> Vec<Command> {
        let mut commands = Vec::new();
        match &mut self.overlay {
            Overlay::None => {}
            Overlay::Help(scroll) => match key.code {
                KeyCode::Down | KeyCode::Char('j') => *scroll = scroll.saturating_add(1),
                KeyCode::Up | KeyCode::Char('k') => *scroll = scroll.saturating_sub(1),
                _ => self.overlay = Overlay::None,
            },
            Overlay::Filter => match key.code {
                KeyCode::Enter => self.overlay = Overlay::None,
                KeyCode::Esc => {
                    self.filter.clear();
                    self.overlay = Overlay::None;
                }
                KeyCode::Backspace => {
                    self.filter.pop();
                }
                KeyCode::Char(c) => self.filter.push(c),
                _ => {}
            },
            Overlay::Prompt(input) => match input.on_key(key) {
                Outcome::Open => {}
                Outcome::Cancelled => self.overlay = Overlay::None,
                Outcome::Accepted => {
                    let text = input.text().to_owned();
                    self.overlay = Overlay::None;
                    if !text.is_empty() {
                        commands.push(Command::Prompt(text));
                        commands.push(Command::Pause(false));
                    }
                }
            },
            Overlay::Save(dialog) => {
                if dialog.on_key(key, live) != Outcome::Open {
                    self.overlay = Overlay::None;
                }
            }
        }
        commands
    }

    fn on_key(&mut self, key: KeyEvent, live: &Arc<Snapshot>, snap: &Snapshot) -> Vec<Command> {
        let Some(action) = action(key) else { return Vec::new() };
        let page = usize::from(self.areas.rows.height.max(2)) - 1;
        match action {
            Action::Quit => self.quit = true,
            Action::Up => self.step(snap, -1),
            Action::Down => self.step(snap, 1),
            Action::PageUp => self.step(snap, -(page as isize)),
            Action::PageDown => self.step(snap, page as isize),
            Action::First => self.step(snap, isize::MIN / 2),
            Action::Last => self.step(snap, isize::MAX / 2),
            Action::Back => self.back(live),
            Action::Help => self.overlay = Overlay::Help(0),
            Action::Filter => self.overlay = Overlay::Filter,
            Action::Prompt => self.overlay = Overlay::Prompt(TextInput::new("")),
            Action::Save => self.overlay = Overlay::Save(SaveDialog::new(live)),
            Action::Freeze => {
                self.frozen = if self.frozen.is_some() { None } else { Some(Arc::clone(live)) };
            }
            Action::Sort => self.sort = self.sort.next(),
            Action::Reverse => self.reverse = !self.reverse,
            Action::NextLevel => return self.show(live, next_level(live.group)),
            Action::Ops => return self.show(live, Group::Op),
            Action::Nodes => return self.show(live, Group::Node),
            Action::Layers => return self.show(live, Group::Layer),
            Action::Blocks => return self.show(live, Group::Block),
            Action::Phase => {
                self.frozen = None;
                return vec![Command::Show(live.phase.other(), live.group)];
            }
            Action::MoreThreads => {
                let most = live.subject.cores.max(1);
                return vec![Command::Threads(if live.threads >= most { 1 } else { live.threads + 1 })];
            }
            Action::FewerThreads => return vec![Command::Threads(live.threads.saturating_sub(1).max(1))],
            Action::Pause => return vec![Command::Pause(live.activity == Activity::Running)],
            Action::Undo => return vec![Command::Undo],
            Action::Pin => return vec![Command::PinBaseline],
            Action::Compare if live.comparison.as_ref().is_some_and(|c| !c.done()) => {
                return vec![Command::CancelComparison];
            }
            Action::TimeElsewhere | Action::TimeAll if live.surveying => return vec![Command::CancelTiming],
            Action::TimeAll => return vec![Command::TimeElsewhere(None)],
            Action::Swap
            | Action::TunableDown
            | Action::TunableUp
            | Action::Compare
            | Action::Check
            | Action::TimeElsewhere
            | Action::Move => {
                return self.on_selection(action, live);
            }
        }
        Vec::new()
    }

    /// Actions on the selected row. They read the live snapshot: a frozen one may show another plan.
    fn on_selection(&mut self, action: Action, live: &Snapshot) -> Vec<Command> {
        let Some(selected) = self.selection(live) else { return Vec::new() };
        if action == Action::Swap && self.focus == Focus::Table {
            self.focus = Focus::Detail;
            self.cursor = selected.current.unwrap_or(0);
            return Vec::new();
        }
        let Some(scope) = selected.scope.clone() else { return Vec::new() };
        let line = if self.focus == Focus::Detail { self.cursor } else { selected.current.unwrap_or(0) };
        let other = selected.candidate(line).filter(|_| Some(line) != selected.current);
        match action {
            Action::Swap => other.map(|c| Command::Swap(scope, c)).into_iter().collect(),
            Action::Compare => vec![Command::Compare(scope, other)],
            Action::Check => vec![Command::CheckAll(scope)],
            Action::TimeElsewhere => vec![Command::TimeElsewhere(Some(scope))],
            Action::Move => vec![Command::Move(scope)],
            Action::TunableDown | Action::TunableUp => {
                let up = action == Action::TunableUp;
                selected.stepped(line, up).map(|c| Command::Swap(scope, c)).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn show(&mut self, live: &Snapshot, group: Group) -> Vec<Command> {
        self.frozen = None;
        self.focus = Focus::Table;
        self.selected = None;
        self.scroll = 0;
        vec![Command::Show(live.phase, group)]
    }

    fn back(&mut self, live: &Snapshot) {
        if self.focus == Focus::Detail {
            self.focus = Focus::Table;
        } else if !self.filter.is_empty() {
            self.filter.clear();
        } else {
            self.dismissed = live.messages.last().map_or(0, |m| m.id);
        }
    }

    /// Moves the cursor of the pane that has the keys.
    fn step(&mut self, snap: &Snapshot, by: isize) {
        match self.focus {
            Focus::Table => {
                let rows = self.rows(snap);
                if !rows.is_empty() {
                    let at = (self.selected_at(&rows) as isize).saturating_add(by).clamp(0, rows.len() as isize - 1);
                    self.selected = Some(rows[at as usize].row.label.clone());
                }
            }
            Focus::Detail => {
                let lines = self.selection(snap).map_or(1, |s| tunables::lines(&s)).max(1);
                self.cursor = (self.cursor as isize).saturating_add(by).clamp(0, lines as isize - 1) as usize;
            }
        }
    }

    fn on_mouse(&mut self, mouse: MouseEvent, snap: &Snapshot) -> Vec<Command> {
        let at = Position::new(mouse.column, mouse.row);
        let over_detail = self.areas.detail.contains(at);
        match mouse.kind {
            MouseEventKind::ScrollDown | MouseEventKind::ScrollUp => {
                self.focus = if over_detail { Focus::Detail } else { Focus::Table };
                self.step(snap, if mouse.kind == MouseEventKind::ScrollDown { 1 } else { -1 });
            }
            MouseEventKind::Down(MouseButton::Left) if self.areas.rows.contains(at) => {
                let rows = self.rows(snap);
                let row = self.scroll + usize::from(mouse.row - self.areas.rows.y);
                if let Some(r) = rows.get(row) {
                    self.focus = Focus::Table;
                    self.selected = Some(r.row.label.clone());
                }
            }
            MouseEventKind::Down(MouseButton::Left) if over_detail => {
                let line = (mouse.row - self.areas.detail.y).checked_sub(self.areas.first_variant);
                let variants = self.selection(snap).map_or(0, |s| s.choices.len());
                if let Some(line) = line.map(usize::from).filter(|l| *l < variants) {
                    self.focus = Focus::Detail;
                    self.cursor = line;
                }
            }
            _ => {}
        }
        Vec::new()
    }
}

fn next_level(group: Group) -> Group {
    match group {
        Group::Op => Group::Node,
        Group::Node => Group::Layer,
        Group::Layer => Group::Block,
        Group::Block => Group::Op,
    }
}
