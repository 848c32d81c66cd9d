//! What went wrong: results of -1 that were used all the same, denials, the system's own limits, segments removed while they were needed.

use rustc_hash::{FxHashMap as HashMap, FxHashSet as HashSet};
use std::mem::discriminant;

use shmgate_core::call::{Call, CallKind, Reason, Verdict};
use shmgate_core::errno::Errno;
use shmgate_core::names::Key;
use shmgate_core::text::reason::ReasonText;

use super::{About, Findings, Kind, named, program, who};
use crate::report::fold::{Effect, Step};
use crate::report::model::{Index, Model, Moment};
use crate::report::words::printable;

#[derive(Debug, Default)]
pub struct Errors {
    /// A process's last shmget, shmat and ftok that failed, by the calls' numbers.
    failed: HashMap<(Index, u8), Moment>,
    /// The segment that had a key until it was removed.
    removed: HashMap<(&'static str, i32), Index>,
    missed: Vec<Missed>,
    known: HashSet<(Index, Index, u8)>,
}

/// Somebody came for a segment that was removed before.
#[derive(Debug)]
struct Missed {
    segment: Index,
    at: Moment,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// It asked for the key, and nothing was there.
    NoKey,
    /// It made another segment under the key.
    Anew,
    /// It attached by the id, and failed.
    StaleId,
}

impl Errors {
    pub fn see(&mut self, model: &Model, step: &Step<'_>, findings: &mut Findings) {
        self.ignored(model, step, findings);
        self.denied(model, step, findings);
        self.came_late(model, step);
    }

    fn ignored(&mut self, model: &Model, step: &Step<'_>, findings: &mut Findings) {
        let (call, process, result) = (step.event.call, step.at.process, step.event.outcome.result);
        // What was -1, if such a call failed before. A key of -1 is one like any other for the system.
        let used = match (call, result) {
            (Call::Shmat { shmid: -1, .. } | Call::Shmctl { shmid: -1, .. }, Err(_)) => Some((CallKind::Shmget, "-1")),
            (Call::Shmdt { addr: u64::MAX }, Err(_)) => Some((CallKind::Shmat, "(void *)-1")),
            (Call::Shmget { key: -1, .. }, _) => Some((CallKind::Ftok, "-1")),
            _ => None,
        };
        if let Some((of, used)) = used
            && let Some(before) = self.failed.get(&(process, of as u8)).copied()
        {
            let subject = (step.program.into(), call.kind() as u64);
            findings.note_pair(Kind::ErrorIgnored, subject, About::process(process), (Some(before), step.at), || {
                let a = if of == CallKind::Ftok { "an" } else { "a" };
                format!("{} hands {used} to {}, after {a} {} that failed", who(model, process), call.kind().name(), of.name())
            });
        }
        if let (Err(errno), Call::Shmget { .. } | Call::Shmat { .. } | Call::Ftok { .. }) = (result, call) {
            self.failed.insert((process, call.kind() as u8), step.at);
            if !matches!(step.event.outcome.verdict, Verdict::Denied(_)) {
                system_limit(model, step, errno, findings);
            }
        }
    }

    fn denied(&mut self, model: &Model, step: &Step<'_>, findings: &mut Findings) {
        let (denial, words) = match step.event.outcome.verdict {
            Verdict::Denied(denial) => (denial, "is denied"),
            Verdict::WouldDeny(denial) => (denial, "would be denied (dry run)"),
            _ => return,
        };
        findings.note(
            Kind::Denied,
            (step.program.into(), number(denial.reason)),
            About::process(step.at.process),
            step.at,
            || {
                let text = ReasonText { denial, rule: step.event.rule }.to_string();
                format!(
                    "{} {words} a {}: {}",
                    who(model, step.at.process),
                    step.event.call.kind().name(),
                    printable(text.as_bytes())
                )
            },
        );
    }

    fn came_late(&mut self, model: &Model, step: &Step<'_>) {
        let by_key = |key: i32| self.removed.get(&(backend(model, step), key)).copied();
        let (segment, how) = match (step.effect, step.event.call) {
            (Effect::Removed(segment), _) => {
                let it = &model.segments[segment as usize];
                if let Some(key) = it.key.filter(|key| *key != libc::IPC_PRIVATE) {
                    self.removed.insert((it.backend, key), segment);
                }
                return;
            }
            (Effect::Failed(None), Call::Shmget { key, .. }) if step.event.outcome.result == Err(Errno::ENOENT) => {
                (by_key(key), How::NoKey)
            }
            (Effect::Created(_), Call::Shmget { key, .. }) => (by_key(key), How::Anew),
            (Effect::Failed(Some(segment)), Call::Shmat { .. })
                if matches!(step.event.outcome.result, Err(Errno::EINVAL | Errno::EIDRM)) =>
            {
                (Some(segment), How::StaleId)
            }
            _ => return,
        };
        let Some(segment) = segment else { return };
        let is_remover = |removed: Moment| removed.process == step.at.process;
        if model.segments[segment as usize].removed.is_none_or(is_remover) {
            return;
        }
        if how == How::Anew
            && let Call::Shmget { key, .. } = step.event.call
        {
            self.removed.remove(&(backend(model, step), key));
        }
        if self.known.insert((segment, step.at.process, how as u8)) {
            self.missed.push(Missed { segment, at: step.at, how });
        }
    }

