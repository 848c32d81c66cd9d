//! The journal file's layout: a header of a page, then slots of 128 bytes.
//!
//! A writer takes slots by adding to [`Header::next`], fills them, and publishes each by storing its stamp last. A slot without
//! its stamp is a writer's that is still at work, or was killed at it.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::clock::Scale;

/// "SHMGATEJ" as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SHMGATEJ");
/// Raised with each change that older readers would misread.
pub const VERSION: u64 = 1;
/// Bytes before the first slot.
pub const HEADER_LEN: u64 = 4096;
/// Words of a slot.
pub const SLOT_WORDS: usize = 16;
/// Bytes of a slot.
pub const SLOT_LEN: u64 = SLOT_WORDS as u64 * 8;
/// Slots of a chunk: the file grows, and is mapped, by chunks of 1 MiB.
pub const CHUNK_SLOTS: u64 = 8192;
/// Bytes of a chunk.
pub const CHUNK_LEN: u64 = CHUNK_SLOTS * SLOT_LEN;
/// Bytes of text that a slot of kind [`Kind::Text`] carries.
pub const TEXT_LEN: usize = (SLOT_WORDS - 1) * 8;

/// What the first page of the file says.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    magic: AtomicU64,
    version: AtomicU64,
    /// How ticks become time.
    pub scale: Scale,
    /// Records that could not be kept, because the file could not grow.
    pub lost: AtomicU64,
    /// The errno of the first that could not.
    pub lost_errno: AtomicU64,
    /// On a cache line of its own: every call of every process adds to it.
    pub next: Line,
}

/// The next free slot, alone on its cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Line(pub AtomicU64);

impl Header {
    /// Makes a zeroed page a header. The magic is what makes a file a journal: it comes last.
    pub fn start(&self, source: crate::clock::Source) {
        self.scale.start(source);
        self.version.store(VERSION, Relaxed);
        self.magic.store(MAGIC, core::sync::atomic::Ordering::Release);
    }

    /// The version, if this is a journal at all.
    pub fn version(&self) -> Option<u64> {
        (self.magic.load(core::sync::atomic::Ordering::Acquire) == MAGIC).then(|| self.version.load(Relaxed))
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A call.
    Call = 1,
    /// A process makes its first call; text slots with its executable's path follow.
    Process = 2,
    /// More of the record before: text.
    Text = 3,
}

/// The word that publishes slot `index`: it can't be mistaken for another slot's, or for a page of zeros.
#[inline]
pub fn stamp(index: u64, kind: Kind) -> u64 {
    ((index + 1) << 8) | kind as u64
}

/// What a slot's stamp says: `None` for a slot not published, an error for a word that is no stamp of this slot.
pub fn read_stamp(index: u64, word: u64) -> Result<Option<Kind>, u64> {
    if word == 0 {
        return Ok(None);
    }
    let kind = match word & 0xff {
        1 => Kind::Call,
        2 => Kind::Process,
        3 => Kind::Text,
        _ => return Err(word),
    };
    if word == stamp(index, kind) { Ok(Some(kind)) } else { Err(word) }
}
