//! A report as a JSON object: schema 1, described in docs/report.md.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};
use shmgate_core::call::CallKind;
use shmgate_core::errno::Errno;
use shmgate_core::policy::{Policy, Quota};
use shmgate_core::text::json::Utc;

use super::Report;
use super::findings::Finding;
use super::lives::is_created;
use super::model::{Attach, AttachEnd, Counts, End, Index, Model, Moment, Origin, Peak, Process, Program, Segment};

/// Raised only if a field's meaning changes; new fields may come any time.
pub const SCHEMA: u32 = 1;

/// Writes the report, an object of which each list has a line for each of its things.
pub fn write(report: &mut Report, out: &mut dyn Write) -> io::Result<()> {
    let model = &report.model;
    write!(out, "{{\"schema\":{SCHEMA}")?;
    field(out, "session", &report.directory.to_string_lossy())?;
    let has_calls = model.counts.total() > 0;
    field(out, "start", &has_calls.then(|| time(model.first)))?;
    field(out, "end", &has_calls.then(|| time(model.last)))?;
    field(out, "running", &model.is_running)?;
    field(out, "lost", &report.lost)?;
    field(out, "damage", &report.damage)?;
    field(out, "counts", &counts(&model.counts))?;
    field(out, "peak", &peak(&model.peak))?;
    field(out, "limits", &report.policy.as_ref().map(limits))?;
    list(out, "programs", model.programs.iter().map(program))?;
    list(out, "processes", model.processes.iter().map(|one| process(model, one)))?;
    let keys = model.keys.iter().map(|(key, of)| {
        let ftok: Vec<Value> =
            of.ftok.iter().map(|(path, proj)| json!({"path": String::from_utf8_lossy(path), "proj": proj})).collect();
        json!({"key": hex(*key), "counts": counts(&of.counts), "segments": of.segments, "peak_bytes": of.peak_bytes, "ftok": ftok})
    });
    list(out, "keys", keys)?;
    segments(model, out)?;

    write!(out, ",\n\"findings\":[")?;
    let findings = std::mem::take(&mut report.findings);
    for (at, one) in findings.iter().enumerate() {
        write!(out, "{}", if at == 0 { "\n" } else { ",\n" })?;
        let value = finding(report, one);
        serde_json::to_writer(&mut *out, &value)?;
    }
    report.findings = findings;
    writeln!(out, "\n]}}")
}

fn field(out: &mut dyn Write, name: &str, value: &impl Serialize) -> io::Result<()> {
    write!(out, ",\n\"{name}\":")?;
    Ok(serde_json::to_writer(out, value)?)
}

fn list(out: &mut dyn Write, name: &str, values: impl Iterator<Item = Value>) -> io::Result<()> {
    write!(out, ",\n\"{name}\":[")?;
    for (at, value) in values.enumerate() {
        write!(out, "{}", if at == 0 { "\n" } else { ",\n" })?;
        serde_json::to_writer(&mut *out, &value)?;
    }
    write!(out, "\n]")
}

pub fn time(ns: u64) -> String {
    Utc(ns).to_string()
}

pub fn hex(key: i32) -> String {
    format!("{key:#010x}")
}

fn counts(counts: &Counts) -> Value {
    let mut value = json!({
        "calls": counts.total(), "errors": counts.errors, "denied": counts.denied, "would_deny": counts.would_deny,
    });
    for (kind, count) in CallKind::ALL.into_iter().zip(counts.calls) {
        value[kind.name()] = count.into();
    }
    value
}

fn peak(peak: &Peak) -> Value {
    json!({"bytes": peak.bytes, "segments": peak.segments, "attaches": peak.attaches})
}

fn limits(policy: &Policy) -> Value {
    let quota = |quota: &Quota| json!({"bytes": quota.bytes, "segments": quota.segments, "attaches": quota.attaches});
    json!({
        "dry_run": policy.dry_run, "segment_size": policy.segment_size, "process": quota(&policy.process),
        "session": quota(&policy.session),
    })
}

fn exe(program: &Program) -> Value {
    program.exe.as_deref().map(String::from_utf8_lossy).into()
}

fn program(program: &Program) -> Value {
    let errors: Vec<Value> = program
        .errnos
        .iter()
        .map(|((call, errno), count)| {
            let call = CallKind::ALL.into_iter().find(|kind| *kind as u8 == *call).map(CallKind::name);
            let name = Errno(*errno).name().map_or(errno.to_string(), str::to_owned);
            json!({"call": call, "errno": name, "count": count})
        })
        .collect();
    json!({
        "exe": exe(program), "processes": program.processes, "counts": counts(&program.counts), "errors": errors,
        "created": program.created, "removed": program.removed, "peak_bytes": program.peak_bytes,
    })
}

fn process(model: &Model, process: &Process) -> Value {
    let end = match process.end {
        End::Lives => "lives",
        End::Replaced => "replaced",
        End::Gone => "gone",
    };
    json!({
        "pid": process.pid, "exe": exe(&model.programs[process.program as usize]), "uid": process.uid,
        "first": time(process.first), "last": time(process.last), "end": end, "counts": counts(&process.counts),
        "peak": peak(&process.peak),
    })
}

