//! What the registry's file looks like.
//!
//! Everything is an atomic, zero is "free" everywhere, and nothing read from here is trusted: indices are cut to the tables' sizes
//! and states are matched, not assumed. The tables of processes, segments and blocks grow: only what lies below their `ready` mark has room in
//! the file system, and is touched.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use crate::atomic::{AtomicU32, AtomicU64};

use super::life::Life;

/// "SHMGATER" as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SHMGATER");
/// Raised with each change of the layout.
pub const VERSION: u64 = 3;
/// Segments a namespace can have: what fits into an id beside its sequence number, as in the kernel.
pub const SEGMENTS: usize = 1 << 15;
/// Processes that can have segments attached at a time.
pub const PROCESSES: usize = 1 << 13;
/// Chains of segments by their keys.
pub const BUCKETS: usize = 1 << 16;
/// Holders noted in a segment's own slot, and in a block beside it.
pub const HOLDERS: usize = 12;
pub const BLOCK_HOLDERS: usize = 63;
/// Blocks for segments that more processes hold.
pub const BLOCKS: usize = 1 << 12;

/// Destroyed segments whose files are kept for others, and how many of these were destroyed last and are left alone meanwhile.
pub const KEPT: usize = 32;
pub const YOUNGEST: usize = 16;

/// The whole file. What lies before `segments` always has room.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Layout {
    pub header: Header,
    /// The segments in use, a bit each.
    pub used: [AtomicU64; SEGMENTS / 64],
    /// The first segment of a key's chain, plus one.
    pub buckets: [AtomicU32; BUCKETS],
    /// The next segment in the chain, plus one.
    pub next: [AtomicU32; SEGMENTS],
    pub processes: [Process; PROCESSES],
    pub segments: [Segment; SEGMENTS],
    pub blocks: [Block; BLOCKS],
}

/// What is there once.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU64,
    /// The user it belongs to.
    pub owner: AtomicU64,
    /// The limits, in bytes, segments and pages.
    pub shmmax: AtomicU64,
    pub shmmni: AtomicU64,
    pub shmall: AtomicU64,
    /// Who is changing the books: see [`super::books`].
    pub writer: AtomicU64,
    /// Odd while chains change, so that a reader looks again.
    pub change: AtomicU64,
    /// Whether segments go without IPC_RMID: see [`super::forced`].
    pub forced: AtomicU64,
    /// Slots below these have room in the file.
    pub processes_ready: AtomicU64,
    pub segments_ready: AtomicU64,
    pub blocks_ready: AtomicU64,
    /// Segments in use and their pages: sums over the slots, made anew after a writer was killed.
    pub in_use: AtomicU64,
    pub pages: AtomicU64,
    /// Where the search for a free slot goes on: behind the one given out last.
    pub last: AtomicU64,
    /// How many pages the file system had left at `room_at`, in seconds, less those promised since.
    pub room: AtomicU64,
    pub room_at: AtomicU64,
    /// 1 if it was made for several users.
    pub shared: AtomicU64,
    /// How often a file of the limits was opened for writing, and what of that the limits above follow: see [`super::proc`].
    pub limits_written: AtomicU64,
    pub limits_settled: AtomicU64,
    /// Not 0 while the totals may be too high, or a block is being put into a chain: whoever takes the lock next makes it right.
    pub stale: AtomicU64,
    /// Odd while totals and chains are made anew.
    pub anew: AtomicU64,
    /// Slots of destroyed segments, plus one, that have kept their files, in the order in which they were destroyed; and how many have been.
    /// Hints: the slots have the last word.
    pub kept: [AtomicU32; KEPT],
    pub kept_at: AtomicU64,
}

/// A process that has something attached, or changes the books.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Process {
    /// [`ProcessWord`].
    pub word: AtomicU64,
}

/// A process's state, taken apart. Its byte of the file of lives is locked as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessWord {
    pub taken: bool,
    /// Raised when the slot is given back: whatever refers to the process before then means nothing.
    pub generation: u32,
    pub pid: u32,
}

impl ProcessWord {
    pub fn from_u64(word: u64) -> ProcessWord {
        ProcessWord { taken: word & 1 != 0, generation: (word >> 8) as u32 & (GENERATIONS - 1), pid: (word >> 32) as u32 }
    }

    pub fn to_u64(self) -> u64 {
        u64::from(self.taken) | u64::from(self.generation & (GENERATIONS - 1)) << 8 | u64::from(self.pid) << 32
    }
}

