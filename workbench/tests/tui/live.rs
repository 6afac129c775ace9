//! The real app on the demo model, driven by key events; what is asserted is what the screen shows.

use deltascope::session::{Session, SessionOptions, Snapshot};
use deltascope::tui::app::App;
use deltascope::tui::theme::Theme;
use deltascope::tui::view;
use deltascope_model::sampling::SamplingParams;
use deltascope_model::{Model, Options};
use deltascope_profiles::{Phase, Profile, Stack};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longer than any of it takes on a slow, busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// One at a time, with one worker: the test draws beside it, and a core taken from a team of two stalls both.
static MACHINE: Mutex<()> = Mutex::new(());

struct Workbench {
    _alone: MutexGuard<'static, ()>,
    session: Session,
    app: App,
    terminal: Terminal<TestBackend>,
}

impl Workbench {
    fn open(save_path: &Path) -> Workbench {
        let alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/assets/deltascope-demo-q4_k_m.gguf");
        let options = SessionOptions {
            model: Arc::new(Model::open(path).unwrap()),
            model_path_label: "demo".into(),
            stack: Stack::new(),
            engine: Options { n_ctx: 512, ubatch: 32, threads_decode: 1, threads_prefill: 1, ..Options::default() },
            sampling: SamplingParams::default(),
            prompt: Some("The `Iterator` trait".into()),
            save_path: save_path.to_owned(),
        };
        Workbench {
            _alone: alone,
            session: Session::start(options).unwrap(),
            app: App::new(Theme { colour: true, unicode: true }),
            terminal: Terminal::new(TestBackend::new(200, 50)).unwrap(),
        }
    }

    fn press(&mut self, code: KeyCode) {
        let snapshot = self.session.snapshot();
        for command in self.app.on_event(&Event::Key(KeyEvent::from(code)), &snapshot) {
            self.session.send(command);
        }
    }

    fn types(&mut self, text: &str) {
        text.chars().for_each(|c| self.press(KeyCode::Char(c)));
    }

    fn screen(&mut self) -> String {
        let snapshot = self.session.snapshot();
        self.terminal.draw(|frame| view::draw(&mut self.app, frame, &snapshot)).unwrap();
        self.terminal.backend().to_string()
    }

    /// Draws until the snapshot and the screen are as wanted.
    fn until(&mut self, what: &str, done: impl Fn(&Snapshot, &str) -> bool) -> Arc<Snapshot> {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            let snapshot = self.session.snapshot();
            if done(&snapshot, &screen) {
                return snapshot;
            }
            assert!(start.elapsed() < PATIENCE, "waited for: {what}\n{screen}\n{:?}", snapshot.messages);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Goes to an op's row by the filter, and to its variants.
    fn select(&mut self, op: &str) {
        self.press(KeyCode::Esc);
        self.press(KeyCode::Esc);
        self.types(&format!("/{op}"));
        self.press(KeyCode::Enter);
        let wanted = op.to_owned();
        self.until(&format!("the row of {op}"), |snap, _| snap.table.rows.iter().any(|r| r.label == wanted));
        self.app.selected = Some(op.to_owned());
    }

    /// Swaps the selected op: opens its variants, moves to one, presses enter.
    fn swap_to(&mut self, op: &str, variant: &str) {
        self.select(op);
        self.press(KeyCode::Enter);
        let snapshot = self.session.snapshot();
        let selection = self.app.selection(&snapshot).unwrap();
        let at = selection.choices.iter().position(|c| c.variant == variant).unwrap();
        while self.app.cursor != at {
            self.press(if self.app.cursor < at { KeyCode::Down } else { KeyCode::Up });
        }
        self.press(KeyCode::Enter);
        let (op, variant) = (op.to_owned(), variant.to_owned());
        self.until(&format!("{op} by {variant}"), |snap, _| {
            let by = |r: &deltascope_model::profiling::Row| {
                r.label == op && snap.catalogue.variants_of(&r.nodes) == [variant.as_str()]
            };
            snap.table.rows.iter().any(by) && snap.last_swap.as_ref().is_some_and(|s| s.to.starts_with(&variant))
        });
    }
}

#[test]
fn ops_are_swapped_tuned_undone_and_saved_while_text_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let mut w = Workbench::open(&path);
    w.until("a pinned baseline", |snap, screen| snap.baseline.is_some() && screen.contains("baseline: start"));
    let before = w.session.snapshot().text.len();

