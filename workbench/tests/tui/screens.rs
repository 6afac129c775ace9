//! What is drawn, as text; `cargo insta review` shows what changed.

use crate::synthetic::{on_gpu, snapshot, two_sides};
use deltascope::session::snapshot::Job;
use deltascope::session::{Activity, Snapshot};
use deltascope::tui::app::App;
use deltascope::tui::theme::Theme;
use deltascope::tui::view;
use deltascope_kernels::cuda::{Readings, Throttle};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent};
use ratatui::style::Color;
use std::sync::Arc;

const FULL: Theme = Theme { colour: true, unicode: true };

fn keys(app: &mut App, snap: &Arc<Snapshot>, keys: &[KeyCode]) {
    for &code in keys {
        app.on_event(&Event::Key(KeyEvent::from(code)), snap);
    }
}

fn draw(app: &mut App, snap: &Arc<Snapshot>, width: u16, height: u16) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(app, frame, snap)).unwrap();
    terminal.backend().clone()
}

fn screen(theme: Theme, pressed: &[KeyCode], snap: Snapshot, width: u16, height: u16) -> TestBackend {
    let (mut app, snap) = (App::new(theme), Arc::new(snap));
    keys(&mut app, &snap, pressed);
    draw(&mut app, &snap, width, height)
}

#[test]
fn main_screen_80x24() {
    insta::assert_snapshot!(screen(FULL, &[], snapshot(), 80, 24));
}

#[test]
fn main_screen_120x34() {
    insta::assert_snapshot!(screen(FULL, &[], snapshot(), 120, 34));
}

#[test]
fn main_screen_200x50() {
    insta::assert_snapshot!(screen(FULL, &[], snapshot(), 200, 50));
}

#[test]
fn both_backends_80x24() {
    insta::assert_snapshot!(screen(FULL, &[], two_sides(), 80, 24));
}

#[test]
fn both_backends_in_ascii_140x34() {
    insta::assert_snapshot!(screen(Theme { colour: false, unicode: false }, &[], two_sides(), 140, 34));
}

/// Where there is room for one time, it is that of the model; the pane has both.
#[test]
fn both_backends_in_the_pane_80x24() {
    let mut snap = two_sides();
    (snap.last_swap, snap.comparison) = (None, None);
    insta::assert_snapshot!(screen(FULL, &[KeyCode::Enter], snap, 80, 24));
}

#[test]
fn variants_80x24() {
    insta::assert_snapshot!(screen(FULL, &[KeyCode::Enter, KeyCode::Down, KeyCode::Down], snapshot(), 80, 24));
}

#[test]
fn ascii_120x34() {
    let drawn = screen(Theme { colour: true, unicode: false }, &[], snapshot(), 120, 34);
    assert!(drawn.buffer().content.iter().all(|c| c.symbol().is_ascii()));
    insta::assert_snapshot!(drawn);
}

#[test]
fn gpu_whole_80x24() {
    insta::assert_snapshot!(screen(FULL, &[], on_gpu(), 80, 24));
}

#[test]
fn gpu_whole_140x36() {
    insta::assert_snapshot!(screen(FULL, &[], on_gpu(), 140, 36));
}

#[test]
fn clocks_that_nothing_holds_down_and_none_at_all() {
    let mut snap = on_gpu();
    let second = |snap: &Snapshot| {
        let drawn = screen(FULL, &[], snap.clone(), 140, 36).to_string();
        drawn.lines().nth(1).unwrap_or_default().to_owned()
    };
    assert!(second(&snap).contains("1755 MHz") && second(&snap).contains("throttled: power cap"), "{}", second(&snap));
    // It idles, which is no throttling.
    snap.gpu_now = snap.gpu_now.map(|r| Readings { throttle: Some(Throttle(1)), ..r });
    assert!(second(&snap).contains("699/700 W") && !second(&snap).contains("throttled"), "{}", second(&snap));
    snap.gpu_now = None;
    assert!(!second(&snap).contains("MHz"), "{}", second(&snap));
}

#[test]
fn help_80x24() {
    insta::assert_snapshot!(screen(FULL, &[KeyCode::Char('?')], snapshot(), 80, 24));
}

#[test]
fn prompt_filter_and_messages_80x24() {
    let typed = [KeyCode::Char('/'), KeyCode::Char('m'), KeyCode::Char('o'), KeyCode::Enter, KeyCode::Char('p')];
    let mut snap = snapshot();
    snap.activity = Activity::Paused;
    snap.job = Some(Job { what: "packing weights".into(), done: 3, total: 4 });
    insta::assert_snapshot!(screen(FULL, &typed, snap, 80, 24));
}

#[test]
fn save_dialog_shows_what_will_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.toml");
    std::fs::write(&path, "schema = 1\n[[choice]]\nop = \"scale\"\nvariant = \"rows\"\n").unwrap();
    let mut snap = snapshot();
    snap.subject =
        Arc::new(deltascope::session::snapshot::Subject { save_path: path.clone(), ..(*snap.subject).clone() });
    let (mut app, snap) = (App::new(FULL), Arc::new(snap));
    keys(&mut app, &snap, &[KeyCode::Char('w')]);
    let drawn = draw(&mut app, &snap, 100, 30).to_string();
    for line in ["+ name = \"demo\"", "+ gated_delta_net (cpu, decode): fused_inplace", "- scale (cpu): rows"] {
        assert!(drawn.contains(line), "{line} is missing in\n{drawn}");
    }
    keys(&mut app, &snap, &[KeyCode::Enter]);
    assert!(draw(&mut app, &snap, 100, 30).to_string().contains("saved to"));
    assert_eq!(deltascope_profiles::Profile::read(&path).unwrap(), *snap.profile);
}

#[test]
fn before_anything_ran() {
    let s = snapshot();
    let empty = Snapshot::starting((*s.subject).clone(), s.phase, 2, (*s.profile).clone());
    insta::assert_snapshot!(screen(FULL, &[], empty, 80, 24));
}

#[test]
fn a_small_terminal_says_so() {
    let drawn = screen(FULL, &[], snapshot(), 59, 20).to_string();
    assert!(drawn.contains("59×20 is too small"), "{drawn}");
}

/// Every size draws without a panic, whatever is open.
#[test]
fn all_sizes_and_overlays() {
    let opened = [&[][..], &[KeyCode::Enter], &[KeyCode::Char('?')], &[KeyCode::Char('w')], &[KeyCode::Char('p')]];
    for pressed in opened {
        let (mut app, snap) = (App::new(FULL), Arc::new(snapshot()));
        keys(&mut app, &snap, pressed);
        for (width, height) in [(1, 1), (60, 15), (61, 16), (79, 24), (109, 20), (110, 15), (300, 80), (60, 100)] {
            draw(&mut app, &snap, width, height);
        }
    }
}

/// Without colour nothing is coloured, and what is selected is still seen.
#[test]
fn no_color() {
    let drawn = screen(Theme { colour: false, unicode: true }, &[KeyCode::Enter], snapshot(), 120, 34);
    let buffer: &Buffer = drawn.buffer();
    assert!(buffer.content.iter().all(|c| c.fg == Color::Reset && c.bg == Color::Reset));
    assert!(buffer.content.iter().any(|c| c.modifier.contains(ratatui::style::Modifier::REVERSED)));
    let with = screen(FULL, &[KeyCode::Enter], snapshot(), 120, 34);
    assert!(with.buffer().content.iter().any(|c| c.fg != Color::Reset));
    assert_eq!(drawn.to_string(), with.to_string(), "colour says nothing that the text does not");
}