/// The segments: there may be many, so they are written without a [`Value`] in between.
fn segments(model: &Model, out: &mut dyn Write) -> io::Result<()> {
    let mut order: Vec<Index> = (0..model.attaches.len() as Index).collect();
    // Stable: those of a segment stay in the order of time.
    order.sort_by_key(|attach| model.attaches[*attach as usize].segment);
    let mut rest = order.as_slice();
    write!(out, ",\n\"segments\":[")?;
    for (index, one) in model.segments.iter().enumerate() {
        let of_it = rest.iter().take_while(|attach| model.attaches[**attach as usize].segment == index as Index).count();
        let (attaches, others) = rest.split_at(of_it);
        rest = others;
        write!(out, "{}", if index == 0 { "\n" } else { ",\n" })?;
        segment(model, one, attaches, out)?;
    }
    write!(out, "\n]")
}

fn segment(model: &Model, segment: &Segment, attaches: &[Index], out: &mut dyn Write) -> io::Result<()> {
    let origin = if segment.origin == Origin::Found { "found" } else { "created" };
    let created = is_created(segment).then_some(JsonMoment(model, segment.met));
    write!(out, "{{\"shmid\":{},\"backend\":\"{}\"", segment.shmid, segment.backend)?;
    write!(out, ",\"key\":{}", OrNull(segment.key.map(|key| format!("\"{}\"", hex(key)))))?;
    write!(out, ",\"size\":{}", OrNull(segment.size))?;
    write!(out, ",\"mode\":{}", OrNull(segment.mode.map(|mode| format!("\"{mode:04o}\""))))?;
    write!(out, ",\"origin\":\"{origin}\",\"created\":{}", OrNull(created))?;
    write!(out, ",\"first_seen\":{}", JsonMoment(model, segment.met))?;
    write!(out, ",\"removed\":{}", OrNull(segment.removed.map(|removed| JsonMoment(model, removed))))?;
    let [vanished, destroyed] = [segment.vanished, segment.destroyed].map(|time| OrNull(time.map(JsonTime)));
    write!(out, ",\"vanished\":{vanished},\"destroyed\":{destroyed},\"attaches\":[")?;
    for (at, index) in attaches.iter().enumerate() {
        write!(out, "{}", if at == 0 { "" } else { "," })?;
        attach(model, &model.attaches[*index as usize], out)?;
    }
    write!(out, "]}}")
}

fn attach(model: &Model, attach: &Attach, out: &mut dyn Write) -> io::Result<()> {
    let end = match attach.end {
        AttachEnd::Open => "null",
        AttachEnd::Detached => "\"detach\"",
        AttachEnd::ProcessEnd => "\"process-end\"",
        AttachEnd::Replaced => "\"replaced\"",
    };
    let Attach { from, addr, is_readonly, is_inherited, .. } = attach;
    let pid = model.processes[from.process as usize].pid;
    write!(out, "{{\"process\":{},\"pid\":{pid},\"addr\":\"{addr:#x}\",\"read_only\":{is_readonly}", from.process)?;
    let (from, to) = (JsonTime(from.time), OrNull(attach.to.map(JsonTime)));
    write!(out, ",\"inherited\":{is_inherited},\"from\":{from},\"to\":{to},\"end\":{end}}}")
}

/// When and by which process.
struct JsonMoment<'a>(&'a Model, Moment);

impl fmt::Display for JsonMoment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JsonMoment(model, Moment { time, process, .. }) = self;
        let pid = model.processes[*process as usize].pid;
        write!(f, "{{\"time\":{},\"process\":{process},\"pid\":{pid}}}", JsonTime(*time))
    }
}

struct JsonTime(u64);

impl fmt::Display for JsonTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Utc(self.0))
    }
}

struct OrNull<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for OrNull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

fn finding(report: &mut Report, finding: &Finding) -> Value {
    let kind = finding.kind;
    let evidence: Vec<Value> = finding
        .evidence
        .iter()
        .filter_map(|slot| {
            let event = report.event(*slot)?;
            let mut value = json!({"time": time(event.time_ns), "pid": event.pid, "tid": event.tid, "call": event.to_string()});
            if let Some(callers) = report.callers(*slot) {
                value["callers"] = callers.json().into();
                value["callers_end"] = callers.end_name().into();
            }
            Some(value)
        })
        .collect();
    let model = &report.model;
    let pid = finding.process.map(|process| model.processes[process as usize].pid);
    let segment = finding.segments.first();
    let shmid = segment.map(|segment| model.segments[*segment as usize].shmid);
    json!({
        "name": kind.name(), "severity": kind.severity().name(), "summary": finding.summary, "advice": kind.advice(),
        "segment": segment, "shmid": shmid, "key": finding.key.map(hex), "process": finding.process, "pid": pid,
        "count": finding.count, "first": time(finding.first), "last": time(finding.last), "evidence": evidence,
    })
}
