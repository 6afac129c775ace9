//! Actions and their keys, in one table: the bindings, the footer and the help are drawn from it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What a key does on the main screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    Swap,
    TunableDown,
    TunableUp,
    Compare,
    Undo,
    Pin,
    Freeze,
    Filter,
    Prompt,
    Save,
    Help,
    Quit,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Back,
    NextLevel,
    Ops,
    Nodes,
    Layers,
    Blocks,
    Phase,
    Sort,
    Reverse,
    MoreThreads,
    FewerThreads,
    Pause,
    Check,
    TimeElsewhere,
    TimeAll,
    Move,
}

/// One line of the table.
pub struct Binding {
    /// What is done.
    pub action: Action,
    /// The keys that do it.
    pub keys: &'static [KeyCode],
    /// The keys as they are shown.
    pub shown: &'static str,
    /// In the footer; empty: not there.
    pub short: &'static str,
    /// In the help.
    pub long: &'static str,
}

const fn bind(
    action: Action,
    keys: &'static [KeyCode],
    shown: &'static str,
    short: &'static str,
    long: &'static str,
) -> Binding {
    Binding { action, keys, shown, short, long }
}

use KeyCode::{Char, Down, End, Enter, Esc, Home, Left, PageDown, PageUp, Right, Tab, Up};

/// All bindings of the main screen, the most used first.
pub static BINDINGS: &[Binding] = &[
    bind(Action::Swap, &[Enter], "enter", "swap", "go to the variants of the op; there: swap to the one marked"),
    bind(Action::TunableDown, &[Left], "←", "", "the tunable's next lower value"),
    bind(Action::TunableUp, &[Right], "←→", "tunable", "the tunable's next higher value"),
    bind(
        Action::Compare,
        &[Char('a')],
        "a",
        "A/B",
        "A/B in turn: the variant marked, else what the last swap replaced",
    ),
    bind(Action::Undo, &[Char('u')], "u", "undo", "take back the last change"),
    bind(Action::Pin, &[Char('b')], "b", "pin baseline", "pin what is measured now as the baseline of Δ"),
    bind(Action::Freeze, &[Char('f')], "f", "freeze", "freeze the screen; the engine goes on"),
    bind(Action::Filter, &[Char('/')], "/", "filter", "show rows that contain a text; esc clears it"),
    bind(Action::Prompt, &[Char('p')], "p", "prompt", "enter a prompt"),
    bind(Action::Save, &[Char('w')], "w", "save profile", "save the profile; shows what will change first"),
    bind(Action::Help, &[Char('?'), KeyCode::F(1)], "?", "help", "this help"),
    bind(Action::Phase, &[Char('d')], "d", "decode/prefill", "run and show the other phase"),
    bind(Action::NextLevel, &[Tab], "tab", "level", "rows by op, node, layer, block in turn"),
    bind(Action::Check, &[Char('c')], "c", "check", "run every variant of the op on live inputs against the reference"),
    bind(
        Action::Move,
        &[Char('m')],
        "m",
        "move",
        "run the row on the other backend from the next token on; u takes it back",
    ),
    bind(
        Action::TimeElsewhere,
        &[Char('x')],
        "x",
        "other backend",
        "time the row on the other backend; while it is timed: end that",
    ),
    bind(Action::TimeAll, &[Char('X')], "X", "", "time all ops on the other backend, one between two tokens"),
    bind(Action::Sort, &[Char('s')], "s", "sort", "sort by the next column"),
    bind(Action::Reverse, &[Char('S')], "S", "", "sort the other way"),
    bind(Action::MoreThreads, &[Char('t')], "t", "threads", "one thread more in this phase, after the last: one"),
    bind(Action::FewerThreads, &[Char('T')], "T", "", "one thread less in this phase"),
    bind(Action::Pause, &[Char(' ')], "space", "pause", "pause the engine, or go on"),
    bind(Action::Ops, &[Char('1')], "1", "", "rows by op"),
    bind(Action::Nodes, &[Char('2')], "2", "", "rows by node; swaps are then for that node alone"),
    bind(Action::Layers, &[Char('3')], "3", "", "rows by layer"),
    bind(Action::Blocks, &[Char('4')], "4", "", "rows by block"),
    bind(Action::Up, &[Up, Char('k')], "↑ k", "", "up"),
    bind(Action::Down, &[Down, Char('j')], "↓ j", "", "down"),
    bind(Action::PageUp, &[PageUp], "pgup", "", "a page up"),
    bind(Action::PageDown, &[PageDown], "pgdn", "", "a page down"),
    bind(Action::First, &[Home, Char('g')], "home g", "", "first row"),
    bind(Action::Last, &[End, Char('G')], "end G", "", "last row"),
    bind(Action::Back, &[Esc], "esc", "", "back to the table; clear the filter; dismiss the message"),
    bind(Action::Quit, &[Char('q')], "q", "quit", "quit"),
];

/// The action of a key on the main screen. Ctrl-C quits, wherever the user is.
pub fn action(key: KeyEvent) -> Option<Action> {
    if is_interrupt(key) {
        return Some(Action::Quit);
    }
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return None;
    }
    BINDINGS.iter().find(|b| b.keys.contains(&key.code)).map(|b| b.action)
}

/// Ctrl-C.
pub fn is_interrupt(key: KeyEvent) -> bool {
    key.code == Char('c') && key.modifiers.contains(KeyModifiers::CONTROL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_key_has_two_meanings_and_no_action_two_lines() {
        let mut keys = HashSet::new();
        for b in BINDINGS {
            assert!(b.keys.iter().all(|k| keys.insert(*k)), "{:?}", b.action);
            assert_eq!(BINDINGS.iter().filter(|o| o.action == b.action).count(), 1);
            assert!(!b.long.is_empty() && !b.shown.is_empty());
        }
    }
}
