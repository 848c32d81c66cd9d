//! The object that a page's scripts read. Only they know its form: it changes with them.
//!
//! Long lists are columns, an array a field, and things refer to each other by index. Times are ns since the first call.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use serde_json::{Value, json};
use shmgate_core::call::{CallKind, Verdict};
use shmgate_core::sys::page_size;
use shmgate_core::text::Event;
use shmgate_core::text::line::CallText;
use shmgate_core::text::reason::ReasonText;

use super::interned::Interned;
use super::object::Object;
use super::records::{Record, State};
use crate::failure::quoted;
use crate::report::Report;
use crate::report::findings::{Finding, Kind};
use crate::report::lives::is_created;
use crate::report::model::{Attach, AttachEnd, End, Index, Model, Moment, Program, Segment};
use crate::report::words::{path, plural, printable};

/// As much of each long list goes into a page, which a browser is to open at once.
const MOST: usize = 200_000;
/// As many findings of a kind go into a page.
const MOST_FINDINGS: usize = 1000;

/// Writes the object.
pub fn write(report: &mut Report, out: &mut dyn Write) -> io::Result<()> {
    let mut object = Object::new(out);
    overview(report, &mut object)?;
    let base = base(&report.model);
    let leaked: HashSet<Index> =
        report.findings.iter().filter(|one| one.kind == Kind::Leak).flat_map(|one| one.segments.clone()).collect();
    let mut interned = Interned::default();
    processes(&report.model, base, &mut object)?;
    let makers =
        stacks(report, &mut interned, |model| model.segments.iter().take(MOST).map(|one| Some(one.met.slot)).collect());
    segments(&report.model, base, &leaked, makers, &mut object)?;
    let attachers = stacks(report, &mut interned, |model| {
        attaches_in(model).map(|one| (!one.is_inherited).then_some(one.from.slot)).collect()
    });
    attaches(&report.model, base, attachers, &mut object)?;
    records(report, base, &mut interned, &mut object)?;
    findings(report, base, &mut interned, &mut object)?;
    object.column("strings", interned.strings.iter())?;
    object.column("stacks", interned.stacks.iter())?;
    object.column("lines", interned.lines.iter())?;
    object.end()
}

/// The moment from which times count: the first call's, or a process's where none has called.
fn base(model: &Model) -> u64 {
    let introduced = || model.processes.iter().map(|process| process.first).min();
    if model.counts.total() > 0 { model.first } else { introduced().unwrap_or(0) }
}

/// A process may introduce itself before the first call begins.
fn since(base: u64, time: u64) -> i64 {
    time.wrapping_sub(base) as i64
}

fn overview(report: &Report, object: &mut Object<'_>) -> io::Result<()> {
    let model = &report.model;
    let (counts, peak, base) = (&model.counts, &model.peak, base(model));
    // A page may be read far from where it was made.
    let directory = std::path::absolute(&report.directory).unwrap_or_else(|_| report.directory.clone());
    object.field("session", &printable(directory.as_os_str().as_encoded_bytes()))?;
    object.field("version", &env!("CARGO_PKG_VERSION"))?;
    // More digits than a script's numbers have.
    object.field("start", &base.to_string())?;
    object.field("span", &since(base, model.last.max(base)))?;
    object.field("page", &page_size())?;
    object.field("running", &model.is_running)?;
    object.field("lost", &report.lost)?;
    object.field("damage", &report.damage)?;
    object.field("left_out", &left_out(report))?;
    // The page may have less of them.
    let of_kinds = report.findings.chunk_by(|one, other| one.kind == other.kind);
    let of_kinds = of_kinds.map(|of_kind| (of_kind[0].kind.name(), of_kind.len()));
    object.field("findings_of", &of_kinds.collect::<BTreeMap<_, _>>())?;
    object.field("calls", &counts.total())?;
    object.field("errors", &counts.errors)?;
    object.field("denied", &counts.denied)?;
    object.field("would_deny", &counts.would_deny)?;
    object.field("peak", &json!({"bytes": peak.bytes, "segments": peak.segments, "attaches": peak.attaches}))?;
    let limits = report.policy.as_ref().map(|policy| {
        let quota = &policy.session;
        json!({"dry_run": policy.dry_run, "bytes": quota.bytes, "segments": quota.segments, "attaches": quota.attaches})
    });
    object.field("limits", &limits)?;
    let program = |one: &Program| {
        json!({
            "exe": one.exe.as_deref().map(printable), "processes": one.processes, "calls": one.counts.total(), "kinds": one.counts.calls,
            "errors": one.counts.errors, "denied": one.counts.denied + one.counts.would_deny, "created": one.created,
            "removed": one.removed, "peak": one.peak_bytes,
        })
    };
    object.column("programs", model.programs.iter().map(program))?;
    let keys = model.keys.iter().take(MOST).map(|(key, of)| {
        let ftok: Vec<String> = of.ftok.iter().map(|(file, proj)| format!("{} {proj}", path(file))).collect();
        json!({
            "key": key, "calls": of.counts.total(), "errors": of.counts.errors, "denied": of.counts.denied + of.counts.would_deny,
            "segments": of.segments, "peak": of.peak_bytes, "ftok": ftok,
        })
    });
    object.column("keys", keys)
}

