//! Findings as people are told of them: leaks that the same calls made are one, as a heap checker's loss records are.

use std::collections::HashMap;
use std::rc::Rc;

use super::Report;
use super::findings::{Finding, Kind, who};
use super::words::some;
use crate::symbols::Callers;

/// These findings, of which those leaks are made one that have the same stack. JSON is for programs, and has each.
pub fn grouped(report: &mut Report, findings: Vec<Finding>) -> Vec<Finding> {
    let mut groups: Vec<Vec<Finding>> = Vec::with_capacity(findings.len());
    let mut known: HashMap<Rc<Callers>, usize> = HashMap::new();
    for finding in findings {
        match maker(report, &finding).map(|maker| *known.entry(maker).or_insert(groups.len())) {
            Some(at) if at < groups.len() => groups[at].push(finding),
            _ => groups.push(vec![finding]),
        }
    }
    groups.into_iter().map(|group| one_of(report, group)).collect()
}

/// The stack that made a leak. One of which nothing is known is no sign that two are the same.
fn maker(report: &mut Report, finding: &Finding) -> Option<Rc<Callers>> {
    let slot = finding.evidence.first().filter(|_| finding.kind == Kind::Leak)?;
    report.callers(*slot).filter(|callers| !callers.frames.is_empty())
}

fn one_of(report: &Report, mut group: Vec<Finding>) -> Finding {
    if group.len() == 1 {
        return group.swap_remove(0);
    }
    let model = &report.model;
    let segments: Vec<_> = group.iter().flat_map(|one| one.segments.iter().copied()).collect();
    let of = || segments.iter().map(|segment| &model.segments[*segment as usize]);
    let bytes = of().map(|segment| segment.size.unwrap_or(0)).fold(0, u64::saturating_add);
    let first = &group[0];
    let creator = first.process.map_or_else(String::new, |process| who(model, process));
    let others = group.iter().any(|one| one.process != first.process);
    let and = if others { " and other processes" } else { "" };
    let summary = format!(
        "{} segments, {bytes} bytes in all, were created by {creator}{and} and never removed; nobody has them attached: {}",
        segments.len(),
        some("id", of().map(|segment| segment.shmid)),
    );
    let count = group.iter().map(|one| one.count).sum();
    let last = group.iter().map(|one| one.last).max().unwrap_or(first.last);
    Finding { summary, key: None, count, last, segments, ..group.swap_remove(0) }
}
