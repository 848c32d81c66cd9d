//! A journal's calls in the order in which they began, with what is known about their processes.
//!
//! Threads take slots in blocks, and a thread that rests leaves slots that it may come to much later: they are looked at again
//! each time. What a follower has been given stays given: a call that took long may come after one that began later.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::format::{HEADER_LEN, SLOT_LEN};
use super::reader::{Item, Reader};
use crate::backend;
use crate::policy::Policy;
use crate::text::Event;

/// A reader that remembers where it is.
#[derive(Debug)]
pub struct Timeline {
    reader: Reader,
    /// Slots below this were looked at.
    seen: u64,
    /// Of those, the ones that were not published.
    open: Vec<u64>,
    /// Slots with bytes that no writer writes.
    damaged: Vec<u64>,
    exes: HashMap<u32, Vec<(u64, Vec<u8>)>>,
}

impl Timeline {
    /// Starts at the journal's beginning.
    pub fn new(reader: Reader) -> Timeline {
        Timeline { reader, seen: 0, open: Vec::new(), damaged: Vec::new(), exes: HashMap::new() }
    }

    /// The journal's reader.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The offsets in the file of damaged slots seen so far.
    pub fn damaged(&self) -> impl Iterator<Item = u64> {
        self.damaged.iter().map(|slot| HEADER_LEN + slot * SLOT_LEN)
    }

    /// The slots of the calls that were published since the last time, in the order in which they began.
    pub fn poll(&mut self) -> Vec<u64> {
        let slots = self.reader.slots();
        let mut found = Vec::new();
        for slot in std::mem::take(&mut self.open).into_iter().chain(self.seen..slots) {
            match self.reader.ticks(slot) {
                Ok(Some(ticks)) => found.push((ticks, slot)),
                Ok(None) => self.open.push(slot),
                Err(0) => {}
                Err(_) => self.damaged.push(slot),
            }
        }
        self.seen = self.seen.max(slots);
        found.sort_unstable();
        let mut calls = Vec::with_capacity(found.len());
        for (_, slot) in found {
            match self.reader.item(slot) {
                Item::Process { ticks, pid, exe } => {
                    self.exes.entry(pid).or_default().push((ticks, exe.unwrap_or_default().to_vec()));
                }
                Item::Call(_) => calls.push(slot),
                _ => self.damaged.push(slot),
            }
        }
        calls
    }

    /// The call in `slot`, which [`Timeline::poll`] gave. `policy` names the rules that outcomes speak of.
    pub fn event<'a>(&'a mut self, slot: u64, policy: Option<&'a Policy>) -> Option<Event<'a>> {
        let Timeline { reader, exes, .. } = self;
        let scale = reader.header().scale.snapshot();
        let Item::Call(record) = reader.item(slot) else { return None };
        // Another thread of a process may have made its call before the one that introduced the process.
        let known = exes.get(&record.pid);
        let exe = known.and_then(|known| known.iter().rfind(|(ticks, _)| *ticks <= record.ticks).or(known.first()));
        Some(Event {
            time_ns: scale.realtime_ns(record.ticks),
            duration_ns: scale.duration_ns(record.duration),
            pid: record.pid,
            tid: record.tid,
            uid: record.uid,
            exe: exe.map(|(_, exe)| exe.as_slice()).filter(|exe| !exe.is_empty()),
            call: record.call,
            backend: backend::NAMES.get(usize::from(record.backend)).copied().unwrap_or("unknown"),
            outcome: record.outcome,
            rule: record.outcome.verdict.rule().and_then(|rule| policy?.rule_name(rule)),
        })
    }
}
