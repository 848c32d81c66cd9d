//! A report as text for a person.

use std::io::{self, Write};

use shmgate_core::errno::Errno;
use shmgate_core::names::Key;
use shmgate_core::policy::size::Size;
use shmgate_core::text::json::Utc;

use super::Report;
use super::findings::{Finding, Severity};
use super::lives::is_created;
use super::model::{Counts, Index, Model, Moment, Segment};
use super::table::{self, number, right};
use super::words::{Span, path, plural, printable};
use crate::environment::variable;
use shmgate_core::call::CallKind;

/// As many rows of a table, and findings of a kind, are written.
const MOST_ROWS: usize = 40;
const MOST_FINDINGS: usize = 10;

/// How text is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    has_colour: bool,
}

impl Look {
    /// In colour on a terminal, if the user has nothing against it.
    pub fn of(is_terminal: bool) -> Look {
        Look { has_colour: is_terminal && variable("NO_COLOR").is_none() && variable("TERM").is_none_or(|term| term != "dumb") }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn severity(self, severity: Severity) -> String {
        let colour = match severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
            Severity::Note => "1;36",
        };
        self.paint(colour, severity.name())
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.has_colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Writes the report.
pub fn write(report: &mut Report, out: &mut dyn Write, look: Look) -> io::Result<()> {
    overview(report, out, look)?;
    if report.model.counts.total() > 0 || !report.model.programs.is_empty() {
        programs(&report.model, out, look)?;
        errors(&report.model, out, look)?;
        keys(report, out, look)?;
        segments(report, out, look)?;
    }
    findings(report, out, look)
}

fn overview(report: &Report, out: &mut dyn Write, look: Look) -> io::Result<()> {
    let Model { counts, processes, programs, first, last, .. } = &report.model;
    let calls = plural(counts.total(), "call");
    let by = format!("{} of {}", plural(processes.len() as u64, "process"), plural(programs.len() as u64, "program"));
    writeln!(out, "{} {}: {calls} by {by}", look.bold("Session"), printable(report.directory.as_os_str().as_encoded_bytes()))?;
    if counts.total() > 0 {
        writeln!(out, "  from {} on, {}", Utc(*first), Span(last - first))?;
    }
    let peak = &report.model.peak;
    let limits = report.policy.as_ref().map(|policy| policy.session).unwrap_or_default();
    let of =
        |limit: Option<u64>, text: &dyn Fn(u64) -> String| limit.map_or(String::new(), |limit| format!(" of {}", text(limit)));
    let plain = |count: u64| count.to_string();
    let size = |bytes: u64| Size(bytes).to_string();
    let bytes = size(peak.bytes) + &of(limits.bytes, &size);
    let segments = plural(peak.segments, "segment") + &of(limits.segments, &plain);
    let attaches = plural(peak.attaches, "attach") + &of(limits.attaches, &plain);
    writeln!(out, "  at most in use: {bytes} in {segments}, {attaches}")?;
    if report.model.is_running {
        writeln!(out, "  processes of the session still run: this is what they have done up to now")?;
    }
    if report.lost > 0 {
        writeln!(out, "  {} not recorded: the journal could not grow", plural(report.lost, "call"))?;
    }
    Ok(())
}

/// The columns that counts fill.
const COUNTS: [&str; 8] = [">CALLS", ">SHMGET", ">SHMAT", ">SHMDT", ">SHMCTL", ">FTOK", ">ERRORS", ">DENIED"];

fn counted(counts: &Counts) -> impl Iterator<Item = String> {
    let denied = counts.denied + counts.would_deny;
    [counts.total()].into_iter().chain(counts.calls).chain([counts.errors, denied]).map(number)
}

fn programs(model: &Model, out: &mut dyn Write, look: Look) -> io::Result<()> {
    writeln!(out, "\n{}", look.bold("Programs"))?;
    let head: Vec<&str> =
        ["PROGRAM", ">PROCESSES"].into_iter().chain(COUNTS).chain([">CREATED", ">REMOVED", ">PEAK"]).collect();
    let mut list: Vec<_> = model.programs.iter().collect();
    list.sort_by_key(|program| std::cmp::Reverse(program.counts.total()));
    let rows: Vec<Vec<String>> = list
        .iter()
        .take(MOST_ROWS)
        .map(|one| {
            let name = one.exe.as_deref().map_or("(unknown)".to_owned(), printable);
            let ends = [number(one.created), number(one.removed), right(Size(one.peak_bytes))];
            [name, number(one.processes)].into_iter().chain(counted(&one.counts)).chain(ends).collect()
        })
        .collect();
    table::write(out, &head, &rows)?;
    more(out, list.len(), "program")
}

fn errors(model: &Model, out: &mut dyn Write, look: Look) -> io::Result<()> {
    let mut list: Vec<_> = model
        .programs
        .iter()
        .flat_map(|one| one.errnos.iter().map(move |((call, errno), count)| (*count, *call, Errno(*errno), &one.exe)))
        .collect();
    if list.is_empty() {
        return Ok(());
    }
    list.sort_by_key(|one| std::cmp::Reverse(one.0));
    writeln!(out, "\n{}", look.bold("Errors"))?;
    let rows: Vec<Vec<String>> = list
        .iter()
        .take(MOST_ROWS)
        .map(|(count, call, errno, exe)| {
            let call = CallKind::ALL.into_iter().find(|kind| *kind as u8 == *call).map_or("?", CallKind::name);
            let name = errno.name().map_or(errno.0.to_string(), |name| format!("{name} ({})", errno.text()));
            vec![call.to_owned(), name, number(*count), exe.as_deref().map_or("(unknown)".to_owned(), printable)]
        })
        .collect();
    table::write(out, &["CALL", "ERROR", ">TIMES", "PROGRAM"], &rows)?;
    more(out, list.len(), "error")
}

fn keys(report: &Report, out: &mut dyn Write, look: Look) -> io::Result<()> {
    // Keys that nothing was done with but to make them have a line too: a mistake may be just that.
    let mut list: Vec<_> = report.model.keys.iter().collect();
    if list.is_empty() {
        return Ok(());
    }
    list.sort_by_key(|(_, key)| std::cmp::Reverse(key.counts.total()));
    writeln!(out, "\n{}", look.bold("Keys"))?;
    let rows: Vec<Vec<String>> = list
        .iter()
        .take(MOST_ROWS)
        .map(|(number_of, key)| {
            let counts = &key.counts;
            let from = match key.ftok.as_slice() {
                [] => "-".to_owned(),
                [(file, proj), rest @ ..] => {
                    let others = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
                    format!("{} {proj}{others}", path(file))
                }
            };
            let denied = counts.denied + counts.would_deny;
            let counts = [counts.total(), counts.errors, denied, key.segments].map(number);
            [Key(**number_of).to_string()].into_iter().chain(counts).chain([right(Size(key.peak_bytes)), from]).collect()
        })
        .collect();
    table::write(out, &["KEY", ">CALLS", ">ERRORS", ">DENIED", ">SEGMENTS", ">PEAK", "FTOK OF"], &rows)?;
    more(out, list.len(), "key")
}

fn segments(report: &Report, out: &mut dyn Write, look: Look) -> io::Result<()> {
    let model = &report.model;
    if model.segments.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", look.bold("Segments"))?;
    let head = ["SHMID", "KEY", ">BYTES", "MODE", "CREATED BY", ">AT", ">ATTACHES", "REMOVED BY", ">AT", "NOW"];
    // Those that are still there first: they are what one looks for.
    let mut list: Vec<&Segment> = model.segments.iter().collect();
    list.sort_by_key(|segment| (segment.destroyed.is_some(), segment.met.time));
    let rows: Vec<Vec<String>> = list.iter().take(MOST_ROWS).map(|segment| row(model, segment)).collect();
    table::write(out, &head, &rows)?;
    more(out, list.len(), "segment")?;
    if list.len() > MOST_ROWS {
        writeln!(out, "  all of them: {}", report.see_all())?;
    }
    Ok(())
}

fn row(model: &Model, segment: &Segment) -> Vec<String> {
    let unknown = || "?".to_owned();
    let at = |moment: &Moment| right(format!("+{}", Span(moment.time.saturating_sub(model.first))));
    let [created_by, created_at] = if is_created(segment) {
        [who(model, segment.met.process), at(&segment.met)]
    } else {
        ["(not here)".into(), right("-")]
    };
    let [removed_by, removed_at] = match &segment.removed {
        Some(moment) => [who(model, moment.process), at(moment)],
        None => ["-".into(), right("-")],
    };
    let now = match segment {
        Segment { destroyed: Some(_), removed: Some(_), .. } => "gone",
        Segment { vanished: Some(_), .. } => "gone, removed outside",
        Segment { removed: Some(_), .. } => "removed, but held",
        Segment { open: 1.., .. } => "attached",
        _ if is_created(segment) => "left",
        _ => "-",
    };
    vec![
        segment.shmid.to_string(),
        segment.key.map_or_else(unknown, |key| Key(key).to_string()),
        segment.size.map_or(right("?"), right),
        segment.mode.map_or_else(unknown, |mode| format!("{mode:04o}")),
        created_by,
        created_at,
        number(segment.attaches),
        removed_by,
        removed_at,
        now.to_owned(),
    ]
}

fn who(model: &Model, process: Index) -> String {
    let process = &model.processes[process as usize];
    let exe = model.programs[process.program as usize].exe.as_deref().unwrap_or(b"?");
    format!("{} {}", process.pid, printable(exe.rsplit(|&byte| byte == b'/').next().unwrap_or(exe)))
}

fn more(out: &mut dyn Write, count: usize, what: &str) -> io::Result<()> {
    match count.saturating_sub(MOST_ROWS) {
        0 => Ok(()),
        more => writeln!(out, "  and {}", plural(more as u64, &format!("more {what}"))),
    }
}

fn findings(report: &mut Report, out: &mut dyn Write, look: Look) -> io::Result<()> {
    let list = std::mem::take(&mut report.findings);
    let count = |severity| list.iter().filter(|one| one.kind.severity() == severity).count() as u64;
    let counts = Severity::ALL.map(|severity| plural(count(severity), severity.name()));
    match list.len() {
        0 => writeln!(out, "\n{}: none", look.bold("Findings"))?,
        _ => writeln!(out, "\n{}: {}", look.bold("Findings"), counts.join(", "))?,
    }
    for of_kind in list.chunk_by(|one, other| one.kind == other.kind) {
        let kind = of_kind[0].kind;
        for one in of_kind.iter().take(MOST_FINDINGS) {
            finding(report, one, out, look)?;
        }
        if let more @ 1.. = of_kind.len().saturating_sub(MOST_FINDINGS) {
            let and = format!("and {} called {}", plural(more as u64, "more finding"), kind.name());
            writeln!(out, "\n  {and}; all of them: {}", report.see_all())?;
        }
        writeln!(out, "    what to do: {}", kind.advice())?;
    }
    report.findings = list;
    Ok(())
}

fn finding(report: &mut Report, finding: &Finding, out: &mut dyn Write, look: Look) -> io::Result<()> {
    let Finding { kind, summary, count, shown, evidence, .. } = finding;
    writeln!(out, "\n  {} {}: {summary}", look.severity(kind.severity()), look.bold(kind.name()))?;
    let first = report.model.first;
    for slot in evidence {
        if let Some(event) = report.event(*slot) {
            writeln!(out, "    +{:<9} {event}", Span(event.time_ns.saturating_sub(first)))?;
        }
        if let Some(callers) = report.callers(*slot) {
            callers.to_string().lines().try_for_each(|line| writeln!(out, "           {line}"))?;
        }
    }
    if let more @ 1.. = count.saturating_sub(*shown) {
        writeln!(out, "    and {}", plural(more, "more time"))?;
    }
    Ok(())
}
