//! The calls that made a session's segments, and where these came from.

use std::collections::HashMap;
use std::rc::Rc;

use shmgate_core::call::Call;
use shmgate_core::journal::{Item, Reader, Timeline};

use super::{Callers, Symbols};

/// By id, the callers of the shmget that made a segment which nobody has removed since, as far as they were recorded.
pub fn makers(reader: Reader) -> HashMap<i32, Rc<Callers>> {
    let mut timeline = Timeline::new(reader);
    let mut slots = HashMap::new();
    for slot in timeline.poll() {
        let Item::Call(record) = timeline.reader_mut().item(slot) else { continue };
        match (record.call, record.outcome.result) {
            // The first to get an id made it; later ones found it.
            (Call::Shmget { .. }, Ok(shmid)) => drop(slots.entry(shmid as i32).or_insert(slot)),
            (Call::Shmctl { shmid, cmd: libc::IPC_RMID, .. }, Ok(_)) => drop(slots.remove(&shmid)),
            _ => {}
        }
    }
    let mut symbols = Symbols::new();
    let found = slots.into_iter().filter_map(|(shmid, slot)| Some((shmid, symbols.callers(timeline.reader_mut(), slot)?)));
    found.collect()
}
