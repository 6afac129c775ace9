//! What keys and the mouse do to the state, and what the session is told.

use crate::synthetic::{scope, snapshot};
use deltascope::session::{Candidate, Command, Snapshot};
use deltascope::tui::app::{App, Focus};
use deltascope::tui::theme::Theme;
use deltascope::tui::view;
use deltascope_kernels::Op;
use deltascope_model::profiling::Group;
use deltascope_profiles::Phase;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use std::sync::Arc;

struct Driver {
    app: App,
    snap: Arc<Snapshot>,
}

impl Driver {
    fn new() -> Driver {
        Driver { app: App::new(Theme { colour: true, unicode: true }), snap: Arc::new(snapshot()) }
    }

    fn press(&mut self, code: KeyCode) -> Vec<Command> {
        self.app.on_event(&Event::Key(KeyEvent::from(code)), &self.snap)
    }

    fn types(&mut self, text: &str) {
        for c in text.chars() {
            assert_eq!(self.press(KeyCode::Char(c)), []);
        }
    }

    fn draw(&mut self) {
        let mut terminal = Terminal::new(TestBackend::new(120, 34)).unwrap();
        terminal.draw(|frame| view::draw(&mut self.app, frame, &self.snap)).unwrap();
    }

    fn click(&mut self, column: u16, row: u16) -> Vec<Command> {
        let kind = MouseEventKind::Down(MouseButton::Left);
        self.app.on_event(&Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }), &self.snap)
    }
}

fn candidate(variant: &str, tunables: &[(&str, i64)]) -> Candidate {
    Candidate {
        variant: variant.into(),
        tunables: tunables.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    }
}

#[test]
fn enter_goes_to_the_variants_and_swaps_there() {
    let mut d = Driver::new();
    assert_eq!(d.press(KeyCode::Enter), []);
    assert_eq!(d.app.focus, Focus::Detail);
    assert_eq!(d.press(KeyCode::Enter), [], "the variant in force is not swapped to");
    d.press(KeyCode::Down);
    assert_eq!(d.press(KeyCode::Enter), [Command::Swap(scope(), candidate("fused_recurrent", &[]))]);
    assert_eq!(d.press(KeyCode::Char('a')), [Command::Compare(scope(), Some(candidate("fused_recurrent", &[])))]);
    d.press(KeyCode::Esc);
    assert_eq!(d.press(KeyCode::Char('a')), [Command::Compare(scope(), None)]);
    assert_eq!(d.press(KeyCode::Char('c')), [Command::CheckAll(scope())]);
    assert_eq!(d.press(KeyCode::Char('u')), [Command::Undo]);
}

#[test]
fn arrows_change_the_tunable_of_the_variant_in_force() {
    let mut d = Driver::new();
    assert_eq!(d.press(KeyCode::Right), [Command::Swap(scope(), candidate("fused_inplace", &[("heads", 4)]))]);
    assert_eq!(d.press(KeyCode::Left), [Command::Swap(scope(), candidate("fused_inplace", &[("heads", 1)]))]);
    d.press(KeyCode::Enter);
    for _ in 0..40 {
        d.press(KeyCode::Down);
    }
    let threads = candidate("fused_inplace", &[("heads", 2), ("threads", 1)]);
    assert_eq!(d.press(KeyCode::Left), [Command::Swap(scope(), threads)]);
}

#[test]
fn a_row_of_one_weight_type_is_swapped_for_that_type() {
    let mut d = Driver::new();
    d.press(KeyCode::Down);
    d.press(KeyCode::Enter);
    d.press(KeyCode::Down);
    let [Command::Swap(scope, _)] = &d.press(KeyCode::Enter)[..] else { panic!("no swap") };
    assert_eq!((scope.op, scope.dtype.map(|t| t.name()), &scope.node), (Op::MulMat, Some("Q4_K"), &None));
    assert_eq!(scope.rule(deltascope_kernels::Backend::Cpu).unwrap().to_string(), "mul_mat (cpu, decode, Q4_K)");
}

#[test]
fn at_node_level_one_node_is_swapped() {
    let mut d = Driver::new();
    let mut snap = snapshot();
    snap.group = Group::Node;
    d.snap = Arc::new(snap);
    d.press(KeyCode::Enter);
    d.press(KeyCode::Down);
    let [Command::Swap(scope, _)] = &d.press(KeyCode::Enter)[..] else { panic!("no swap") };
    assert_eq!(
        scope.rule(deltascope_kernels::Backend::Cpu).unwrap().to_string(),
        "gated_delta_net (cpu, decode, blk.0.gated_delta_net)"
    );
}

