//! What a session's records come to: programs, processes, segments and their attaches, keys, and what was in use when.
//!
//! Times are nanoseconds since the epoch, and where it isn't said otherwise those at which calls began. Things refer to each other by their index in
//! [`Model`]'s lists.

use std::collections::BTreeMap;

use shmgate_core::call::{CallKind, Verdict};
use shmgate_core::text::Event;

/// The index of a thing in one of [`Model`]'s lists.
pub type Index = u32;

/// Everything that is known of a session.
#[derive(Debug, Default)]
pub struct Model {
    /// When the first call began and the last one ended; both 0 without a call.
    pub first: u64,
    pub last: u64,
    pub counts: Counts,
    pub programs: Vec<Program>,
    /// In the order in which they came.
    pub processes: Vec<Process>,
    /// In the order in which the session met them.
    pub segments: Vec<Segment>,
    pub attaches: Vec<Attach>,
    /// By shmget's key, in which 0 is `IPC_PRIVATE`.
    pub keys: BTreeMap<i32, Key>,
    pub peak: Peak,
    /// True if processes of the session still live: what is open may yet be closed.
    pub is_running: bool,
}

/// How many calls, and what came of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// By [`shmgate_core::call::CallKind`], less 1.
    pub calls: [u64; 5],
    /// Failed, and not by a denial.
    pub errors: u64,
    pub denied: u64,
    /// Of a dry run.
    pub would_deny: u64,
}

impl Counts {
    /// Counts a call.
    pub fn add(&mut self, event: &Event<'_>) {
        self.calls[event.call.kind() as usize - CallKind::Shmget as usize] += 1;
        match event.outcome.verdict {
            Verdict::Denied(_) => self.denied += 1,
            _ if event.outcome.result.is_err() => self.errors += 1,
            _ => {}
        }
        self.would_deny += u64::from(matches!(event.outcome.verdict, Verdict::WouldDeny(_)));
    }

    pub fn total(&self) -> u64 {
        self.calls.iter().sum()
    }
}

/// The most that was in use at a time, for certain: calls overlap, and what is made is there by the end of its call, what goes may be gone from the
/// beginning of its call on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    /// Of the segments created, rounded up to pages.
    pub bytes: u64,
    pub segments: u64,
    /// As far as the calls tell: a child's that it has from its parent are not among them.
    pub attaches: u64,
}

/// An executable.
#[derive(Debug)]
pub struct Program {
    /// Its path, if it is known.
    pub exe: Option<Vec<u8>>,
    pub counts: Counts,
    pub processes: u64,
    pub created: u64,
    pub removed: u64,
    pub peak_bytes: u64,
    /// How often a call failed with an errno, by the call's number and the errno.
    pub errnos: BTreeMap<(u8, i32), u64>,
}

/// A process while it ran one program: after an exec it is another.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub program: Index,
    /// The effective user of its first call.
    pub uid: u32,
    /// When it introduced itself, and when its last call ended.
    pub first: u64,
    pub last: u64,
    pub counts: Counts,
    pub peak: Peak,
    pub end: End,
}

/// How a process's records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is alive.
    Lives,
    /// It executed another program, or its pid became another process's.
    Replaced,
    /// It exited or was killed, at some time after its last call.
    Gone,
}

/// When, and by which call of which process.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub time: u64,
    pub process: Index,
    /// The record, as [`shmgate_core::journal::Timeline::event`] takes it.
    pub slot: u64,
}

/// Where a segment came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Created in the session.
    Created,
    /// By a shmget that may as well have found it.
    Either,
    /// It was there before.
    Found,
}

/// A segment's life, as far as the session saw it.
#[derive(Debug)]
pub struct Segment {
    pub shmid: i32,
    pub backend: &'static str,
    /// 0 is `IPC_PRIVATE`; `None` if no call told.
    pub key: Option<i32>,
    /// In bytes, as asked for; `None` if no call told.
    pub size: Option<u64>,
    /// The permission bits, of [`Origin::Created`] alone.
    pub mode: Option<u16>,
    pub origin: Origin,
    /// The call that created it, or by which it was met first.
    pub met: Moment,
    /// When that call had ended.
    pub met_end: u64,
    /// The first IPC_RMID.
    pub removed: Option<Moment>,
    /// When it was seen to be gone without an IPC_RMID of the session's: somebody outside removed it.
    pub vanished: Option<u64>,
    /// When its memory went: removed, and nobody attached.
    pub destroyed: Option<u64>,
    pub attaches: u64,
    /// Attaches still open.
    pub open: u64,
}

impl Segment {
    /// Bytes that it takes while it is there, in pages of `page` bytes.
    pub fn bytes(&self, page: u64) -> u64 {
        self.size.unwrap_or(0).checked_next_multiple_of(page).unwrap_or(u64::MAX)
    }
}

/// An attach of a process.
#[derive(Debug)]
pub struct Attach {
    pub segment: Index,
    pub addr: u64,
    /// For one that came by fork, the child's process and when it introduced itself.
    pub from: Moment,
    /// When that call had ended.
    pub from_end: u64,
    pub to: Option<u64>,
    pub end: AttachEnd,
    pub is_readonly: bool,
    pub is_inherited: bool,
}

/// How an attach ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachEnd {
    /// Not yet, or not that the journal knows.
    Open,
    Detached,
    /// With its process, or by an exec.
    ProcessEnd,
    /// By another attach at its address.
    Replaced,
}

/// What a key was used for.
#[derive(Debug, Default)]
pub struct Key {
    pub counts: Counts,
    pub segments: u64,
    pub peak_bytes: u64,
    /// The paths and projects that ftok made it of.
    pub ftok: Vec<(Vec<u8>, i32)>,
}
