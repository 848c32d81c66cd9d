//! What `run` says at the end of a session's calls: denials, lost records, lines that could not be logged.

use std::sync::atomic::Ordering::Relaxed;

use shmgate_core::call::Verdict;
use shmgate_core::errno::Errno;
use shmgate_core::journal::Item;
use shmgate_core::journal::format::{HEADER_LEN, SLOT_LEN};
use shmgate_core::session::{Parts, Session};

use crate::failure::{quoted, say};

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
/// can be read, by whether all calls could be logged.
pub fn print(session: &Session, before: Counts, how_to_see: &dyn Fn(bool) -> String) {
    let Parts { journal, .. } = match session.parts() {
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
}

fn calls_were(count: u64) -> String {
    if count == 1 { "1 call was".to_owned() } else { format!("{count} calls were") }
}
