//! The engine's thread.

use super::catalogue::Catalogue;
use super::change::{Undo, Watched};
use super::command::Command;
use super::compare::Turns;
use super::generator::{GenerateError, Generator};
use super::interval::notch;
use super::lane::Lane;
use super::sides::Survey;
use super::snapshot::{Activity, Baseline, Job, Known, Message, Snapshot, Subject};
use super::{SessionError, SessionOptions, Shared, saving, subject};
use crate::sample;
use deltascope_kernels::cuda::Gauge;
use deltascope_model::profiling::{Group, PlanInfo};
use deltascope_model::qwen3next::Logits;
use deltascope_model::{Batch, Engine, EngineError, Model};
use deltascope_profiles::{Machine, Measured, Phase, Rule};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The slot that prefill is timed in, beside that of the text.
pub(super) const PREFILL_SLOT: usize = 1;
/// At most so many snapshots a second.
const FRAME: Duration = Duration::from_millis(50);
/// A table is made anew after this time, or after forty times what making it took.
const TABLE: Duration = Duration::from_millis(250);
const MESSAGES: usize = 50;

pub(super) struct Worker {
    pub engine: Engine,
    pub model: Arc<Model>,
    shared: Arc<Shared>,
    orders: Receiver<Command>,
    pub generator: Generator,
    first_prompt: Option<String>,
    /// What is published, kept up to date.
    pub now: Snapshot,
    pub decode: Lane,
    pub prefill: Lane,
    pub prefill_tokens: Vec<u32>,
    described: Option<Arc<PlanInfo>>,
    table_due: Instant,
    publish_due: Instant,
    pins: usize,
    pub undo: Vec<Undo>,
    pub watched: Option<Watched>,
    pub turns: Option<Turns>,
    pub survey: Option<Survey>,
    pub started: Instant,
    /// No run has succeeded since the last change.
    pub untried: bool,
    pub measured: Vec<(Rule, Measured)>,
    machine: Machine,
    /// Reads the GPU's clocks, where there is one.
    gauge: Option<Gauge>,
    /// Why a GPU's steps are timed by events was said.
    timing_told: bool,
    /// What packing says while the engine is busy with it.
    packing: Arc<Mutex<Option<Job>>>,
}

