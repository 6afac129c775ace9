//! The terminal: taken, and given back as it was however the program ends.

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use ratatui::crossterm::execute;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The alternate screen, with mouse and pasting; given back when dropped.
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If it is none, or cannot be set up.
    pub fn open() -> io::Result<Screen> {
        let terminal = ratatui::try_init()?;
        // After ratatui's own hook, which would give the terminal back whichever thread panics: the engine's thread
        // catches its panics, and the screen goes on to show them.
        let restore_and_report = std::panic::take_hook();
        let screen_thread = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == screen_thread {
                let _ = execute!(io::stdout(), DisableMouseCapture, DisableBracketedPaste);
                restore_and_report(info);
            }
        }));
        execute!(io::stdout(), EnableMouseCapture, EnableBracketedPaste)?;
        Ok(Screen { terminal })
    }

    /// What is drawn on.
    pub fn terminal(&mut self) -> &mut DefaultTerminal {
        &mut self.terminal
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), DisableMouseCapture, DisableBracketedPaste);
        ratatui::restore();
    }
}

/// A flag that SIGTERM, SIGINT and SIGHUP set: the loop then ends as if the user had left.
///
/// # Errors
/// If the handlers cannot be set.
pub fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
