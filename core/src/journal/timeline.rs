//! A journal's calls in the order in which they began, with what is known about their processes.
//!
//! Threads take slots in blocks, and a thread that rests leaves slots that it may come to much later: they are looked at again
//! each time. What a follower has been given stays given: a call that took long may come after one that began later.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::format::{BLOCK_SLOTS, HEADER_LEN, SLOT_LEN};
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
    images: HashMap<u32, Vec<Known>>,
}

/// A process in one of the programs that it executes, as it introduced itself.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    pub pid: u32,
    /// Nanoseconds since the epoch: after its first call, since it is that which introduces it.
    pub time_ns: u64,
    /// The block of slots that its first thread began with.
    pub block: u64,
    /// Its executable's path, if it is known.
    pub exe: Option<&'a [u8]>,
}

#[derive(Debug)]
struct Known {
    ticks: u64,
    block: u64,
    exe: Vec<u8>,
}

/// The block of a slot. All of a block is one thread's, and so one image's.
pub fn block(slot: u64) -> u64 {
    slot / BLOCK_SLOTS
}

impl Timeline {
    /// Starts at the journal's beginning.
    pub fn new(reader: Reader) -> Timeline {
        Timeline { reader, seen: 0, open: Vec::new(), damaged: Vec::new(), images: HashMap::new() }
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
                    let known = Known { ticks, block: block(slot), exe: exe.unwrap_or_default().to_vec() };
                    self.images.entry(pid).or_default().push(known);
                }
                Item::Call(_) => calls.push(slot),
                _ => self.damaged.push(slot),
            }
        }
        calls
    }

    /// The images that have introduced themselves so far: a process has one for each program that it executed, a pid those of each
    /// process that had it.
    pub fn images(&self) -> impl Iterator<Item = Image<'_>> {
        let scale = self.reader.header().scale.snapshot();
        self.images.iter().flat_map(|(pid, images)| images.iter().map(move |one| (*pid, one))).map(move |(pid, one)| {
            let exe = Some(one.exe.as_slice()).filter(|exe| !exe.is_empty());
            Image { pid, time_ns: scale.realtime_ns(one.ticks), block: one.block, exe }
        })
    }

    /// The journal's reader, to ask it for stacks.
    pub fn reader_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// The call in `slot`, which [`Timeline::poll`] gave. `policy` names the rules that outcomes speak of.
    pub fn event<'a>(&'a mut self, slot: u64, policy: Option<&'a Policy>) -> Option<Event<'a>> {
        let Timeline { reader, images, .. } = self;
        let scale = reader.header().scale.snapshot();
        let Item::Call(record) = reader.item(slot) else { return None };
        // A process introduces itself after its first call has begun, and other threads' calls may have begun before that.
        let known = images.get(&record.pid);
        let exe = known.and_then(|known| {
            let introduced = known.iter().rfind(|one| one.block == block(slot));
            introduced.or_else(|| known.iter().rfind(|one| one.ticks <= record.ticks)).or(known.first())
        });
        Some(Event {
            time_ns: scale.realtime_ns(record.ticks),
            duration_ns: scale.duration_ns(record.duration),
            pid: record.pid,
            tid: record.tid,
            uid: record.uid,
            exe: exe.map(|one| one.exe.as_slice()).filter(|exe| !exe.is_empty()),
            call: record.call,
            backend: backend::NAMES.get(usize::from(record.backend)).copied().unwrap_or("unknown"),
            outcome: record.outcome,
            rule: record.outcome.verdict.rule().and_then(|rule| policy?.rule_name(rule)),
        })
    }
}
