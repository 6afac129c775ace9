//! Verdicts and groupings in words and signs.

use super::super::format::change;
use super::super::theme::Theme;
use crate::session::interval::{Interval, Verdict};
use deltascope_model::profiling::Group;
use ratatui::style::Style;

/// What a row of a grouping is, and what there are several of.
pub fn level(group: Group) -> (&'static str, &'static str) {
    match group {
        Group::Op => ("op", "ops"),
        Group::Node => ("node", "nodes"),
        Group::Layer => ("layer", "layers"),
        Group::Block => ("block", "blocks"),
    }
}

/// The sign of a verdict: of time, unless `of_speed`.
pub fn sign(verdict: Verdict, of_speed: bool) -> &'static str {
    match (verdict, of_speed) {
        (Verdict::Tie, _) => "≈",
        (Verdict::Faster, false) | (Verdict::Slower, true) => "▼",
        (Verdict::Slower, false) | (Verdict::Faster, true) => "▲",
    }
}

/// The colour of a verdict.
pub fn style(theme: Theme, verdict: Verdict) -> Style {
    match verdict {
        Verdict::Faster => theme.good(),
        Verdict::Slower => theme.bad(),
        Verdict::Tie => theme.dim(),
    }
}

/// The word of a verdict.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Faster => "faster",
        Verdict::Slower => "slower",
        Verdict::Tie => "a tie",
    }
}

/// `−61.0% [−62.3%, −59.8%]`
pub fn interval(i: &Interval) -> String {
    format!("{} [{}, {}]", change(i.median), change(i.lo), change(i.hi))
}