    // From the fused kernel to the lowering and back: the screen names both, the error and the times.
    let fused = {
        w.select("gated_delta_net");
        let snapshot = w.session.snapshot();
        let selection = w.app.selection(&snapshot).unwrap();
        selection.choices[selection.current.unwrap()].variant
    };
    w.swap_to("gated_delta_net", "lowered_recurrent");
    let snap = w.until("the swap's times and outputs", |snap, screen| {
        let swap = snap.last_swap.as_ref().unwrap();
        swap.change.is_some()
            && swap.divergence.is_some_and(|d| d.tokens >= 4)
            && screen.contains("last swap ─ gated_delta_net")
            && screen.contains("→ lowered_recurrent")
            && screen.contains("vs reference /")
            && screen.contains("KL ")
    });
    let swap = snap.last_swap.as_ref().unwrap();
    let check = swap.check.as_ref().unwrap();
    assert!(check.passed() && check.nodes >= 1, "{check:?}");
    assert!(swap.divergence.unwrap().mean < 1e-3, "{:?}", swap.divergence);
    assert!(snap.table.rows.iter().any(|r| r.label == "gated_delta_net" && r.lowered));

    // The lowering brings `scale`: its variants, and by the arrows its block.
    w.swap_to("scale", "rows");
    w.swap_to("scale", "blocked");
    w.press(KeyCode::Esc);
    let block = |snap: &Snapshot| {
        snap.profile.choices.iter().find(|c| c.rule.op == "scale").and_then(|c| c.tunables.get("block").cloned())
    };
    let old = block(&w.session.snapshot());
    w.press(KeyCode::Right);
    let snap = w.until("another block", |snap, _| block(snap) != old && block(snap).is_some());
    let changes = snap.undo.len();
    w.press(KeyCode::Char('u'));
    w.until("the block undone", |snap, screen| {
        block(snap) == old && snap.undo.len() == changes - 1 && screen.contains("undone: scale")
    });
    w.swap_to("gated_delta_net", fused);

    // The text went on all the while.
    let after = w.session.snapshot();
    assert!(after.text.len() != before || after.prompt != "The `Iterator` trait".into());

    // Prefill is timed in the same way.
    w.press(KeyCode::Char('d'));
    w.until("prefill", |snap, screen| {
        snap.phase == Phase::Prefill && snap.table.runs > 0 && snap.tokens_per_run == 32 && screen.contains("PREFILL")
    });

    // What is saved is what was chosen.
    w.press(KeyCode::Char('w'));
    w.until("the save dialog", |_, screen| screen.contains("+ scale (cpu, decode): blocked"));
    w.press(KeyCode::Enter);
    w.until("the profile saved", |_, screen| screen.contains("saved to"));
    let saved = Profile::read(&path).unwrap();
    assert!(saved.choices.iter().any(|c| c.rule.op == "scale" && c.variant == "blocked"));
    assert!(saved.choices.iter().any(|c| c.rule.op == "gated_delta_net" && c.variant == fused));
    assert!(saved.model.is_some() && saved.machine.is_some());
}

#[test]
fn a_prompt_that_is_entered_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut w = Workbench::open(&folder.path().join("p.toml"));
    w.until("text", |snap, _| !snap.text.is_empty());
    w.types("pReturns the length of");
    w.press(KeyCode::Enter);
    w.until("the prompt on screen", |snap, screen| {
        *snap.prompt == *"Returns the length of" && !snap.text.is_empty() && screen.contains("Returns the length of")
    });
    w.press(KeyCode::Char(' '));
    w.until("a pause", |_, screen| screen.contains("PAUSED"));
}

#[test]
fn two_variants_are_compared_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    let mut w = Workbench::open(&folder.path().join("p.toml"));
    w.until("a table", |snap, _| !snap.table.rows.is_empty());
    w.swap_to("rms_norm", "separate");
    w.press(KeyCode::Esc);
    w.press(KeyCode::Char('a'));
    let snap = w.until("the comparison", |snap, screen| {
        snap.comparison.as_ref().is_some_and(|c| c.done() && c.op.is_some()) && screen.contains("A/B ─ rms_norm")
    });
    let comparison = snap.comparison.as_ref().unwrap();
    assert!(comparison.a.starts_with("separate") && comparison.b.starts_with("fused"), "{comparison:?}");
    w.press(KeyCode::Char('c'));
    w.until("all variants checked", |_, screen| screen.contains("within their tolerance"));
}
