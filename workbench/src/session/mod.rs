//! A running model that can be watched and changed: a thread owns the engine, takes [`Command`]s and publishes
//! [`Snapshot`]s. Whoever watches never waits for the engine, and the engine never waits for who watches. Nothing here
//! knows how it is drawn.

pub mod catalogue;
mod change;
pub mod command;
mod compare;
pub mod generator;
pub mod interval;
mod lane;
mod moving;
pub mod saving;
mod sides;
pub mod snapshot;
pub mod speed;
mod subject;
mod worker;

pub use command::{Candidate, Command, Scope};
pub use snapshot::{Activity, Snapshot};

use deltascope_model::sampling::SamplingParams;
use deltascope_model::{EngineError, Model, Options};
use deltascope_profiles::Stack;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What a session is made from.
pub struct SessionOptions {
    /// The model.
    pub model: Arc<Model>,
    /// The file, as the screen names it.
    pub model_path_label: String,
    /// Profiles in force at the start.
    pub stack: Stack,
    /// Of the engine.
    pub engine: Options,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// What text begins with; `None` takes built-in prompts in turn.
    pub prompt: Option<String>,
    /// Where the profile is saved unless the user says otherwise.
    pub save_path: PathBuf,
}

/// Why a session could not start.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Sampling parameters.
    #[error(transparent)]
    Sampling(#[from] deltascope_model::sampling::SamplingError),
    /// No thread.
    #[error("no thread for the engine: {0}")]
    Thread(#[from] std::io::Error),
    /// The thread ended before it had an engine.
    #[error("the engine's thread ended before it was ready")]
    Ended,
}

/// Where the latest snapshot lies.
pub(crate) struct Shared(Mutex<Arc<Snapshot>>);

impl Shared {
    fn latest(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn publish(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

/// A handle to the engine's thread; dropping it ends the thread after the run at hand.
pub struct Session {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Starts the thread and waits until it has an engine (not until it has run anything).
    ///
    /// # Errors
    /// If the engine refuses its options.
    pub fn start(options: SessionOptions) -> Result<Session, SessionError> {
        let (commands, orders) = channel();
        let (ready, made) = channel();
        let body = move || {
            let (worker, shared) = match worker::Worker::new(options, orders) {
                Ok(worker) => {
                    let shared = worker.shared();
                    (worker, shared)
                }
                Err(e) => {
                    let _ = ready.send(Err(e));
                    return;
                }
            };
            let _ = ready.send(Ok(Arc::clone(&shared)));
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| worker.run())) {
                let latest = shared.latest();
                let why = format!("the engine panicked: {}", panic_text(panic.as_ref()));
                shared.publish(Snapshot {
                    seq: latest.seq + 1,
                    activity: Activity::Failed(why),
                    job: None,
                    ..Snapshot::clone(&latest)
                });
            }
        };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(body)?;
        let shared = made.recv().map_err(|_| SessionError::Ended)??;
        Ok(Session { shared, commands, thread: Some(thread) })
    }

    /// The latest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.latest()
    }

    /// Gives an order. One that comes after the end of the thread is lost; the snapshot says that it has ended.
    pub fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.send(Command::Quit);
        if let Some(thread) = self.thread.take() {
            // Its panics were caught and shown.
            let _ = thread.join();
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
