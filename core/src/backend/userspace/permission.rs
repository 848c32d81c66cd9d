//! Who may do what to a segment: the kernel's rules, with the caller's ids asked anew each time.

use core::sync::atomic::Ordering::SeqCst;

use super::layout::{Segment, Word};
use crate::errno::HostErrno;
use crate::sys;

const CAP_IPC_LOCK: u32 = 14;
const CAP_IPC_OWNER: u32 = 15;
const CAP_SYS_ADMIN: u32 = 21;

/// Read and execute, for shmat.
pub const READ: u32 = 0o444;
pub const WRITE: u32 = 0o222;
pub const EXECUTE: u32 = 0o111;

/// Uid and gid as a word.
pub fn ids(uid: u32, gid: u32) -> u64 {
    u64::from(uid) | u64::from(gid) << 32
}

/// True if the caller may access the segment as the mode bits `asked` say. The first class that matches decides.
#[inline(always)]
pub fn may_access(segment: &Segment, word: Word, asked: u32) -> bool {
    may_access_as(segment, word, asked, sys::geteuid)
}

/// As [`may_access`], where the caller's effective uid may be known already.
#[inline(always)]
pub fn may_access_as(segment: &Segment, word: Word, asked: u32, uid: impl FnOnce() -> u32) -> bool {
    let asked = (asked >> 6 | asked >> 3 | asked) & 0o7;
    if asked == 0 {
        return true;
    }
    let owner = segment.owner(word);
    let (ids, creator, mode) = (owner.ids.load(SeqCst), segment.creator.load(SeqCst), owner.mode.load(SeqCst) as u32);
    let uid = uid();
    let is_owner = uid == ids as u32 || uid == creator as u32;
    is_owner && asked & !(mode >> 6) == 0 || may_override(is_owner, asked, ids, creator, mode)
}

/// As [`may_access`], for who is not the owner, or an owner whom the mode gives too little. The quick way saves no errno.
#[cold]
#[inline(never)]
fn may_override(is_owner: bool, asked: u32, ids: u64, creator: u64, mode: u32) -> bool {
    let _errno = HostErrno::save();
    let granted = if is_owner {
        mode >> 6
    } else if is_in_group(ids, creator) {
        mode >> 3
    } else {
        mode
    };
    asked & !granted & 0o7 == 0 || sys::is_capable(CAP_IPC_OWNER)
}

fn is_in_group(ids: u64, creator: u64) -> bool {
    let gid = sys::getegid();
    let groups = [(ids >> 32) as u32, (creator >> 32) as u32];
    groups.contains(&gid) || groups.iter().any(|&group| sys::is_in_group(group))
}

fn is_owner(segment: &Segment, word: Word) -> bool {
    let uid = sys::geteuid();
    uid == segment.owner(word).ids.load(SeqCst) as u32 || uid == segment.creator.load(SeqCst) as u32
}

/// True if the caller may change or remove the segment.
pub fn may_change(segment: &Segment, word: Word) -> bool {
    is_owner(segment, word) || sys::is_capable(CAP_SYS_ADMIN)
}

/// True if the caller may lock any segment into memory.
pub fn may_lock_all() -> bool {
    sys::is_capable(CAP_IPC_LOCK)
}

/// True if the caller may lock this segment, as far as its owner counts.
pub fn may_lock(segment: &Segment, word: Word) -> bool {
    is_owner(segment, word)
}
