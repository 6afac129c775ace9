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
        // The hook has given it back, and said why below; leaving twice would set the cursor above that.
        if std::thread::panicking() {
            return;
        }
        let _ = execute!(io::stdout(), DisableMouseCapture, DisableBracketedPaste);
        ratatui::restore();
    }
}

/// Time that the loop has to leave by itself after a signal.
#[cfg(unix)]
const GRACE: std::time::Duration = std::time::Duration::from_millis(700);

/// A flag that SIGTERM, SIGINT and SIGHUP set: the loop then ends as if the user had left.
///
/// Where the terminal is gone (its window was closed), reading events may never return. So after a while the program
/// ends from the thread that waits for signals, the terminal given back as far as it is there.
///
/// # Errors
/// If the handlers cannot be set.
pub fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let stop = Arc::clone(&stop);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                stop.store(true, std::sync::atomic::Ordering::SeqCst);
                std::thread::sleep(GRACE);
                // Not `restore`, which tells standard error when it fails, and panics if that is gone too.
                let _ = ratatui::try_restore();
                std::process::exit(128 + signal);
            }
        })?;
    }
    Ok(stop)
}
