//! What a search does, as lines on standard error.

use deltascope_kernels::Op;
use deltascope_profiles::Phase;
use deltascope_tuning::search::Event;

/// Takes a search's events and prints those that people wait for.
pub(super) fn lines(op: Op, phase: Phase) -> impl FnMut(Event) {
    let mut confirming = false;
    move |event| match event {
        Event::Started { shapes, candidates } => {
            eprintln!("{op} ({phase}): {}, {}", count(shapes, "shape"), count(candidates, "candidate"));
        }
        Event::Refused { candidate, reason } => eprintln!("  refused  {candidate}: {reason}"),
        Event::Dropped { candidate, reason } => eprintln!("  dropped  {candidate}: {reason}"),
        Event::Drifted { by } => eprintln!("  the machine changed ({by:.2}x); the turn is thrown away"),
        Event::Round { round, of, live, leader } => {
            let ahead = leader.map_or_else(String::new, |(c, r)| {
                format!("; ahead: {c}, {:.3} [{:.3}, {:.3}] of the time", r.median, r.lo, r.hi)
            });
            eprintln!("  round {round} of {of}: {live} left{ahead}");
        }
        Event::Confirming { .. } if !confirming => {
            confirming = true;
            eprintln!("  whole runs with what won against whole runs without …");
        }
        Event::Confirming { .. } | Event::Checking { .. } | Event::Run => {}
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