/// A column of stacks: those of the calls in these slots. It is empty if none was recorded.
type Stacks = Vec<Option<usize>>;

fn stacks(report: &mut Report, interned: &mut Interned, slots: impl FnOnce(&Model) -> Vec<Option<u64>>) -> Stacks {
    let slots = slots(&report.model);
    if_any(slots.into_iter().map(|slot| interned.stack(report, slot?)).collect())
}

fn if_any(stacks: Stacks) -> Stacks {
    if stacks.iter().any(Option::is_some) { stacks } else { Stacks::new() }
}

/// What is too much for a page, and where it is.
fn left_out(report: &Report) -> Option<String> {
    let model = &report.model;
    let beyond = |list: usize| list.saturating_sub(MOST) as u64;
    let of_kind = |kinds: &[Finding]| kinds.len().saturating_sub(MOST_FINDINGS) as u64;
    let parts: Vec<String> = [
        (beyond(model.segments.len()), "segment"),
        (beyond(model.attaches.len()), "attach"),
        (beyond(model.keys.len()), "key"),
        (beyond(report.records.len()), "call"),
        (report.findings.chunk_by(|one, other| one.kind == other.kind).map(of_kind).sum(), "finding"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| plural(count, what))
    .collect();
    let session = quoted(&report.directory);
    let hint = format!("all of it: shmgate report --json {session}, shmgate log --json {session}");
    (!parts.is_empty()).then(|| format!("Too much for a page, and left out: {}; {hint}", parts.join(", ")))
}

fn processes(model: &Model, base: u64, object: &mut Object<'_>) -> io::Result<()> {
    object.object("processes", |columns| {
        let list = || model.processes.iter();
        columns.column("pid", list().map(|one| one.pid))?;
        columns.column("program", list().map(|one| one.program))?;
        columns.column("uid", list().map(|one| (one.uid != u32::MAX).then_some(one.uid)))?;
        columns.column("first", list().map(|one| since(base, one.first)))?;
        columns.column("last", list().map(|one| since(base, one.last)))?;
        columns
            .column("end", list().map(|one| [End::Lives, End::Replaced, End::Gone].iter().position(|end| *end == one.end)))?;
        columns.column("calls", list().map(|one| one.counts.total()))?;
        columns.column("errors", list().map(|one| one.counts.errors))?;
        columns.column("denied", list().map(|one| one.counts.denied + one.counts.would_deny))?;
        columns.column("peak", list().map(|one| one.peak.bytes))
    })
}

fn segments(model: &Model, base: u64, leaked: &HashSet<Index>, stacks: Stacks, object: &mut Object<'_>) -> io::Result<()> {
    object.object("segments", |columns| {
        let list = || model.segments.iter().take(MOST);
        let time = |moment: &Option<Moment>| moment.as_ref().map(|moment| since(base, moment.time));
        columns.column("shmid", list().map(|one| one.shmid))?;
        columns.column("backend", list().map(|one| one.backend))?;
        columns.column("key", list().map(|one| one.key))?;
        columns.column("size", list().map(|one| one.size))?;
        columns.column("mode", list().map(|one| one.mode))?;
        columns.column("created", list().map(|one| u8::from(is_created(one))))?;
        columns.column("by", list().map(|one| one.met.process))?;
        columns.column("from", list().map(|one| since(base, one.met.time)))?;
        columns.column("took", list().map(|one| one.met_end - one.met.time))?;
        columns.column("removed", list().map(|one| time(&one.removed)))?;
        columns.column("removed_by", list().map(|one| one.removed.map(|removed| removed.process)))?;
        columns.column("vanished", list().map(|one| u8::from(one.vanished.is_some())))?;
        columns.column("to", list().map(|one| gone(one).map(|gone| since(base, gone))))?;
        columns.column("attaches", list().map(|one| one.attaches))?;
        columns.column("open", list().map(|one| one.open))?;
        columns.column("leaked", (0..).zip(list()).map(|(index, _)| u8::from(leaked.contains(&index))))?;
        columns.column("stack", stacks.iter())
    })
}

/// When it was no longer there; not before it came, whatever the records of several processors say.
fn gone(segment: &Segment) -> Option<u64> {
    segment.destroyed.or(segment.vanished).map(|gone| gone.max(segment.met.time))
}

/// The attaches that the page has.
fn attaches_in(model: &Model) -> impl Iterator<Item = &Attach> {
    model.attaches.iter().take(MOST).filter(|one| (one.segment as usize) < MOST)
}

fn attaches(model: &Model, base: u64, stacks: Stacks, object: &mut Object<'_>) -> io::Result<()> {
    const ENDS: [AttachEnd; 4] = [AttachEnd::Open, AttachEnd::Detached, AttachEnd::ProcessEnd, AttachEnd::Replaced];
    object.object("attaches", |columns| {
        let list = || attaches_in(model);
        columns.column("segment", list().map(|one| one.segment))?;
        columns.column("process", list().map(|one| one.from.process))?;
        columns.column("from", list().map(|one| since(base, one.from.time)))?;
        columns.column("took", list().map(|one| one.from_end - one.from.time))?;
        columns.column("to", list().map(|one| one.to.map(|to| since(base, to.max(one.from.time)))))?;
        columns.column("end", list().map(|one| ENDS.iter().position(|end| *end == one.end)))?;
        columns.column("flags", list().map(|one| u8::from(one.is_readonly) | u8::from(one.is_inherited) << 1))?;
        columns.column("addr", list().map(|one| one.addr))?;
        columns.column("stack", stacks.iter())
    })
}

/// The calls: if they are too many, those that failed before others.
fn records(report: &mut Report, base: u64, interned: &mut Interned, object: &mut Object<'_>) -> io::Result<()> {
    let records = std::mem::take(&mut report.records);
    let failed = records.iter().filter(|record| record.state != State::Done).count().min(MOST);
    let mut room = [MOST - failed, failed];
    let mut rows = Vec::with_capacity(records.len().min(MOST));
    for Record { slot, process, segment, state } in records {
        let room = &mut room[usize::from(state != State::Done)];
        let Some((left, event)) = room.checked_sub(1).zip(report.event(slot)) else { continue };
        *room = left;
        let call = interned.string(CallText(&event.call).to_string());
        let result = interned.string(result(&event));
        let reason = match event.outcome.verdict {
            Verdict::Denied(denial) | Verdict::WouldDeny(denial) => {
                let text = ReasonText { denial, rule: event.rule }.to_string();
                Some(interned.string(printable(text.as_bytes())))
            }
            _ => None,
        };
        let segment = segment.filter(|segment| (*segment as usize) < MOST);
        let times = [since(base, event.time_ns), event.duration_ns as i64];
        let stack = interned.stack(report, slot);
        rows.push((times, state as u8, process, segment, call, result, reason, stack));
    }
    // What came late has its place among the others by its time.
    rows.sort_by_key(|row| row.0[0]);
    object.object("records", |columns| {
        columns.column("time", rows.iter().map(|row| row.0[0]))?;
        columns.column("state", rows.iter().map(|row| row.1))?;
        columns.column("process", rows.iter().map(|row| row.2))?;
        columns.column("segment", rows.iter().map(|row| row.3))?;
        columns.column("call", rows.iter().map(|row| row.4))?;
        columns.column("result", rows.iter().map(|row| row.5))?;
        columns.column("reason", rows.iter().map(|row| row.6))?;
        columns.column("duration", rows.iter().map(|row| row.0[1]))?;
        columns.column("stack", if_any(rows.iter().map(|row| row.7).collect()).iter())
    })
}

/// What a call returned, or the errno's name.
fn result(event: &Event<'_>) -> String {
    match (event.outcome.result, event.call.kind()) {
        (Err(errno), _) => errno.name().map_or_else(|| errno.0.to_string(), str::to_owned),
        (Ok(value), CallKind::Shmat) => format!("{value:#x}"),
        (Ok(value), CallKind::Ftok) => format!("{:#010x}", value as u32),
        (Ok(value), _) => (value as i64).to_string(),
    }
}

fn findings(report: &mut Report, base: u64, interned: &mut Interned, object: &mut Object<'_>) -> io::Result<()> {
    let list = std::mem::take(&mut report.findings);
    let some = list.chunk_by(|one, other| one.kind == other.kind).flat_map(|of_kind| of_kind.iter().take(MOST_FINDINGS));
    let written = object.column("findings", some.map(|one| finding(report, base, interned, one)));
    report.findings = list;
    written
}

fn finding(report: &mut Report, base: u64, interned: &mut Interned, finding: &Finding) -> Value {
    let evidence: Vec<Value> = finding
        .evidence
        .iter()
        .filter_map(|slot| {
            let (at, text) = report.event(*slot).map(|event| (since(base, event.time_ns), event.to_string()))?;
            Some(json!({"at": at, "text": text, "stack": interned.stack(report, *slot)}))
        })
        .collect();
    let Finding { kind, summary, segments, count, shown, first, last, .. } = finding;
    // Of several the page shows the time.
    let segment = segments.first().filter(|segment| segments.len() == 1 && (**segment as usize) < MOST);
    json!({
        "name": kind.name(), "severity": kind.severity().name(), "advice": kind.advice(), "summary": summary,
        "segment": segment, "count": count, "shown": shown,
        "first": since(base, *first), "last": since(base, *last), "evidence": evidence,
    })
}
