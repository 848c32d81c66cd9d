//! The journal file's layout: a header of a page, then slots of 32 bytes in blocks of 64.
//!
//! A thread takes a block by adding to [`Header::next`]. The block's first slot says whose it is; the others are the thread's
//! records, each published by storing its first word last. A slot whose first word is zero is one that the thread has not used
//! yet or never will, or was killed at. Times in the records give the order of calls; the order of slots is only that within a
//! thread. The file grows by appending zeros, which can't touch what is written.
//!
//! Small slots matter: a fresh page costs 1.5 us, so that a record costs 12 ns by its 32 bytes alone (measured).

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::clock::{self, Scale, Source};

/// "SHMGATEJ" as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SHMGATEJ");
/// Raised with each change that older readers would misread.
pub const VERSION: u64 = 2;
/// The version of a journal without stacks, which is the same but for what these need.
pub const WITHOUT_STACKS: u64 = 1;
/// Bytes before the first slot.
pub const HEADER_LEN: u64 = 4096;
/// Words of a slot.
pub const SLOT_WORDS: usize = 4;
/// Bytes of a slot.
pub const SLOT_LEN: u64 = SLOT_WORDS as u64 * 8;
/// Slots that a thread takes at a time, the first of them for who it is.
pub const BLOCK_SLOTS: u64 = 64;
/// The longest text that a record carries, in bytes: it has to fit a block.
pub const MOST_TEXT: usize = 1024;
/// Bytes by which the file grows.
pub const STEP_LEN: u64 = 256 << 10;

/// What the first page of the file says.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    magic: AtomicU64,
    version: AtomicU64,
    /// How ticks become time.
    pub scale: Scale,
    /// Calls for which the file could not grow, so that they are not in it.
    pub lost: AtomicU64,
    /// The errno of the first of them.
    pub lost_errno: AtomicU64,
    /// Of the boot in which its ticks count, 0 if not known.
    pub boot: AtomicU64,
    /// On a cache line of its own: every thread adds to it.
    pub next: Line,
    /// Calls that are here, but for which no line could be written to the text log.
    pub unlogged: Line,
}

/// A word alone on its cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Line(pub AtomicU64);

impl Header {
    /// Makes a zeroed page a header. The magic is what makes a file a journal: it comes last.
    pub fn start(&self, source: Source) {
        self.scale.start(source);
        self.boot.store(clock::this_boot(), Relaxed);
        self.version.store(WITHOUT_STACKS, Relaxed);
        self.magic.store(MAGIC, Release);
    }

    /// Notes that stacks are going to be in the file.
    pub fn has_stacks(&self) {
        self.version.fetch_max(VERSION, Relaxed);
    }

    /// The version, if this is a journal at all.
    pub fn version(&self) -> Option<u64> {
        (self.magic.load(Acquire) == MAGIC).then(|| self.version.load(Relaxed))
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Whose the block is: pid, tid and uid.
    Owner = 1,
    /// A call whose numbers are small, as they mostly are.
    Call = 2,
    /// A call with more to say, in the slots behind it.
    LongCall = 3,
    /// A process makes its first call; its executable's path is in the slots behind it.
    Process = 4,
    /// More of the record before.
    More = 5,
    /// The stack of the call before.
    Stack = 6,
    /// A file that a process has loaded, of which stacks speak.
    Module = 7,
}

/// A slot's words.
pub type Words = [u64; SLOT_WORDS];

/// Marks a slot's first word as that of slot `index`, in bits 16 to 31: bytes that are no slot's will hardly have it.
#[inline]
pub fn mark(index: u64, kind: Kind) -> u64 {
    let check = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    check << 16 | kind as u64
}

/// What a slot's first word says: `None` for a slot not published.
///
/// # Errors
/// The word, if no writer writes it into this slot.
#[inline]
pub fn kind(index: u64, word: u64) -> Result<Option<Kind>, u64> {
    let kind = match word & 0xf {
        0 if word == 0 => return Ok(None),
        1 => Kind::Owner,
        2 => Kind::Call,
        3 => Kind::LongCall,
        4 => Kind::Process,
        5 => Kind::More,
        6 => Kind::Stack,
        7 => Kind::Module,
        _ => return Err(word),
    };
    if word & 0xffff_000f == mark(index, kind) { Ok(Some(kind)) } else { Err(word) }
}