    /// Tells of the segments that somebody else held at that moment.
    pub fn finish(&mut self, model: &Model, findings: &mut Findings) {
        let mut held: HashMap<Index, Vec<(u64, u64, Index)>> =
            self.missed.iter().map(|one| (one.segment, Vec::new())).collect();
        for attach in &model.attaches {
            if let Some(spans) = held.get_mut(&attach.segment) {
                spans.push((attach.from.time, attach.to.unwrap_or(u64::MAX), attach.from.process));
            }
        }
        for Missed { segment, at, how } in self.missed.drain(..) {
            let is_held = held[&segment].iter().any(|&(from, to, by)| from <= at.time && at.time <= to && by != at.process);
            let it = &model.segments[segment as usize];
            let Some(removed) = it.removed.filter(|_| is_held || how == How::StaleId) else { continue };
            let about = About::segment(model, segment, at.process);
            findings.note_pair(Kind::RemovedInUse, (segment.into(), 0), about, (Some(removed), at), || {
                let remover = who(model, removed.process);
                let came = match how {
                    How::NoKey => "does not find it any more, while others still hold it",
                    How::Anew => "makes another under its key, while others still hold the old one",
                    How::StaleId => "can't attach it any more",
                };
                format!("{} was removed by {remover}; {} {came}", named(it), who(model, at.process))
            });
        }
    }
}

/// Tells reasons apart.
fn number(reason: Reason) -> u64 {
    match reason {
        Reason::Rule(rule) => 1000 + u64::from(rule),
        other => ALL.iter().position(|one| discriminant(one) == discriminant(&other)).unwrap_or(ALL.len()) as u64,
    }
}

impl Findings {
    /// Which quotas refused something: of bytes, segments, attaches; the session's or the processes'.
    pub(super) fn denied_quotas(&self, of_session: bool) -> [bool; 3] {
        let reasons = match of_session {
            true => [Reason::SessionBytes, Reason::SessionSegments, Reason::SessionAttaches],
            false => [Reason::ProcessBytes, Reason::ProcessSegments, Reason::ProcessAttaches],
        };
        reasons.map(|reason| self.known.keys().any(|known| known.0 == Kind::Denied && known.2 == number(reason)))
    }
}

/// One of each reason, but for rules.
const ALL: [Reason; 11] = [
    Reason::SegmentSize,
    Reason::ProcessBytes,
    Reason::ProcessSegments,
    Reason::ProcessAttaches,
    Reason::SessionBytes,
    Reason::SessionSegments,
    Reason::SessionAttaches,
    Reason::WorldAccess,
    Reason::Config,
    Reason::Internal,
    Reason::LedgerFull,
];

fn backend(model: &Model, step: &Step<'_>) -> &'static str {
    // A segment that was met has the backend's name for good.
    let of = |segment: &Index| model.segments[*segment as usize].backend;
    match step.effect {
        Effect::Created(segment) => of(&segment),
        _ => shmgate_core::backend::NAMES.into_iter().find(|name| *name == step.event.backend).unwrap_or("unknown"),
    }
}

/// What the system itself had no more of.
fn system_limit(model: &Model, step: &Step<'_>, errno: Errno, findings: &mut Findings) {
    let what = match (step.event.call.kind(), errno) {
        (CallKind::Shmget, Errno::ENOSPC) => "the system has no id or no page left (shmmni, shmall)",
        (CallKind::Shmget, Errno::ENOMEM) => "the system has no memory for the segment",
        (CallKind::Shmat, Errno::EMFILE) => "the process has as many attaches as the system lets it have",
        (CallKind::Shmat, Errno::ENOMEM) => "the process has no room for another attach (RLIMIT_AS, vm.max_map_count)",
        _ => return,
    };
    let subject = (u64::from(step.program), (errno.0 as u64) << 8 | step.event.call.kind() as u64);
    findings.note(Kind::NearLimit, subject, About::process(step.at.process), step.at, || {
        let (name, key) = (
            errno.name().unwrap_or("?"),
            match step.event.call {
                Call::Shmget { key, .. } => format!(" for key {}", Key(key)),
                _ => String::new(),
            },
        );
        format!("{}'s {}{key} fails with {name}: {what}", program(model, step.program), step.event.call.kind().name())
    });
}
