//! The terminal workbench: draws a session's snapshots and turns keys into its commands.
//!
//! [`app`] is the state, [`view`] draws it, [`keys`] is the table that bindings, footer and help come from. The loop here
//! takes a snapshot a frame and waits for nothing but events.

pub mod app;
pub mod dialog;
mod format;
pub mod keys;
mod rows;
mod terminal;
pub mod theme;
mod tunables;
pub mod view;

use crate::session::{Activity, Session, SessionOptions};
use app::App;
use ratatui::crossterm::event;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use theme::Theme;

/// Time between two looks at the session.
const FRAME: Duration = Duration::from_millis(50);

/// Runs the workbench until its user leaves it.
///
/// # Errors
/// If the engine cannot start, the terminal cannot be used, or the engine has stopped.
pub fn run(options: SessionOptions) -> anyhow::Result<()> {
    let session = Session::start(options)?;
    let stop = terminal::watch_signals()?;
    let mut screen = terminal::Screen::open()?;
    let mut app = App::new(Theme::from_env());
    let mut drawn = None;
    while !app.quits() && !stop.load(Ordering::Relaxed) {
        let snapshot = session.snapshot();
        let fresh = drawn != Some(snapshot.seq);
        let mut touched = false;
        let mut wait = FRAME;
        while event::poll(wait)? {
            for command in app.on_event(&event::read()?, &snapshot) {
                session.send(command);
            }
            (touched, wait) = (true, Duration::ZERO);
        }
        if fresh || touched {
            drawn = Some(snapshot.seq);
            screen.terminal().draw(|frame| view::draw(&mut app, frame, &snapshot))?;
        }
    }
    let last = Arc::clone(&session.snapshot());
    drop(screen);
    drop(session);
    match &last.activity {
        Activity::Failed(why) => anyhow::bail!("{why}"),
        _ => Ok(()),
    }
}
