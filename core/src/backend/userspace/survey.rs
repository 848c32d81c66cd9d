//! A namespace's segments as a person wants to see them: read from outside, changing nothing, without a lock.
//!
//! What the kernel shows of its own in /proc/sysvipc/shm, and who holds a segment, which there only /proc/*/maps tells. Segments that nobody
//! holds any more are left out if they are removed, or go by kernel.shm_rmid_forced: the next who looks for one destroys it.

use core::sync::atomic::Ordering::SeqCst;
use std::path::{Path, PathBuf};

use super::check::{holders, is_alive, lives, open};
use super::files::REMOVED;
use super::holders::Found;
use super::layout::{ProcessWord, Segment as Slot, State, Word, id};
use super::life::Asker;
use super::registry::Registry;
use crate::ledger::liveness;
use crate::sys;

/// A segment, with the fields of a shmid_ds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub shmid: i32,
    pub key: i32,
    /// With SHM_DEST (01000) and SHM_LOCKED (02000).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// In bytes, as asked for.
    pub size: u64,
    /// The number of its file, for [`file`]: its own id, or that of a segment before it which left it the file.
    pub file: i32,
    /// Bytes in memory or swapped out: tmpfs does not tell which.
    pub resident: u64,
    /// Attaches of processes that live.
    pub nattch: u64,
    /// As its process saw itself; so is `lpid`.
    pub cpid: u32,
    pub lpid: u32,
    /// When its creator began, in ticks since the machine's start. `None` if `cpid` tells us nothing: it is of another PID namespace than
    /// the caller's, or where no /proc is.
    pub creator_began: Option<u64>,
    /// In seconds since the epoch, 0 for never.
    pub atime: u64,
    pub dtime: u64,
    pub ctime: u64,
    /// The processes that hold it, and how often.
    pub holders: Vec<(u32, u64)>,
}

/// What a look at a namespace found.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    pub segments: Vec<Segment>,
    /// How many live processes have called there.
    pub processes: u64,
}

/// Looks at the namespace in `dir`.
///
/// # Errors
/// A message for people: it is damaged, or not the caller's.
pub fn survey(dir: &Path) -> Result<Survey, String> {
    let registry = open(dir)?;
    let lives = lives(dir);
    // 0 is where no /proc is.
    let here = Some(liveness::namespace_of(sys::getpid()) as u32).filter(|&here| here != 0);
    let alive: Vec<bool> = (0..registry.processes().len()).map(|at| is_alive(lives.as_ref(), at as u16)).collect();
    let living = registry.processes().iter().zip(&alive).filter(|&(_, &lives)| lives);
    let words = living.map(|(slot, _)| ProcessWord::from_u64(slot.word.load(SeqCst)));
    Ok(Survey {
        processes: words.filter(|word| word.pid != 0).count() as u64,
        segments: registry
            .segments()
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| segment(&registry, index, slot, &alive, here))
            .collect(),
    })
}

/// The file of a segment's memory, by its number; `None` while it has none, as before its first attach.
pub fn file(dir: &Path, number: i32) -> Option<PathBuf> {
    let name = format!("segment.{number}");
    [dir.join(&name), dir.join(REMOVED).join(&name)].into_iter().find(|path| path.is_file())
}

fn segment(registry: &Registry, index: usize, slot: &Slot, alive: &[bool], here: Option<u32>) -> Option<Segment> {
    let mut word = slot.load();
    if !word.is_there() {
        return None;
    }
    let shmid = id(index, word.sequence);
    let holders = live_holders(registry, slot, word, shmid, alive);
    let nattch = holders.iter().map(|(_, count)| count).sum();
    if nattch == 0 && registry.goes(&Found { index, segment: slot, word }, &mut Asker::new(registry, None)) {
        return None;
    }
    // IPC_SET fills the other owner and then switches: the one that was valid before and after the look is whole.
    loop {
        let owner = slot.owner(word);
        let (ids, mode, ctime) = (owner.ids.load(SeqCst), owner.mode.load(SeqCst), owner.ctime.load(SeqCst));
        let key = slot.key.load(SeqCst) as i32;
        let after = slot.load();
        if !after.is_there() || after.sequence != word.sequence || (after.state == State::Removed && nattch == 0) {
            return None;
        }
        if after != word {
            word = after;
            continue;
        }
        let creator = slot.creator.load(SeqCst);
        let flags = if word.state == State::Removed { 0o1000 } else { 0 } | if word.locked { 0o2000 } else { 0 };
        return Some(Segment {
            shmid,
            key,
            mode: mode as u32 & 0o777 | flags,
            uid: ids as u32,
            gid: (ids >> 32) as u32,
            cuid: creator as u32,
            cgid: (creator >> 32) as u32,
            size: slot.size.load(SeqCst),
            file: slot.file_id(index),
            resident: if word.has_file { registry.resident(slot.file_id(index)) } else { 0 },
            nattch,
            cpid: slot.cpid.load(SeqCst),
            lpid: slot.lpid.load(SeqCst),
            creator_began: here.filter(|&here| here == slot.creator_ns.load(SeqCst)).map(|_| slot.creator_start.load(SeqCst)),
            atime: slot.atime.load(SeqCst),
            dtime: slot.dtime.load(SeqCst),
            ctime,
            holders,
        });
    }
}

/// The live processes that hold a segment: each once, with all its attaches.
fn live_holders(registry: &Registry, slot: &Slot, word: Word, shmid: i32, alive: &[bool]) -> Vec<(u32, u64)> {
    let mut live: Vec<(u32, u64)> = Vec::new();
    for holder in holders(registry, slot, word, shmid) {
        let Some(pid) = registry.pid_of(holder.life()) else { continue };
        if !alive.get(usize::from(holder.process)).is_some_and(|&lives| lives) {
            continue;
        }
        match live.iter_mut().find(|(known, _)| *known == pid) {
            Some((_, count)) => *count += u64::from(holder.count),
            None => live.push((pid, u64::from(holder.count))),
        }
    }
    live
}
