//! `run --fail-on`: what a run had of the findings that are to be failures.

use std::collections::HashSet;

use shmgate_core::session::Session;

use super::findings::{Finding, Kind};
use super::groups::grouped;
use super::words::plural;
use super::{FailOnOption, Report};
use crate::failure::say;

/// As many findings are told of one by one.
const MOST_LINES: usize = 20;

/// What a run had of the findings that `--fail-on` names.
pub struct Failures {
    /// `None` if nothing was asked for, or if it can't be told: that is a failure too.
    found: Option<(Report, Vec<Finding>)>,
    pub is_failed: bool,
}

impl Failures {
    /// Those of a run that began at `since`. `told` is false if nobody wants to read of them.
    pub fn of(session: &Session, options: &FailOnOption, since: u64, told: bool) -> Failures {
        if options.fail_on.is_empty() {
            return Failures { found: None, is_failed: false };
        }
        match Report::of(session.dir(), false, told) {
            Ok(mut report) => {
                let all = std::mem::take(&mut report.findings);
                let is_meant = |one: &Finding| one.last >= since && options.means(one.kind);
                let found: Vec<Finding> = all.into_iter().filter(is_meant).collect();
                Failures { is_failed: !found.is_empty(), found: Some((report, found)) }
            }
            Err(failure) => {
                say(failure.message);
                Failures { found: None, is_failed: true }
            }
        }
    }

    /// The ids and keys of the leaks among them.
    pub fn leaked(&self) -> HashSet<(i32, i32)> {
        let Some((report, found)) = &self.found else { return HashSet::new() };
        let leaks = found.iter().filter(|one| one.kind == Kind::Leak).flat_map(|one| &one.segments);
        leaks.map(|segment| named(report, *segment)).collect()
    }

    /// Says them, with where their calls came from: there may be no session left to ask. `hint` tells what to do about leaks by their ids and keys.
    pub fn tell(self, hint: impl Fn(&[(i32, i32)]) -> Option<String>) {
        let Some((mut report, found)) = self.found else { return };
        let found = grouped(&mut report, found);
        for Finding { kind, summary, segments, evidence, .. } in found.iter().take(MOST_LINES) {
            let segments: Vec<_> = segments.iter().map(|segment| named(&report, *segment)).collect();
            let hint = hint(&segments).filter(|_| *kind == Kind::Leak).map_or_else(String::new, |hint| format!("; {hint}"));
            say(format!("{}: {}: {summary}{hint}", kind.severity(), kind.name()));
            for slot in evidence {
                let Some(callers) = report.callers(*slot) else { continue };
                if let (2.., Some(event)) = (evidence.len(), report.event(*slot)) {
                    say(format!("  {event}"));
                }
                callers.to_string().lines().for_each(say);
            }
        }
        if let more @ 1.. = found.len().saturating_sub(MOST_LINES) {
            say(format!("and {}", plural(more as u64, "more finding")));
        }
    }
}

fn named(report: &Report, segment: super::model::Index) -> (i32, i32) {
    let segment = &report.model.segments[segment as usize];
    (segment.shmid, segment.key.unwrap_or(0))
}