impl Worker {
    pub fn new(options: SessionOptions, orders: Receiver<Command>) -> Result<Worker, SessionError> {
        let SessionOptions { model, model_path_label, stack, engine: mut engine_options, sampling, prompt, save_path } =
            options;
        engine_options.n_slots = engine_options.n_slots.max(PREFILL_SLOT + 1);
        let mut engine = Engine::new(Arc::clone(&model), stack, engine_options)?;
        let generator = Generator::new(Arc::clone(&model), sampling)?;
        let machine = deltascope_tuning::machine::of_engine(&engine);
        let subject = subject::of(&engine, &machine, model_path_label, save_path);
        let profile = saving::profile_of(engine.stack(), &machine, &model, &[]);
        let now = Snapshot::starting(subject, Phase::Decode, engine.options().threads_decode, profile);
        let shared = Arc::new(Shared(Mutex::new(Arc::new(now.clone()))));
        let prefill_tokens = sample::tokens(&model, engine.options().ubatch.min(engine.options().n_ctx));
        let packing = Arc::new(Mutex::new(None));
        let (screen, note) = (Arc::clone(&shared), Arc::clone(&packing));
        let what = if engine.device().is_some() { "copying weights to the GPU" } else { "packing weights" };
        engine.on_pack(move |p| {
            let job = (p.done < p.total).then(|| Job { what: what.into(), done: p.done, total: p.total });
            let latest = screen.latest();
            screen.publish(Snapshot { seq: latest.seq + 1, job: job.clone(), ..Snapshot::clone(&latest) });
            if let Ok(mut slot) = note.lock() {
                *slot = job;
            }
        });
        let start = Instant::now();
        let gauge = engine.device().map(Gauge::start);
        let note = engine.note().map(str::to_owned);
        let mut worker = Worker {
            decode: Lane::new(Phase::Decode, 1),
            prefill: Lane::new(Phase::Prefill, prefill_tokens.len()),
            engine,
            model,
            shared,
            orders,
            generator,
            first_prompt: prompt,
            now,
            prefill_tokens,
            described: None,
            table_due: start,
            publish_due: start,
            pins: 0,
            undo: Vec::new(),
            watched: None,
            turns: None,
            survey: None,
            started: start,
            untried: false,
            measured: Vec::new(),
            machine,
            gauge,
            timing_told: false,
            packing,
        };
        if let Some(note) = note {
            worker.tell(note);
        }
        Ok(worker)
    }

    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Runs until it is told to quit.
    pub fn run(mut self) {
        self.now.subject =
            Arc::new(Subject { bandwidth: subject::bandwidth(&self.engine), ..Subject::clone(&self.now.subject) });
        let prompt = self.first_prompt.take();
        self.begin_text(prompt.as_deref());
        if self.now.activity == Activity::Starting {
            self.now.activity = Activity::Running;
        }
        loop {
            let order = match self.now.activity {
                _ if self.survey.is_some() => self.orders.try_recv().map_err(|e| e == TryRecvError::Disconnected),
                Activity::Running => self.orders.try_recv().map_err(|e| e == TryRecvError::Disconnected),
                _ => self.orders.recv_timeout(FRAME).map_err(|e| e == RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Command::Quit) | Err(true) => return,
                Ok(command) => {
                    self.obey(command);
                    self.publish();
                    continue;
                }
                Err(false) => {}
            }
            if self.now.activity == Activity::Running {
                self.step();
            }
            self.survey_one();
            if Instant::now() >= self.publish_due {
                self.publish();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Prompt(text) => self.begin_text(Some(&text)),
            Command::Pause(on) => match self.now.activity {
                Activity::Running if on => self.now.activity = Activity::Paused,
                Activity::Paused if !on => self.now.activity = Activity::Running,
                _ => {}
            },
            Command::Show(phase, group) => {
                self.now.group = group;
                if phase != self.now.phase {
                    self.finish_turns();
                    self.end_survey();
                    self.now.phase = phase;
                    // Nothing of the other phase stays on screen while the first run of this one takes its time.
                    self.described = None;
                    self.now.table = Arc::default();
                    self.now.catalogue = Arc::default();
                    self.now.tokens_per_run = self.lane().tokens_per_run;
                }
                self.table_due = Instant::now();
                self.refresh_table();
            }
            Command::Swap(scope, candidate) => self.swap(&scope, &candidate),
            Command::Undo => self.take_back(),
            Command::PinBaseline => {
                self.pins += 1;
                self.pin(format!("pin {}", self.pins));
            }
            Command::Compare(scope, candidate) => self.begin_turns(scope, candidate),
            Command::CancelComparison => self.finish_turns(),
            Command::CheckAll(scope) => self.check_all(&scope),
            Command::TimeElsewhere(scope) => self.begin_survey(scope.as_ref()),
            Command::Move(scope) => self.move_over(&scope),
            Command::CancelTiming => self.end_survey(),
            Command::Threads(n) => self.set_threads(n),
            Command::Quit => {}
        }
    }

    fn begin_text(&mut self, prompt: Option<&str>) {
        self.engine.record(false);
        match self.generator.start(&mut self.engine, prompt) {
            Ok(()) => {
                if matches!(self.now.activity, Activity::Failed(_)) {
                    self.now.activity = Activity::Running;
                }
            }
            Err(GenerateError::Engine(e)) => self.fail(e.to_string()),
            Err(e) => {
                self.error(e.to_string());
                if !self.generator.is_started() {
                    self.begin_text(None);
                }
            }
        }
        self.now.prompt = self.generator.prompt();
    }

    /// One run of the shown phase, or one pair of a comparison.
    fn step(&mut self) {
        let result = if self.turns.is_some() { self.turn() } else { self.run_once() };
        match result {
            Ok(()) => self.untried = false,
            Err(e) if self.untried => {
                self.error(format!("the change cannot run: {e}; it was taken back"));
                self.untried = false;
                self.take_back();
            }
            Err(e) => self.fail(e.to_string()),
        }
        if let Some(note) = self.engine.timing_note().filter(|_| !self.timing_told).map(str::to_owned) {
            self.timing_told = true;
            self.tell(note);
        }
        self.compare_outputs();
        self.refresh_table();
    }

    fn run_once(&mut self) -> Result<(), GenerateError> {
        let recorded = self.lane().meter.records_next();
        self.engine.record(recorded);
        if self.now.phase == Phase::Decode && self.generator.at_end(&self.engine) {
            self.engine.record(false);
            self.generator.start(&mut self.engine, None)?;
            self.now.prompt = self.generator.prompt();
            self.engine.record(recorded);
        }
        let start = Instant::now();
        self.run_phase()?;
        let record = self.engine.take_record();
        self.lane_mut().push(start.elapsed().as_secs_f64(), record.filter(|_| recorded).as_ref());
        Ok(())
    }

    /// One run of the shown phase, as the engine is set.
    pub fn run_phase(&mut self) -> Result<(), GenerateError> {
        match self.now.phase {
            Phase::Decode => self.generator.step(&mut self.engine),
            Phase::Prefill => {
                self.engine.reset(PREFILL_SLOT)?;
                let batch = prefill_batch(&self.prefill_tokens);
                Ok(self.engine.eval(batch).map(|_| ())?)
            }
        }
    }

    pub fn lane(&self) -> &Lane {
        if self.now.phase == Phase::Decode { &self.decode } else { &self.prefill }
    }

    pub fn lane_mut(&mut self) -> &mut Lane {
        if self.now.phase == Phase::Decode { &mut self.decode } else { &mut self.prefill }
    }

    /// The plan of the shown phase: that of the last runs, or the one that the next would have.
    pub fn plan_info(&mut self) -> Result<Arc<PlanInfo>, EngineError> {
        match self.lane().stats.info() {
            Some(info) => Ok(Arc::clone(info)),
            None => self.engine.plan_info(self.now.phase),
        }
    }

    fn pin(&mut self, name: String) {
        if self.lane().stats.is_empty() {
            return self.error("nothing has been measured yet".into());
        }
        let old = self.now.baseline.take();
        let mut baseline = old.map_or_else(Baseline::default, |b| Baseline::clone(&b));
        self.lane().pin(&mut baseline);
        baseline.name = name;
        self.now.baseline = Some(Arc::new(baseline));
    }

    /// Makes the table anew if it is time.
    fn refresh_table(&mut self) {
        let start = Instant::now();
        if start < self.table_due {
            return;
        }
        let phase = self.now.phase;
        let has_pin = self.now.baseline.as_ref().is_some_and(|b| b.tokens_per_s.contains_key(&phase));
        if !has_pin && self.lane().settled() {
            let name = self.now.baseline.as_ref().map_or_else(|| "start".to_owned(), |b| b.name.clone());
            self.pin(name);
        }
        let table = self.lane().stats.table(self.now.group);
        if let Some(info) = self.lane().stats.info().cloned() {
            // Rows index the nodes of their own plan: both are replaced together.
            if !table.rows.is_empty() {
                if !self.described.as_ref().is_some_and(|d| Arc::ptr_eq(d, &info)) {
                    self.now.catalogue = Arc::new(Catalogue::of(&info));
                    self.described = Some(info);
                }
                self.learn_times(&table);
                self.learn_sides(&table);
                self.now.table = Arc::new(table);
                self.now.tokens_per_run = self.lane().tokens_per_run;
            }
        }
        self.watch();
        self.table_due = Instant::now() + TABLE.max(start.elapsed() * 40);
    }

    fn learn_times(&mut self, table: &deltascope_model::profiling::Table) {
        if !matches!(self.now.group, Group::Op | Group::Node) {
            return;
        }
        let phase = self.now.phase;
        let catalogue = Arc::clone(&self.now.catalogue);
        let known: &mut Known = Arc::make_mut(&mut self.now.known);
        for row in &table.rows {
            let side = (&catalogue.variants_of(&row.nodes)[..], &row.sides[..], notch(&row.samples));
            if let ([variant], [(backend, _)], Some(time)) = side {
                known.times.insert((phase, *backend, row.label.clone(), (*variant).to_owned()), time);
            }
        }
    }

    /// What saving writes has changed.
    pub fn profile_changed(&mut self) {
        let stack = self.engine.stack();
        self.now.profile = Arc::new(saving::profile_of(stack, &self.machine, &self.model, &self.measured));
        self.now.undo = Arc::new(self.undo.iter().map(|u| u.what.clone()).collect());
    }

    pub fn error(&mut self, text: String) {
        self.message(true, text);
    }

    pub fn tell(&mut self, text: String) {
        self.message(false, text);
    }

    fn message(&mut self, error: bool, text: String) {
        let all = Arc::make_mut(&mut self.now.messages);
        let message = Message { id: all.last().map_or(1, |m| m.id + 1), error, text };
        if all.len() == MESSAGES {
            all.remove(0);
        }
        all.push(message);
    }

    fn fail(&mut self, why: String) {
        self.error(why.clone());
        self.now.activity = Activity::Failed(why);
    }

    pub fn job(&mut self, job: Option<Job>) {
        self.now.job = job;
        self.publish();
    }

    pub fn publish(&mut self) {
        self.publish_due = Instant::now() + FRAME;
        self.now.clock = self.started.elapsed();
        self.now.threads = match self.now.phase {
            Phase::Decode => self.engine.options().threads_decode,
            Phase::Prefill => self.engine.options().threads_prefill,
        };
        let mut speed = self.lane().meter.speed();
        if let (Phase::Decode, Some(bandwidth)) = (self.now.phase, self.now.subject.bandwidth) {
            let share = speed.tokens_per_s * self.now.subject.bytes_per_token / bandwidth;
            speed.limit_share = (share > 0.0).then_some(share);
        }
        self.now.speed = speed;
        self.now.gpu_now = self.gauge.as_ref().and_then(Gauge::latest);
        if *self.now.text != *self.generator.text() {
            self.now.text = self.generator.text().into();
        }
        self.now.seq = self.shared.latest().seq + 1;
        let packing = self.packing.lock().ok().and_then(|p| p.clone());
        self.shared.publish(Snapshot { job: self.now.job.clone().or(packing), ..self.now.clone() });
    }
}

pub(super) fn prefill_batch(tokens: &[u32]) -> Batch<'_> {
    Batch { tokens, slot: PREFILL_SLOT, n_seqs: 1, logits: Logits::Last }
}
