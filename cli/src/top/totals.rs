//! What stands above the tables: sums over the segments, and of a session its calls, what it has in use, and what is wrong.

use std::fmt::Write as _;

use shmgate_core::call::CallKind;
use shmgate_core::policy::size::Size;

use super::activity::Activity;
use super::grid::Sample;
use crate::report::plural;
use crate::segments::columns::Value;
use crate::segments::table::{Cell, Style, size, text};

/// Sums over the segments that are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub segments: u64,
    pub orphans: u64,
    /// Removed, and held.
    pub removed: u64,
    /// In bytes.
    pub size: u64,
    pub rss: u64,
    pub attaches: u64,
    /// Processes that are seen to hold any, and those that could not be looked into.
    pub holders: u64,
    pub unreadable: u64,
    /// Attaches of which nobody is seen.
    pub unseen: u64,
}

impl Totals {
    pub fn of(sample: &Sample) -> Totals {
        let mut totals = Totals::default();
        let mut holders: Vec<u32> = Vec::new();
        for (segment, search) in sample.each() {
            totals.segments += 1;
            totals.orphans += u64::from(segment.is_orphan());
            totals.removed += u64::from(segment.is_removed());
            totals.size = totals.size.saturating_add(segment.size);
            totals.rss = totals.rss.saturating_add(segment.rss.unwrap_or(0));
            totals.attaches += segment.nattch;
            totals.unreadable = totals.unreadable.max(search.unreadable as u64);
            totals.unseen += segment.nattch.saturating_sub(search.attaches());
            holders.extend(search.holders.iter().map(|holder| holder.pid));
        }
        holders.sort_unstable();
        holders.dedup();
        Totals { holders: holders.len() as u64, ..totals }
    }
}

/// The lines above the tables.
pub fn lines(sample: &Sample, activity: Option<&Activity>) -> Vec<Cell> {
    let Totals { segments, orphans, removed, size: bytes, rss, attaches, holders, unreadable, unseen } = Totals::of(sample);
    let mut first = plural(segments, "segment");
    if orphans > 0 {
        let _ = write!(first, ", {}", plural(orphans, "orphan"));
    }
    if removed > 0 {
        let _ = write!(first, ", {removed} removed");
    }
    let (bytes, rss, attaches) = (size(bytes), size(rss), plural(attaches, "attach"));
    let _ = write!(first, "; {bytes}, {rss} in memory; {attaches} by {}", plural(holders, "process"));
    let mut lines = vec![Cell { text: first, style: Style::Plain }];
    if unseen > 0 && unreadable > 0 {
        let (unseen, unreadable) = (plural(unseen, "attach"), plural(unreadable, "process"));
        let text = format!("{unseen} not seen, as {unreadable} can't be looked into; ask as root");
        lines.push(Cell { text, style: Style::Notice });
    }
    if let Some(activity) = activity {
        lines.push(calls(activity));
        lines.extend(in_use(sample, activity));
        let lost = Some(activity.lost()).filter(|lost| *lost > 0);
        let lost = lost.map(|lost| format!("{} could not be recorded", plural(lost, "call")));
        lines.extend(lost.into_iter().chain(activity.faults()).map(|text| Cell { text, style: Style::Warning }));
    }
    lines.extend(sample.survey.faults.iter().map(|text| Cell { text: text.clone(), style: Style::Warning }));
    lines
}

/// How many calls a second there were of late, of which kinds, and what went wrong.
fn calls(activity: &Activity) -> Cell {
    let counts = &activity.tally.counts;
    let a_second = |recent: u64| text(&Value::Rate(activity.a_second(recent)), false);
    let mut line = format!("{} calls/s", a_second(counts.recent.total()));
    let kinds = CallKind::ALL.iter().zip(counts.recent.calls).filter(|(_, recent)| *recent > 0);
    let kinds: Vec<String> = kinds.map(|(kind, recent)| format!("{} {}", kind.name(), a_second(recent))).collect();
    if !kinds.is_empty() {
        let _ = write!(line, " ({})", kinds.join(", "));
    }
    let (all, recent) = (counts.all, counts.recent);
    for (what, all, recent) in [
        ("errors", all.errors, recent.errors),
        ("denied", all.denied, recent.denied),
        ("would be denied", all.would_deny, recent.would_deny),
    ] {
        // Of a dry run alone.
        if what != "would be denied" || all > 0 {
            let _ = write!(line, "; {what} {all}, {}/s", a_second(recent));
        }
    }
    let style = if all.denied + all.would_deny > 0 { Style::Warning } else { Style::Plain };
    Cell { text: line, style }
}

/// What the session has in use, and of how much; `None` if its books can't be read.
fn in_use(sample: &Sample, activity: &Activity) -> Option<Cell> {
    let used = activity.in_use(&sample.survey.segments)?;
    let limits = activity.policy.as_ref().map(|policy| policy.session).unwrap_or_default();
    let of = |limit: Option<u64>| limit.map_or(String::new(), |limit| format!(" of {limit}"));
    let bytes = limits.bytes.map_or(String::new(), |limit| format!(" of {}", Size(limit)));
    let text = format!(
        "in use {}{bytes}; segments {}{}; attaches {}{}",
        Size(used.bytes),
        used.segments,
        of(limits.segments),
        used.attaches,
        of(limits.attaches)
    );
    let is_near = [(used.bytes, limits.bytes), (used.segments, limits.segments), (used.attaches, limits.attaches)]
        .iter()
        .any(|&(used, limit)| limit.is_some_and(|limit| u128::from(used) * 10 >= u128::from(limit) * 9));
    Some(Cell { text, style: if is_near { Style::Notice } else { Style::Plain } })
}
