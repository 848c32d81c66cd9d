//! What the ledger's file looks like: a header, a table of processes, a table of segments.
//!
//! Everything is an atomic, zero is "free" everywhere, and nothing read from here is trusted: numbers of slots are cut to the
//! tables' sizes, and states are matched, not assumed.

use core::sync::atomic::Ordering::SeqCst;

use super::tally::Tally;
use crate::atomic::AtomicU64;

/// "SHMGATEL" as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SHMGATEL");
/// Raised with each change of the layout.
pub const VERSION: u64 = 3;
/// Processes that can be in the books at a time.
pub const PROCESSES: usize = 8192;
/// Segments that can: as many as an IPC namespace can have.
pub const SEGMENTS: usize = 32768;

/// In the place of an IPC namespace: the session's one on the userspace backend, whatever IPC namespace a process is in.
pub const USERSPACE: u64 = 1;

/// What is in use, by what quotas count.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Usage {
    /// Of the segments created.
    pub pages: Tally,
    pub segments: Tally,
}

/// The whole file.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Layout {
    pub magic: AtomicU64,
    pub version: AtomicU64,
    /// Slots at and above these were never used.
    pub processes_used: AtomicU64,
    pub segments_used: AtomicU64,
    pub session: Usage,
    /// Attaches granted to processes.
    pub session_attaches: Tally,
    pub processes: [ProcessSlot; PROCESSES],
    pub segments: [SegmentSlot; SEGMENTS],
    /// The slot of the segment whose id has this index, as a hint.
    pub slot_of_index: [AtomicU64; SEGMENTS],
}

/// A process that has made a call, or has inherited attaches.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct ProcessSlot {
    /// Its pid, and above that the PID namespace in which it is that: in one word, so that nobody is killed in between. 0 is a free slot.
    pub process: AtomicU64,
    /// When it began, in the kernel's ticks since boot, to tell it from a later process of the same pid; 0 if not known.
    pub start: AtomicU64,
    pub usage: Usage,
    /// Attaches less detaches, of the process's first thread and of all others; see [`super::attach`].
    pub own: AtomicU64,
    pub rest: AtomicU64,
    /// How many attaches it may have.
    pub grant: AtomicU64,
}

/// A segment that the session created, or is about to create.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct SegmentSlot {
    /// [`State`], a generation, and the pid of whoever put it into that state first.
    pub state: AtomicU64,
    pub shmid: AtomicU64,
    pub key: AtomicU64,
    pub size: AtomicU64,
    pub pages: AtomicU64,
    /// The creator's slot in the table of processes.
    pub process: AtomicU64,
    /// The IPC namespace in which `shmid` means it, or [`USERSPACE`].
    pub ipc_ns: AtomicU64,
}

/// What a segment slot is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Free = 0,
    /// Counted; the creator's call is under way, and the id not known yet.
    Pending = 1,
    /// Counted, with its id.
    Live = 2,
    /// As `Live`, and IPC_RMID was called: it goes with its last attach.
    Removed = 3,
    /// No state that anybody writes: left alone.
    Damaged = 4,
}

/// A segment slot's state word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateWord {
    pub state: State,
    pub generation: u32,
    pub pid: u32,
}

impl StateWord {
    /// Taken from a slot.
    pub fn from_u64(word: u64) -> StateWord {
        let state = match word & 0xff {
            0 => State::Free,
            1 => State::Pending,
            2 => State::Live,
            3 => State::Removed,
            _ => State::Damaged,
        };
        StateWord { state, generation: (word >> 8) as u32 & 0xff_ffff, pid: (word >> 32) as u32 }
    }

    /// As it stands in a slot.
    pub fn to_u64(self) -> u64 {
        self.state as u64 | u64::from(self.generation & 0xff_ffff) << 8 | u64::from(self.pid) << 32
    }

    /// The same slot in another state.
    pub fn with(self, state: State) -> StateWord {
        StateWord { state, ..self }
    }
}

impl SegmentSlot {
    /// The state now.
    pub fn load(&self) -> StateWord {
        StateWord::from_u64(self.state.load(SeqCst))
    }

    /// Moves from one state to another, if nobody else did.
    pub fn advance(&self, from: StateWord, to: StateWord) -> bool {
        self.state.compare_exchange(from.to_u64(), to.to_u64(), SeqCst, SeqCst).is_ok()
    }
}