/// A segment.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Segment {
    /// [`Word`].
    pub word: AtomicU64,
    pub key: AtomicU32,
    /// What shmget's flags asked for beside the mode: SHM_HUGETLB and its size, SHM_NORESERVE, AIX's wishes.
    pub flags: AtomicU32,
    /// In bytes, as asked for.
    pub size: AtomicU64,
    /// Two, of which [`Word::second`] tells the valid one: IPC_SET changes all of it at once.
    pub owners: [Owner; 2],
    /// Creator's uid and gid.
    pub creator: AtomicU64,
    pub cpid: AtomicU32,
    pub lpid: AtomicU32,
    /// In seconds since the epoch, 0 for never.
    pub atime: AtomicU64,
    pub dtime: AtomicU64,
    /// The first block of further holders, plus one; above it the segment's id, so that nobody adds one to a later segment.
    pub more: AtomicU64,
    /// The sequence number that names its file: its own, or that of a segment before it which left it the file. Its owner alone changes it.
    pub file: AtomicU64,
    /// Its creator's life, when that process began, the PID namespace that it is in, and the thread if it is known.
    pub creator_life: AtomicU64,
    pub creator_start: AtomicU64,
    pub creator_ns: AtomicU32,
    pub ctid: AtomicU32,
    /// When it was held under kernel.shm_rmid_forced: see [`super::forced`].
    pub forced: AtomicU64,
    pub holders: [AtomicU64; HOLDERS],
}

/// In [`Segment::flags`]: processes may have hidden mappings of its file.
pub const HAS_ANCHORS: u32 = 1;
/// It has been attached: there may be something in its file.
pub const WAS_MAPPED: u32 = 2;
/// Somebody may have it mapped who is not noted: nobody else may get its file.
pub const MAY_BE_MAPPED: u32 = 4;

/// Whose a segment is.
#[derive(Debug)]
#[repr(C)]
pub struct Owner {
    /// Uid, and gid in the upper half.
    pub ids: AtomicU64,
    pub mode: AtomicU64,
    pub ctime: AtomicU64,
}

/// More holders of a segment.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Block {
    /// The next block of the segment, plus one, and in the upper half the segment's id: 0 is a free block. With the uppermost bit, the
    /// life of whoever has taken it and not given it an id yet. Until it is in the segment's chain the first holder says whose it is.
    pub next: AtomicU64,
    pub holders: [AtomicU64; BLOCK_HOLDERS],
}

/// What a segment slot is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Free = 0,
    Live = 1,
    /// IPC_RMID was called: it goes with its last attach.
    Removed = 2,
    /// Somebody makes it, or looks whether it can go, alone: to others it is not there. When its owner is dead it is anybody's.
    Owned = 3,
    /// No state that anybody writes: left alone.
    Damaged = 4,
}

/// The uppermost bit of the owner's generation, in a [`Word`].
const OWNER_BIT: u64 = 1 << 12;

/// A segment's state, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    pub state: State,
    /// Which of the two owners is valid.
    pub second: bool,
    /// SHM_LOCK was called.
    pub locked: bool,
    /// The file is there: the segment has been attached once.
    pub has_file: bool,
    /// Somebody has begun to make the file.
    pub may_have_file: bool,
    /// The upper part of the id.
    pub sequence: u16,
    /// Whose an owned one is; nobody's otherwise.
    pub owner: Life,
}

impl Word {
    #[inline]
    pub fn from_u64(word: u64) -> Word {
        // With bits that nobody sets no exchange of what is taken apart here would ever succeed.
        let state = match word & !0xffff_0f00 {
            0 => State::Free,
            1 => State::Live,
            2 => State::Removed,
            other if other & 0xffff & !OWNER_BIT == 3 => State::Owned,
            _ => State::Damaged,
        };
        let owner = if state == State::Owned {
            // A generation has 20 bits: the uppermost found room elsewhere.
            Life {
                process: (word >> 32) as u16 & (PROCESSES - 1) as u16,
                generation: (word >> 45) as u32 | u32::from(word & OWNER_BIT != 0) << 19,
            }
        } else {
            Life::NOBODY
        };
        let flag = |bit: u32| word >> bit & 1 != 0;
        Word {
            state,
            second: flag(8),
            locked: flag(9),
            has_file: flag(10),
            may_have_file: flag(11),
            sequence: (word >> 16) as u16,
            owner,
        }
    }

    pub fn to_u64(self) -> u64 {
        let Life { process, generation } = self.owner;
        self.state as u64
            | u64::from(process) << 32
            | u64::from(generation) << 45
            | if generation >> 19 & 1 != 0 { OWNER_BIT } else { 0 }
            | u64::from(self.second) << 8
            | u64::from(self.locked) << 9
            | u64::from(self.has_file) << 10
            | u64::from(self.may_have_file) << 11
            | u64::from(self.sequence) << 16
    }

