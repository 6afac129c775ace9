//! The same op on the other backend: nodes are run there by themselves, on live inputs, one between two tokens, and rows
//! get a time beside the one that they have in the model.

use super::command::Scope;
use super::interval::notch;
use super::snapshot::{Job, Known, SideTime};
use super::worker::Worker;
use deltascope_kernels::check::Repeat;
use deltascope_kernels::{Backend, Instance, Op};
use deltascope_model::EngineError;
use deltascope_model::engine::sides::{Elsewhere, available, other};
use deltascope_model::profiling::{Group, NodeInfo, PlanInfo, Table};
use deltascope_profiles::Phase;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How often a node is run; what takes long is run less often.
const REPEAT: Repeat = Repeat { most: 20, within: Duration::from_millis(300) };

/// Rows that are being measured on the backend where they do not run.
pub(super) struct Survey {
    phase: Phase,
    todo: VecDeque<Target>,
    total: usize,
    /// Of the row at hand.
    row: Partial,
    rows: usize,
    /// Rows without a time, and why.
    missed: Vec<String>,
}

/// One node for all of its shape in a row.
struct Target {
    group: Group,
    label: String,
    node: String,
    /// Nodes of the row that it stands for.
    count: usize,
    on: Backend,
    /// No other of its row comes behind.
    last: bool,
}

/// What the nodes of a row gave so far.
#[derive(Default)]
struct Partial {
    samples: Vec<f32>,
    variants: Vec<&'static str>,
    error: f64,
}

impl Partial {
    fn add(&mut self, count: usize, e: &Elsewhere) {
        let times = e.micros.iter().map(|us| *us as f32 * count as f32);
        if self.samples.is_empty() {
            self.samples = times.collect();
        } else {
            self.samples.truncate(e.micros.len());
            self.samples.iter_mut().zip(times).for_each(|(sum, us)| *sum += us);
        }
        let name = e.variant.spec().name;
        if !self.variants.contains(&name) {
            self.variants.push(name);
        }
        self.error = self.error.max(e.error);
    }
}

impl Worker {
    /// Begins to measure a row, or all rows of ops.
    pub(super) fn begin_survey(&mut self, scope: Option<&Scope>) {
        self.finish_turns();
        match self.survey_of(scope) {
            Ok(survey) => {
                self.survey = Some(survey);
                self.show_survey();
            }
            Err(e) => self.error(e),
        }
    }

    fn survey_of(&mut self, scope: Option<&Scope>) -> Result<Survey, String> {
        let info = self.plan_info().map_err(|e| e.to_string())?;
        let rows: Vec<(Group, String)> = match scope {
            Some(scope) => vec![scope.row()],
            None => labels(&info).into_iter().map(|label| (Group::Op, label)).collect(),
        };
        let mut survey = Survey {
            phase: self.now.phase,
            todo: VecDeque::new(),
            total: 0,
            row: Partial::default(),
            rows: 0,
            missed: Vec::new(),
        };
        for (group, label) in rows {
            match targets(&info, group, &label) {
                Ok(targets) => survey.todo.extend(targets),
                Err(why) => survey.missed.push(format!("{label}: {why}")),
            }
        }
        let wanted = survey.todo.iter().find(|t| t.on == Backend::Cuda).map(|t| t.on);
        if let Some(Err(e)) = wanted.map(available) {
            return Err(format!("there is no other backend to measure on: {e}"));
        }
        if survey.todo.is_empty() {
            return Err(survey.missed.pop().unwrap_or_else(|| "there is nothing to measure".to_owned()));
        }
        survey.total = survey.todo.len();
        Ok(survey)
    }

    /// Measures one node.
    pub(super) fn survey_one(&mut self) {
        let Some(mut survey) = self.survey.take() else { return };
        let Some(target) = survey.todo.pop_front().filter(|_| survey.phase == self.now.phase) else {
            return self.end_survey();
        };
        match self.measure(&target) {
            Ok(elsewhere) => survey.row.add(target.count, &elsewhere),
            Err(e) => {
                survey.missed.push(format!("{}: {e}", target.label));
                survey.row = Partial::default();
                while survey.todo.front().is_some_and(|t| t.label == target.label) {
                    survey.todo.pop_front();
                }
            }
        }
        if target.last
            && let Some(time) = notch(&survey.row.samples)
        {
            let Partial { variants, error, .. } = std::mem::take(&mut survey.row);
            let at = self.started.elapsed();
            let side = SideTime { time, at, alone: true, variants: variants.join(" "), error: Some(error) };
            let known: &mut Known = Arc::make_mut(&mut self.now.known);
            known.sides.insert((survey.phase, target.group, target.label, target.on), side);
            survey.rows += 1;
        }
        let done = survey.todo.is_empty();
        self.survey = Some(survey);
        if done { self.end_survey() } else { self.show_survey() }
    }

