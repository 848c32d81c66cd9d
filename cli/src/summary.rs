//! What `run` says at the end: denials, lost records, segments left behind and, with `--callers`, who made them.

use std::sync::atomic::Ordering::Relaxed;

use shmgate_core::backend::Served;
use shmgate_core::call::Verdict;
use shmgate_core::errno::Errno;
use shmgate_core::journal::Item;
use shmgate_core::journal::format::{self, HEADER_LEN, SLOT_LEN};
use shmgate_core::ledger::Segment;
use shmgate_core::names::Key;
use shmgate_core::session::{Parts, Session};

use crate::environment::Segments;
use crate::failure::{quoted, say};
use crate::symbols::makers;
use crate::system;

/// What the journal counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    denied: u64,
    /// What a dry run would have denied.
    noted: u64,
    lost: u64,
    /// Calls without a line in the text log.
    unlogged: u64,
    /// The offset of the first slot with bytes that no writer writes.
    pub damaged: Option<u64>,
}

impl Counts {
    /// Of a session as it is now. Reads the journal: 20 ms for a million calls.
    pub fn of(session: &Session) -> Counts {
        let mut counts = Counts::default();
        let Ok(mut reader) = session.reader() else { return counts };
        for slot in 0..reader.slots() {
            match reader.item(slot) {
                Item::Call(record) => match record.outcome.verdict {
                    Verdict::Denied(_) => counts.denied += 1,
                    Verdict::WouldDeny(_) => counts.noted += 1,
                    _ => {}
                },
                Item::Damaged => counts.damaged = counts.damaged.or(Some(HEADER_LEN + slot * SLOT_LEN)),
                _ => {}
            }
        }
        counts.lost = reader.header().lost.load(Relaxed);
        counts.unlogged = reader.header().unlogged.0.load(Relaxed);
        counts
    }

    fn since(self, before: Counts) -> Counts {
        Counts {
            denied: self.denied.saturating_sub(before.denied),
            noted: self.noted.saturating_sub(before.noted),
            lost: self.lost.saturating_sub(before.lost),
            unlogged: self.unlogged.saturating_sub(before.unlogged),
            damaged: self.damaged,
        }
    }
}

/// Says what there is to say, a line each. `before` is what a session had counted that the run joined; `how_to_see` tells where denials
/// can be read, by whether all calls could be logged; `segments` is where those left behind are, or `None` if they are not to be told of:
/// another run may still want them, or they vanish by themselves.
pub fn print(session: &Session, before: Counts, how_to_see: &dyn Fn(bool) -> String, segments: Option<&Segments>) {
    let Parts { journal, ledger, .. } = match session.parts() {
        Ok(parts) => parts,
        Err(error) => return say(error),
    };
    let counts = Counts::of(session).since(before);
    let how_to_see = how_to_see(counts.unlogged == 0);
    if counts.unlogged > 0 {
        say(format!("{} not logged: the log could not be written", calls_were(counts.unlogged)));
    }
    if counts.denied > 0 {
        say(format!("{} denied; {how_to_see}", calls_were(counts.denied)));
    }
    if counts.noted > 0 {
        let calls = if counts.noted == 1 { "call" } else { "calls" };
        say(format!("{} {calls} would have been denied (dry run); {how_to_see}", counts.noted));
    }
    if counts.lost > 0 {
        let why = Errno(journal.header().lost_errno.load(Relaxed) as i32).text();
        say(format!("{} not recorded ({why}); the session is {}", calls_were(counts.lost), quoted(session.dir())));
    }
    if let Some(Segments { served, option }) = segments {
        let left: Vec<_> = ledger
            .segments(served)
            .filter_map(|segment| Some((segment.shmid, left_behind(&segment, served, option)?)))
            .collect();
        let has_stacks = journal.header().version() == Some(format::VERSION) && !left.is_empty();
        let makers = session.reader().ok().filter(|_| has_stacks).map(makers).unwrap_or_default();
        for (shmid, line) in left.iter().take(MOST_LINES) {
            say(line);
            if let Some(callers) = makers.get(shmid) {
                callers.to_string().lines().for_each(say);
            }
        }
        if let more @ 1.. = left.len().saturating_sub(MOST_LINES) {
            say(format!("left behind: {more} more segments"));
        }
    }
}

fn calls_were(count: u64) -> String {
    if count == 1 { "1 call was".to_owned() } else { format!("{count} calls were") }
}

/// As many segments that were left behind are told of one by one.
const MOST_LINES: usize = 20;

fn left_behind(segment: &Segment, served: &Served, option: &str) -> Option<String> {
    let seen = system::segment(served, segment.shmid);
    // It goes with its last attach.
    if seen.is_some_and(|seen| seen.is_removed) {
        return None;
    }
    // The segment's mode may forbid a look.
    let attached = seen.map_or("?".to_owned(), |seen| seen.nattch.to_string());
    let (id, key, size) = (segment.shmid, Key(segment.key), segment.size);
    let hint = match seen {
        Some(seen) if seen.nattch > 0 => format!("see who holds it with: shmgate show {option} {id}"),
        _ => format!("remove it with: shmgate rm {option} {id}"),
    };
    Some(format!("left behind: shmid {id}, key {key}, {size} bytes, {attached} attached; {hint}"))
}