    /// True for a segment that is there.
    #[inline]
    pub fn is_there(self) -> bool {
        matches!(self.state, State::Live | State::Removed)
    }
}

impl Segment {
    /// The state now.
    #[inline]
    pub fn load(&self) -> Word {
        Word::from_u64(self.word.load(SeqCst))
    }

    /// True if this is the state now, too. Takes nothing apart.
    #[inline]
    pub fn is_still(&self, word: Word) -> bool {
        self.word.load(SeqCst) == word.to_u64()
    }

    /// Moves from one state to another, if nobody else did.
    pub fn advance(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.to_u64(), to.to_u64(), SeqCst, SeqCst).is_ok()
    }

    /// The id that names its file.
    pub fn file_id(&self, index: usize) -> i32 {
        id(index, self.file.load(SeqCst) as u16)
    }

    /// Adds some of [`Segment::flags`], before that which they tell of is done.
    pub fn note(&self, flags: u32) {
        if self.flags.load(SeqCst) & flags != flags {
            self.flags.fetch_or(flags, SeqCst);
        }
    }

    /// The valid owner.
    #[inline]
    pub fn owner(&self, word: Word) -> &Owner {
        &self.owners[usize::from(word.second)]
    }

    /// Its size in pages.
    pub fn pages(&self, page_size: u64) -> u64 {
        self.size.load(Relaxed).div_ceil(page_size)
    }
}

/// Who holds a segment: a process, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub count: u32,
    pub process: u16,
    /// The process's.
    pub generation: u32,
    /// The lower bits of the segment's: what was written for another segment in this slot means nothing.
    pub sequence: u16,
}

/// Generations of processes, and the bits of a sequence number that a holder has.
pub const GENERATIONS: u32 = 1 << 20;
pub const HOLDER_SEQUENCES: u16 = 1 << 12;

/// Attaches that fit into one place: the bits of its count, which are the lowest.
pub const MOST_HELD: u64 = 0xffff;

impl Holder {
    /// `None` for a free place.
    #[inline]
    pub fn from_u64(word: u64) -> Option<Holder> {
        (word & MOST_HELD > 0).then_some(Holder {
            count: (word & MOST_HELD) as u32,
            process: (word >> 16) as u16 & (PROCESSES - 1) as u16,
            generation: (word >> 32) as u32 & (GENERATIONS - 1),
            sequence: (word >> 52) as u16,
        })
    }

    /// A holder of no attaches is a free place.
    pub fn to_u64(self) -> u64 {
        if self.count == 0 {
            return 0;
        }
        u64::from(self.count).min(MOST_HELD)
            | u64::from(self.process) << 16
            | u64::from(self.generation & (GENERATIONS - 1)) << 32
            | u64::from(self.sequence % HOLDER_SEQUENCES) << 52
    }
}

/// The id of the segment in slot `index`; never 0.
#[inline]
pub fn id(index: usize, sequence: u16) -> i32 {
    ((u32::from(sequence) << 15) | index as u32) as i32
}

/// An id's slot and sequence number; `None` for what is no id.
#[inline]
pub fn split(id: i32) -> Option<(usize, u16)> {
    let id = u32::try_from(id).ok()?;
    Some(((id as usize) & (SEGMENTS - 1), (id >> 15) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_what_they_were_given() {
        let word = Word {
            state: State::Removed,
            second: true,
            locked: false,
            has_file: true,
            may_have_file: false,
            sequence: 0xfffe,
            owner: Life::NOBODY,
        };
        for generation in [1, GENERATIONS / 2, GENERATIONS - 1] {
            let owned = Word { state: State::Owned, owner: Life { process: 8191, generation }, ..word };
            assert_eq!(Word::from_u64(owned.to_u64()), owned);
        }
        assert_eq!(Word::from_u64(word.to_u64()), word);
        assert_eq!(Word::from_u64(word.to_u64() | 1 << 12).state, State::Damaged);
        let process = ProcessWord { taken: true, generation: GENERATIONS - 2, pid: u32::MAX };
        assert_eq!(ProcessWord::from_u64(process.to_u64()), process);
        let holder = Holder { count: 0xfffe, process: 8191, generation: GENERATIONS - 2, sequence: 0xffe };
        assert_eq!(Holder::from_u64(holder.to_u64()), Some(holder));
        assert_eq!(Holder::from_u64(Holder { count: 0, ..holder }.to_u64()), None);
        assert_eq!(split(id(32767, 65535)), Some((32767, 65535)));
        assert_eq!(split(-1), None);
    }

    #[test]
    fn a_segment_costs_less_than_512_bytes() {
        assert!(size_of::<Segment>() + size_of::<u32>() * (1 + BUCKETS / SEGMENTS) < 512, "{}", size_of::<Segment>());
    }
}