    fn measure(&mut self, target: &Target) -> Result<Elsewhere, EngineError> {
        let taps = self.tap_nodes(std::slice::from_ref(&target.node))?;
        let tap = taps.into_iter().next().ok_or_else(|| EngineError::Node(target.node.clone()))?;
        let tokens = if self.now.phase == Phase::Decode { 1 } else { self.prefill_tokens.len() };
        self.engine.time_on(target.on, tap, self.now.phase, tokens, REPEAT)
    }

    fn show_survey(&mut self) {
        let job = self.survey.as_ref().and_then(|s| {
            let target = s.todo.front()?;
            let what = format!("timing {} on {} (x ends it)", target.label, target.on);
            Some(Job { what, done: s.total - s.todo.len(), total: s.total })
        });
        self.now.surveying = job.is_some();
        self.job(job);
    }

    /// Ends it, early or not; what was measured stays.
    pub(super) fn end_survey(&mut self) {
        let Some(survey) = self.survey.take() else { return };
        self.show_survey();
        let rows = if survey.rows == 1 { "1 row".to_owned() } else { format!("{} rows", survey.rows) };
        match survey.missed.first() {
            Some(first) if survey.rows == 0 => self.error(first.clone()),
            Some(first) => self.tell(format!("{rows} timed; {} not, {first}", survey.missed.len())),
            None => self.tell(format!("{rows} timed on the other backend")),
        }
    }

    /// Keeps what rows take where they run, for when they run elsewhere.
    pub(super) fn learn_sides(&mut self, table: &Table) {
        let (phase, group, at) = (self.now.phase, self.now.group, self.started.elapsed());
        let catalogue = Arc::clone(&self.now.catalogue);
        let known: &mut Known = Arc::make_mut(&mut self.now.known);
        for row in &table.rows {
            if let ([(backend, _)], Some(time)) = (&row.sides[..], notch(&row.samples)) {
                let variants = catalogue.variants_of(&row.nodes).join(" ");
                let side = SideTime { time, at, alone: false, variants, error: None };
                known.sides.insert((phase, group, row.label.clone(), *backend), side);
            }
        }
    }
}

/// Rows of ops, in the order of the plan.
fn labels(info: &PlanInfo) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for node in &info.nodes {
        if node.op != Op::Transfer && !labels.contains(&node.label) {
            labels.push(node.label.clone());
        }
    }
    labels
}

/// One node for each distinct shape of a row, and where to measure it.
fn targets(info: &PlanInfo, group: Group, label: &str) -> Result<Vec<Target>, String> {
    let mut shapes: Vec<(&Instance, &NodeInfo, usize)> = Vec::new();
    let mut end = 0;
    for node in &info.nodes {
        let in_row = label == if group == Group::Node { &node.name } else { &node.label };
        // A node inside another one of the row is part of that one's time; without steps it computes nothing.
        if !in_row || node.steps.is_empty() || node.steps.start < end || node.op == Op::Transfer {
            continue;
        }
        end = node.steps.end;
        match shapes.iter_mut().find(|(inst, ..)| **inst == node.inst) {
            Some((.., count)) => *count += 1,
            None => shapes.push((&node.inst, node, 1)),
        }
    }
    let Some(&(_, first, _)) = shapes.first() else { return Err("nothing runs".to_owned()) };
    let mut backends = info.nodes.iter().filter(|n| n.label == first.label).map(|n| n.backend);
    if group == Group::Op && backends.any(|b| b != first.backend) {
        return Err("it runs on both backends: choose one of its nodes (2)".to_owned());
    }
    let last = shapes.len() - 1;
    let target = |(i, (_, node, count)): (usize, (&Instance, &NodeInfo, usize))| Target {
        group,
        label: label.to_owned(),
        node: node.name.clone(),
        count,
        on: other(first.backend),
        last: i == last,
    };
    Ok(shapes.into_iter().enumerate().map(target).collect())
}
