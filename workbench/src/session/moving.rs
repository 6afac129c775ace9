//! Moving an op to the other backend: a placement for its nodes, in force from the next token on.

use super::command::Scope;
use super::worker::Worker;
use deltascope_kernels::Backend;
use deltascope_model::choice::rule_backend;
use deltascope_model::engine::sides::other;
use deltascope_model::profiling::{NodeInfo, PlanInfo};
use deltascope_profiles::{Pattern, Placement};

impl Worker {
    pub(super) fn move_over(&mut self, scope: &Scope) {
        self.finish_turns();
        self.end_survey();
        if let Err(e) = self.try_move(scope) {
            self.error(e);
        }
    }

    fn try_move(&mut self, scope: &Scope) -> Result<(), String> {
        if self.engine.device().is_none() {
            return Err("nothing to move to: this session has no GPU (--backend cuda or auto)".to_owned());
        }
        let info = self.plan_info().map_err(|e| e.to_string())?;
        let label = scope.row().1;
        let nodes: Vec<&NodeInfo> = info.nodes.iter().filter(|n| scope.holds(n) && is_placed(n)).collect();
        let Some(first) = nodes.first() else {
            return Err(format!("{label} is part of other nodes here, which can be moved"));
        };
        let (from, to) = (first.backend, other(first.backend));
        let mut patterns: Vec<Pattern> = Vec::new();
        for node in &nodes {
            let pattern = pattern_of(&info, scope, &node.name)?;
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        self.remember(format!("{label}: {from} → {to}"));
        let places = &mut self.engine.stack_mut().session_mut().places;
        places.retain(|place| !patterns.contains(&place.node));
        let new = patterns.into_iter().map(|node| Placement { node, backend: rule_backend(to) });
        places.splice(0..0, new);
        let moved = match self.engine.plan_info(self.now.phase) {
            Ok(plan) => moved(&plan, &nodes, to),
            Err(e) => Err(format!("{label} cannot run on {to}: {e}")),
        };
        match moved {
            Ok(()) => {
                self.tell(format!("{label} runs on {to} from here on"));
                self.plans_changed();
                Ok(())
            }
            Err(why) => {
                self.take_back();
                Err(why)
            }
        }
    }
}

/// Nodes of the model's graph: those that are placed, with all their parts.
fn is_placed(node: &NodeInfo) -> bool {
    node.parent.is_none() && !node.conversion
}

/// Whether a plan has any of these nodes on a backend, else why not.
fn moved(plan: &PlanInfo, nodes: &[&NodeInfo], to: Backend) -> Result<(), String> {
    let mut now = plan.nodes.iter().filter(|n| nodes.iter().any(|old| old.name == n.name));
    let mut why = format!("nothing of it can run on {to}");
    if now.any(|n| {
        why = n.note.clone().unwrap_or_else(|| why.clone());
        n.backend == to
    }) {
        Ok(())
    } else {
        Err(why)
    }
}

/// `blk.*.ffn` for `blk.7.ffn`, if all nodes of the graph that it fits are in the scope; else the name itself.
fn pattern_of(info: &PlanInfo, scope: &Scope, name: &str) -> Result<Pattern, String> {
    let general: Vec<&str> =
        name.split('.').map(|part| if part.parse::<usize>().is_ok() { "*" } else { part }).collect();
    let general: Pattern = general.join(".").parse().map_err(|e| format!("{name}: {e}"))?;
    let fits = |n: &&NodeInfo| is_placed(n) && general.matches(&n.name);
    if info.nodes.iter().filter(fits).all(|n| scope.holds(n)) {
        return Ok(general);
    }
    name.parse().map_err(|e| format!("{name}: {e}"))
}
