//! Recording: journal, log, counts.

use core::sync::atomic::Ordering::Relaxed;

use super::{Gate, LAST_DENIAL};
use crate::backend::{self, Backend};
use crate::call::{Call, Outcome, Verdict};
use crate::clock;
use crate::errno::Errno;
use crate::journal::Journal;
use crate::journal::record::{Owner, Record};
use crate::log::Format;
use crate::policy::rule::Caller;
use crate::text::json::Json;
use crate::text::{Event, Line};

impl Gate {
    /// Records a call that began at `start`, and what came of it; returns what the caller gets.
    #[inline(never)]
    pub(super) fn record(&self, start: u64, call: &Call<'_>, outcome: Outcome) -> Result<u64, Errno> {
        if let Verdict::Denied(denial) | Verdict::WouldDeny(denial) = outcome.verdict {
            LAST_DENIAL.set(Some(denial));
            if matches!(outcome.verdict, Verdict::Denied(_)) {
                self.identity.me().count_denial();
            }
        }
        self.keep(start, self.now().saturating_sub(start), call, outcome);
        outcome.result
    }

    /// Keeps a call that took `duration` for whoever wants to know.
    pub(super) fn keep(&self, start: u64, duration: u64, call: &Call<'_>, outcome: Outcome) {
        let me = self.identity.me();
        me.count_call();
        let owner = Owner { pid: self.identity.pid(), tid: me.tid(), uid: self.identity.uid() };
        let Owner { pid, tid, uid } = owner;
        let record = Record { ticks: start, duration, pid, tid, uid, call: *call, backend: self.backend.number(), outcome };
        if let Some(journal) = &self.journal {
            let stack = self.callers.as_ref().map(|callers| callers.stack(|loaded| loaded.note(journal, (me, owner))));
            journal.append((&self.identity, me, owner), &record, stack.as_ref());
        }
        if self.log.is_on() {
            self.write_line(&record);
        }
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.journal.as_ref().map_or_else(clock::monotonic_ns, Journal::now)
    }

    #[inline(never)]
    fn write_line(&self, record: &Record<'_>) {
        use core::fmt::Write;
        let (time_ns, duration_ns) = match &self.journal {
            Some(journal) => {
                let scale = &journal.header().scale;
                (scale.realtime_ns(record.ticks), scale.duration_ns(record.duration))
            }
            None => {
                let ago = clock::monotonic_ns().saturating_sub(record.ticks);
                (clock::realtime_ns().saturating_sub(ago), record.duration)
            }
        };
        let event = Event {
            time_ns,
            duration_ns,
            pid: record.pid,
            tid: record.tid,
            uid: record.uid,
            exe: if self.format == Format::Json { self.exe() } else { None },
            call: record.call,
            backend: backend::NAMES[usize::from(record.backend)],
            outcome: record.outcome,
            rule: record.outcome.verdict.rule().and_then(|rule| self.policy.rule_name(rule)),
        };
        let mut line = Line::<1024>::new();
        let _ = match self.format {
            Format::Text => write!(line, "{event}"),
            Format::Json => write!(line, "{}", Json(event)),
        };
        if line.is_full() {
            // Only long paths come here, and functions that take paths are not for signal handlers: it may allocate.
            let long = match self.format {
                Format::Text => format!("{event}\n"),
                Format::Json => format!("{}\n", Json(event)),
            };
            return self.log_line(long.as_bytes());
        }
        line.end();
        self.log_line(line.as_bytes());
    }

    fn log_line(&self, line: &[u8]) {
        if !self.log.write(line)
            && let Some(journal) = &self.journal
        {
            journal.header().unlogged.0.fetch_add(1, Relaxed);
        }
    }
}
