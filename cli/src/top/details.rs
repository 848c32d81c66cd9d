//! One row in full: a segment as `shmgate show` has it, a process's calls and attaches, a denial's whole line.

use std::fmt::Write as _;
use std::path::PathBuf;

use shmgate_core::call::CallKind;
use shmgate_core::text::json::Utc;

use super::activity::{Activity, Both, OfProcess};
use super::grid::{Grid, Row, Sample, Subject};
use crate::failure::Failure;
use crate::segments::Segment;
use crate::segments::columns::Value;
use crate::segments::holders::{Holder, Search};
use crate::segments::maps::Mapping;
use crate::segments::origin::Origin;
use crate::segments::show::View;
use crate::segments::table;

/// A row that is looked at.
#[derive(Debug)]
pub struct Details {
    subject: Subject,
    /// What journals know of a segment: read once, as that may take long.
    origin: Origin,
    pub title: String,
    pub lines: Vec<String>,
}

impl Details {
    /// Finds out all of a row. `sessions` are those whose journals are asked.
    ///
    /// # Errors
    /// A [`Failure`] for a session that can't be read.
    pub fn of(
        subject: Subject,
        sample: &Sample,
        activity: Option<&Activity>,
        sessions: &[PathBuf],
    ) -> Result<Details, Failure> {
        let (title, origin) = match &subject {
            Subject::Segment(_, id) => {
                let found = find(&subject, sample).map(|(segment, search)| Origin::of(segment, search, sessions, false));
                (format!("Segment {id}"), found.transpose()?.unwrap_or_default())
            }
            Subject::Process(pid) => (format!("Process {pid}"), Origin::default()),
            Subject::Denial(_) => ("Denial".into(), Origin::default()),
        };
        let mut details = Details { subject, origin, title, lines: Vec::new() };
        details.refresh(sample, activity);
        Ok(details)
    }

    /// Makes the text anew. What is gone keeps its last one, and says so.
    pub fn refresh(&mut self, sample: &Sample, activity: Option<&Activity>) {
        let text = match &self.subject {
            Subject::Segment(..) => find(&self.subject, sample).map(|(segment, search)| {
                note_attaches(&mut self.origin, search, activity);
                View { segment, survey: &sample.survey, search, origin: &self.origin, found: None }.text(false)
            }),
            Subject::Process(pid) => activity
                .and_then(|activity| Some((activity, activity.tally.processes.get(pid)?)))
                .map(|(activity, process)| of_process(*pid, process, activity, sample)),
            // It stays as it is.
            Subject::Denial(_) if !self.lines.is_empty() => return,
            Subject::Denial(number) => activity
                .and_then(|activity| activity.tally.denials.iter().find(|denied| denied.number == *number))
                .map(|denied| format!("{}\n{}\n", Utc(denied.time), denied.line)),
        };
        match text {
            Some(text) => self.lines = text.lines().map(str::to_owned).collect(),
            None if self.title.ends_with("gone") => {}
            None => self.title += ": gone",
        }
    }
}

/// The segment that a row is about.
pub fn find<'a>(subject: &Subject, sample: &'a Sample) -> Option<(&'a Segment, &'a Search)> {
    let Subject::Segment(place, id) = subject else { return None };
    sample.each().find(|(segment, _)| segment.id == *id && segment.place == *place)
}

/// A segment's holders as a table, a line a process.
pub fn holders(search: &Search, sample: &Sample, activity: Option<&Activity>) -> Grid {
    let row = |holder: &Holder| {
        let process = sample.survey.processes.find(holder.pid);
        let since = |mapping: &Mapping| activity?.tally.since(holder.inner_pid, mapping.range.start);
        let since = holder.mappings.iter().filter_map(since).min();
        let can_write = holder.mappings.iter().any(|mapping| mapping.can_write);
        let values = vec![
            Value::Number(holder.pid.into()),
            holder.uid.map_or(Value::Nothing, |uid| Value::Text(sample.survey.users.user(uid))),
            Value::Number(holder.mappings.len() as u64),
            Value::Text(if can_write { "write" } else { "read" }.into()),
            since.map_or(Value::Nothing, |time| Value::Age(sample.now.saturating_sub(time / 1_000_000_000))),
            holder.container.name.clone().map_or(Value::Nothing, Value::Text),
            process.map_or(Value::Nothing, |process| Value::Text(process.command().to_owned())),
        ];
        Row::plain(Subject::Process(holder.pid), values)
    };
    let columns = vec!["PID", "USER", "NATTCH", "MAY", "FOR", "CONTAINER", "COMMAND"];
    Grid { columns, rows: search.holders.iter().map(row).collect() }
}

/// Notes since when holders have their attaches, as far as the session's calls tell.
fn note_attaches(origin: &mut Origin, search: &Search, activity: Option<&Activity>) {
    let Some(activity) = activity else { return };
    for holder in &search.holders {
        for mapping in &holder.mappings {
            if let Some(time) = activity.tally.since(holder.inner_pid, mapping.range.start) {
                origin.note(holder.inner_pid, mapping.range.start, time);
            }
        }
    }
}

fn of_process(pid: u32, process: &OfProcess, activity: &Activity, sample: &Sample) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{:20}{value}", format!("{label}:"));
    };
    line("Program", &table::printable(process.exe.as_deref().unwrap_or("?")));
    let command = sample.survey.processes.find(pid).map_or_else(|| "gone".into(), |process| process.command().to_owned());
    line("Command", &table::printable(&command));
    line("User", &format!("{} ({})", sample.survey.users.user(process.uid), process.uid));
    let Both { all, recent } = process.counts;
    let kinds = CallKind::ALL.iter().zip(all.calls.iter().zip(recent.calls));
    let kinds = kinds.map(|(kind, (all, recent))| (kind.name(), *all, recent));
    let others =
        [("Errors", all.errors, recent.errors), ("Denied", all.denied + all.would_deny, recent.denied + recent.would_deny)];
    for (name, all, recent) in kinds.chain(others) {
        line(name, &format!("{all}, {}/s", table::text(&Value::Rate(activity.a_second(recent)), false)));
    }
    line("Last call", &Utc(process.last).to_string());
    for (address, id, time) in activity.tally.attaches(pid) {
        line("Attached", &format!("id {id} at {address:#x} since {}", Utc(time)));
    }
    text
}
