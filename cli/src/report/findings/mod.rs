//! Findings: what a program does with its segments that it had better not.
//!
//! | module | finds |
//! | --- | --- |
//! | `kind` | their names, severities, and what to do |
//! | `keys` | squatting, sizes that don't match, ftok's collisions and files made anew |
//! | `habits` | world access, what only Linux does |
//! | `errors` | errors that the program ignored, denials, segments removed too early |
//! | `stale` | addresses and ids that were used once more after they were given up |
//! | `ends` | leaks, attaches never detached, limits that were near: what only the end tells |
//!
//! Each kind has one finding for each thing that it is about (a segment, a program, a key, …), with how often and the first records as evidence.

mod ends;
mod errors;
mod habits;
mod keys;
pub mod kind;
mod stale;

use rustc_hash::FxHashMap as HashMap;

use shmgate_core::policy::Policy;

use super::fold::{Fold, Step};
use super::lives;
use super::model::{Index, Model, Moment, Origin, Segment};
pub use kind::{Kind, Severity};

/// As many records are kept as evidence of a finding: the first ones.
const MOST_EVIDENCE: usize = 5;

/// Something found.
#[derive(Debug)]
pub struct Finding {
    pub kind: Kind,
    /// One line: what was done, by whom, to what.
    pub summary: String,
    /// More than one only where leaks are told together.
    pub segments: Vec<Index>,
    pub key: Option<i32>,
    pub process: Option<Index>,
    /// How often.
    pub count: u64,
    /// How often of these the evidence shows.
    pub shown: u64,
    pub first: u64,
    pub last: u64,
    /// Records' slots.
    pub evidence: Vec<u64>,
    /// True if it is one only if the session has created its segment, which the end tells.
    pub if_created: bool,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, Default)]
struct About {
    segment: Option<Index>,
    key: Option<i32>,
    process: Option<Index>,
    if_created: bool,
}

impl About {
    fn process(process: Index) -> About {
        About { process: Some(process), ..About::default() }
    }

    fn segment(model: &Model, segment: Index, process: Index) -> About {
        About { segment: Some(segment), key: model.segments[segment as usize].key, process: Some(process), ..About::default() }
    }

    /// By the size and mode that the shmget which met the segment first asked for: it has others if that found it.
    fn made(model: &Model, segment: Index, process: Index) -> About {
        let if_created = model.segments[segment as usize].origin == Origin::Either;
        About { if_created, ..About::segment(model, segment, process) }
    }
}

/// All that was found, each thing once.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    known: HashMap<(Kind, u64, u64), usize>,
}

impl Findings {
    /// Notes what the record at `at` shows. `subject` tells things of one kind from each other; `summary` is asked for once for each.
    fn note(&mut self, kind: Kind, subject: (u64, u64), about: About, at: Moment, summary: impl FnOnce() -> String) {
        self.note_pair(kind, subject, about, (None, at), summary);
    }

    /// The same, of what a record shows together with one before: that is evidence, and not counted.
    fn note_pair(
        &mut self,
        kind: Kind,
        subject: (u64, u64),
        about: About,
        (before, at): (Option<Moment>, Moment),
        summary: impl FnOnce() -> String,
    ) {
        let About { segment, key, process, if_created } = about;
        let index = *self.known.entry((kind, subject.0, subject.1)).or_insert_with(|| {
            let (count, shown, evidence) = (0, 0, Vec::new());
            self.list.push(Finding {
                kind,
                summary: summary(),
                segments: Vec::from_iter(segment),
                key,
                process,
                count,
                shown,
                first: at.time,
                last: at.time,
                evidence,
                if_created,
            });
            self.list.len() - 1
        });
        let finding = &mut self.list[index];
        finding.count += 1;
        finding.first = finding.first.min(before.map_or(at.time, |before| before.time.min(at.time)));
        finding.last = finding.last.max(at.time);
        let is_new = |moment: &Moment| !finding.evidence.contains(&moment.slot);
        let before = before.filter(is_new);
        if finding.evidence.len() + usize::from(before.is_some()) < MOST_EVIDENCE {
            let at = Some(at).filter(is_new);
            finding.evidence.extend(before.into_iter().chain(at).map(|moment| moment.slot));
            finding.shown += 1;
        }
    }
}

/// Looks at the calls one after another, and at the whole in the end.
#[derive(Debug, Default)]
pub struct Watch {
    findings: Findings,
    keys: keys::Keys,
    habits: habits::Habits,
    errors: errors::Errors,
    stale: stale::Stale,
}

impl Watch {
    /// Looks at a call that the pass has just taken in.
    pub fn see(&mut self, fold: &Fold, step: &Step<'_>) {
        self.keys.see(fold, step, &mut self.findings);
        self.habits.see(&fold.model, step, &mut self.findings);
        self.errors.see(&fold.model, step, &mut self.findings);
        self.stale.see(&fold.model, step, &mut self.findings);
    }

    /// All findings of the completed model: the worst first, those of a kind in the order of time.
    pub fn finish(mut self, model: &Model, policy: Option<&Policy>) -> Vec<Finding> {
        self.keys.finish(&mut self.findings);
        self.errors.finish(model, &mut self.findings);
        ends::look(model, policy, &mut self.findings);
        let mut list = self.findings.list;
        let is_created = |segment: &Index| lives::is_created(&model.segments[*segment as usize]);
        list.retain(|finding| !finding.if_created || finding.segments.iter().all(is_created));
        list.sort_by_key(|finding| (std::cmp::Reverse(finding.kind.severity()), finding.kind, finding.first));
        list
    }
}

/// A segment as findings call it: `segment 32769, key 0x5e000001, 4096 bytes`.
fn named(segment: &Segment) -> String {
    use shmgate_core::names::Key;
    let mut text = format!("segment {}", segment.shmid);
    if let Some(key) = segment.key {
        text += &format!(", key {}", Key(key));
    }
    if let Some(size) = segment.size {
        text += &format!(", {size} bytes");
    }
    text
}

/// A process as findings call it: `pid 1234 (server)`.
pub fn who(model: &Model, process: Index) -> String {
    let process = &model.processes[process as usize];
    format!("pid {} ({})", process.pid, program(model, process.program))
}

/// A program's file name.
fn program(model: &Model, program: Index) -> String {
    match &model.programs[program as usize].exe {
        Some(exe) => {
            let name = exe.rsplit(|&byte| byte == b'/').next().unwrap_or(exe);
            super::words::printable(name)
        }
        None => "unknown program".into(),
    }
}