#[test]
fn the_selection_follows_its_row() {
    let mut d = Driver::new();
    d.press(KeyCode::Down);
    d.press(KeyCode::Down);
    assert_eq!(d.app.selected.as_deref(), Some("moe_up_gate Q4_K"));
    d.press(KeyCode::Char('S'));
    let rows = d.app.rows(&d.snap);
    assert_eq!(rows[d.app.selected_at(&rows)].row.label, "moe_up_gate Q4_K");
    d.types("/scale");
    d.press(KeyCode::Enter);
    let rows = d.app.rows(&d.snap);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[d.app.selected_at(&rows)].row.label, "scale");
    d.press(KeyCode::Esc);
    assert_eq!(d.app.rows(&d.snap).len(), d.snap.table.rows.len());
}

#[test]
fn what_is_typed_is_text_until_it_is_entered() {
    let mut d = Driver::new();
    d.types("pquit");
    assert!(!d.app.quits());
    d.app.on_event(&Event::Paste(" now\r\nor".into()), &d.snap);
    assert_eq!(d.press(KeyCode::Enter), [Command::Prompt("quit now\nor".into()), Command::Pause(false)]);
    d.press(KeyCode::Char('q'));
    assert!(d.app.quits());
}

#[test]
fn a_frozen_screen_stays_and_thaws() {
    let mut d = Driver::new();
    d.press(KeyCode::Char('f'));
    assert_eq!(d.app.frozen.as_ref().map(|s| s.seq), Some(7));
    let mut later = snapshot();
    later.seq = 8;
    d.snap = Arc::new(later);
    d.draw();
    assert_eq!(d.app.frozen.as_ref().map(|s| s.seq), Some(7));
    d.press(KeyCode::Char('f'));
    assert!(d.app.frozen.is_none());
}

#[test]
fn levels_phases_threads_and_pause() {
    let mut d = Driver::new();
    assert_eq!(d.press(KeyCode::Tab), [Command::Show(Phase::Decode, Group::Node)]);
    assert_eq!(d.press(KeyCode::Char('3')), [Command::Show(Phase::Decode, Group::Layer)]);
    assert_eq!(d.press(KeyCode::Char('d')), [Command::Show(Phase::Prefill, Group::Op)]);
    assert_eq!(d.press(KeyCode::Char('t')), [Command::Threads(1)], "after the last core: one");
    assert_eq!(d.press(KeyCode::Char('T')), [Command::Threads(1)]);
    assert_eq!(d.press(KeyCode::Char(' ')), [Command::Pause(true)]);
    assert_eq!(d.press(KeyCode::Char('b')), [Command::PinBaseline]);
}

#[test]
fn the_mouse_selects_rows_and_variants() {
    let mut d = Driver::new();
    d.draw();
    let rows = d.app.areas.rows;
    d.click(rows.x + 3, rows.y + 4);
    assert_eq!(d.app.selected.as_deref(), Some("mul_mat Q6_K"));
    d.click(rows.x + 3, rows.y);
    d.draw();
    let detail = d.app.areas.detail;
    d.click(detail.x + 3, detail.y + d.app.areas.first_variant + 3);
    assert_eq!((d.app.focus, d.app.cursor), (Focus::Detail, 3));
    let [Command::Swap(_, c)] = &d.press(KeyCode::Enter)[..] else { panic!("no swap") };
    assert_eq!(c.variant, "lowered_recurrent");
}

#[test]
fn a_row_is_timed_on_the_other_backend_or_moved_there() {
    let mut d = Driver::new();
    assert_eq!(d.press(KeyCode::Char('x')), [Command::TimeElsewhere(Some(scope()))]);
    assert_eq!(d.press(KeyCode::Char('X')), [Command::TimeElsewhere(None)]);
    assert_eq!(d.press(KeyCode::Char('m')), [Command::Move(scope())]);
    d.snap = Arc::new(Snapshot { surveying: true, ..snapshot() });
    for key in ['x', 'X'] {
        assert_eq!(d.press(KeyCode::Char(key)), [Command::CancelTiming], "while rows are timed");
    }
    // Rows of many ops have nothing to time.
    d.snap = Arc::new(Snapshot { group: Group::Layer, ..snapshot() });
    assert_eq!(d.press(KeyCode::Char('x')), []);
}
