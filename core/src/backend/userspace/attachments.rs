//! What the calling process has attached, and where: memory of its own, which fork copies with the attaches themselves.
//!
//! A table of atomics, in which an attach is found by its start. What the host unmapped or moved of an attach is missing here too:
//! then it consists of pieces, each with an entry. No lock: an entry is claimed by its word.

use core::ops::Range;
use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::errno::Errno;
use crate::map::{Mapping, View};

/// As many attaches as a process can have mappings, by the kernel's default, and some more.
const ENTRIES: usize = 1 << 17;
/// Entries of which one bit says whether any was ever used.
const GROUP: usize = 64;
/// An entry that was used, so that the search goes on behind it.
const GONE: u64 = 1;
/// An entry that is being filled.
const BUSY: u64 = 2;

/// Marks an entry's start, which may be 0.
const TAG: u64 = 4;
/// Marks an entry that the host is about to change: see [`Attachments::mark`].
const MARKED: u64 = 8;

/// A piece of an attach, and mostly all of it. In bytes, whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Where the segment's first byte is mapped, or would be: what shmdt is called with.
    pub origin: u64,
    /// Where in the segment the piece starts.
    pub offset: u64,
    pub len: u64,
    pub shmid: i32,
}

impl Attachment {
    /// The addresses.
    pub fn range(&self) -> Range<u64> {
        let start = self.origin.wrapping_add(self.offset);
        start..start + self.len
    }

    /// What of it lies in `range`, if anything does.
    pub fn within(&self, range: &Range<u64>) -> Option<Attachment> {
        let own = self.range();
        let (start, end) = (own.start.max(range.start), own.end.min(range.end));
        (start < end).then(|| Attachment { offset: start.wrapping_sub(self.origin), len: end - start, ..*self })
    }
}

#[derive(Debug)]
#[repr(C)]
struct Entry {
    word: AtomicU64,
    offset: AtomicU64,
    len: AtomicU64,
    shmid: AtomicU64,
}

#[derive(Debug)]
#[repr(C)]
struct Table {
    /// How many are in use, and above that how often that changed.
    count: AtomicU64,
    /// True once an attach was changed by the host: one may have several pieces.
    has_pieces: AtomicBool,
    /// Where attaches have ever been: they ended here at the latest, and
    end: AtomicU64,
    /// began so far below the top of all addresses.
    start: AtomicU64,
    /// A bit for each group of entries.
    used: [AtomicU64; ENTRIES / GROUP / 64],
    entries: [Entry; ENTRIES],
}

/// The table. Pages of it that were never used cost nothing.
#[derive(Debug)]
pub struct Attachments(View<Table>);

const ONE_CHANGE: u64 = 1 << 32;

fn start_of(origin: u64) -> usize {
    ((origin >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 47) as usize
}

impl Attachments {
    /// An empty one.
    ///
    /// # Errors
    /// mmap's.
    pub fn new() -> Result<Attachments, Errno> {
        // SAFETY: atomics alone.
        Ok(Attachments(unsafe { View::new(Mapping::private_memory(size_of::<Table>().next_multiple_of(4096))?) }))
    }

    fn places(origin: u64) -> impl Iterator<Item = usize> {
        let start = start_of(origin);
        (0..ENTRIES).map(move |step| (start + step) % ENTRIES)
    }

    /// Notes an attach, or a piece of one.
    ///
    /// # Errors
    /// ENOMEM when the table is full.
    #[inline(never)]
    pub fn insert(&self, attachment: Attachment) -> Result<(), Errno> {
        for place in Attachments::places(attachment.origin) {
            let entry = &self.0.entries[place];
            let word = entry.word.load(Relaxed);
            if matches!(word, 0 | GONE) && entry.word.compare_exchange(word, BUSY, Acquire, Relaxed).is_ok() {
                let (group, bit) = (&self.0.used[place / GROUP / 64], 1 << (place / GROUP % 64));
                if group.load(Relaxed) & bit == 0 {
                    group.fetch_or(bit, Relaxed);
                }
                let range = attachment.range();
                for (bound, reached) in [(&self.0.end, range.end), (&self.0.start, !range.start)] {
                    if bound.load(Relaxed) < reached {
                        bound.fetch_max(reached, Relaxed);
                    }
                }
                entry.offset.store(attachment.offset, Relaxed);
                entry.len.store(attachment.len, Relaxed);
                entry.shmid.store(attachment.shmid as u32 as u64, Relaxed);
                entry.word.store(attachment.origin | TAG, Release);
                self.0.count.fetch_add(ONE_CHANGE + 1, Release);
                return Ok(());
            }
        }
        Err(Errno::ENOMEM)
    }

    /// Takes out the attach that starts at `origin`, a page's; of several pieces, or attaches, the one with the lowest address, as the
    /// kernel does. Its other pieces are marked: where they are unmapped, another thread may attach the same segment.
    pub fn take(&self, origin: u64) -> Option<Attachment> {
        let taken = self.take_if(origin | TAG, |_| true)?;
        let is_its = |piece: &Attachment| piece.shmid == taken.shmid;
        while self.has_pieces()
            && let Some((entry, _)) = self.first(origin | TAG, is_its)
        {
            let _ = entry.word.compare_exchange(origin | TAG, origin | TAG | MARKED, Acquire, Relaxed);
        }
        Some(taken)
    }

    /// Takes out a further piece of an attach of which one was taken.
    pub fn take_another(&self, taken: &Attachment) -> Option<Attachment> {
        if !self.has_pieces() {
            return None;
        }
        self.take_if(taken.origin | TAG | MARKED, |piece| piece.shmid == taken.shmid)
    }

    fn has_pieces(&self) -> bool {
        self.0.has_pieces.load(Relaxed)
    }

    fn take_if(&self, word: u64, wanted: impl Fn(&Attachment) -> bool) -> Option<Attachment> {
        loop {
            let (entry, attachment) = self.first(word, &wanted)?;
            if self.remove(entry, word) {
                return Some(attachment);
            }
        }
    }

    /// Of the entries with this word that are wanted, the one with the lowest address.
    fn first(&self, wanted_word: u64, wanted: impl Fn(&Attachment) -> bool) -> Option<(&Entry, Attachment)> {
        let mut first: Option<(&Entry, Attachment)> = None;
        for place in Attachments::places(wanted_word & !(TAG | MARKED)) {
            let entry = &self.0.entries[place];
            match entry.word.load(Acquire) {
                0 => break,
                word if word == wanted_word => {
                    let attachment = entry.read(word);
                    if wanted(&attachment) && first.is_none_or(|(_, best)| attachment.offset < best.offset) {
                        first = Some((entry, attachment));
                    }
                    if !self.has_pieces() {
                        break;
                    }
                }
                _ => {}
            }
        }
        first
    }

    fn remove(&self, entry: &Entry, word: u64) -> bool {
        let removed = entry.word.compare_exchange(word, GONE, Acquire, Relaxed).is_ok();
        if removed {
            self.0.count.fetch_add(ONE_CHANGE - 1, Release);
        }
        removed
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.count.load(Relaxed) % ONE_CHANGE
    }

    /// Another number after each change. Whoever reads it and then looks at all of them has seen no less.
    pub fn state(&self) -> u64 {
        self.0.count.load(Acquire)
    }

    /// Shows `visit` the entries that are in use, and their words.
    #[inline(never)]
    fn visit(&self, visit: &mut dyn FnMut(&Entry, u64)) {
        if self.count() == 0 {
            return;
        }
        for (index, groups) in self.0.used.iter().enumerate() {
            let mut groups = groups.load(Relaxed);
            while groups != 0 {
                let group = index * 64 + groups.trailing_zeros() as usize;
                groups &= groups - 1;
                for entry in &self.0.entries[group * GROUP..][..GROUP] {
                    let word = entry.word.load(Acquire);
                    if word > BUSY {
                        visit(entry, word);
                    }
                }
            }
        }
    }

    /// Shows `visit` all of them.
    pub fn for_each(&self, visit: &mut dyn FnMut(Attachment)) {
        self.visit(&mut |entry, word| visit(entry.read(word)));
    }

    /// Marks what lies in `range`: the host is about to change it, and shmdt does not find it meanwhile. True if anything does.
    #[inline(never)]
    pub fn mark(&self, range: &Range<u64>) -> bool {
        if range.start >= self.0.end.load(Relaxed) || range.end <= !self.0.start.load(Relaxed) {
            return false;
        }
        let mut any = false;
        self.visit(&mut |entry, word| {
            let is_within = || entry.read(word).within(range).is_some();
            if word & MARKED == 0 && is_within() && entry.word.compare_exchange(word, word | MARKED, Acquire, Relaxed).is_ok() {
                // It may have been another's meanwhile.
                if is_within() {
                    any = true;
                } else {
                    entry.word.store(word, Release);
                }
            }
        });
        any
    }

    /// Takes back the marks in `range`: nothing was changed.
    #[inline(never)]
    pub fn unmark(&self, range: &Range<u64>) {
        self.visit(&mut |entry, word| {
            if word & MARKED != 0 && entry.read(word).within(range).is_some() {
                let _ = entry.word.compare_exchange(word, word & !MARKED, Release, Relaxed);
            }
        });
    }

    /// Takes out what is marked in `range`, and hands it to `changed` one by one, which may insert.
    #[inline(never)]
    pub fn take_marked(&self, range: &Range<u64>, changed: &mut dyn FnMut(Attachment)) {
        self.0.has_pieces.store(true, Relaxed);
        self.visit(&mut |entry, word| {
            let attachment = entry.read(word);
            if word & MARKED != 0 && attachment.within(range).is_some() && self.remove(entry, word) {
                changed(attachment);
            }
        });
    }
}

impl Entry {
    fn read(&self, word: u64) -> Attachment {
        Attachment {
            origin: word & !(TAG | MARKED),
            offset: self.offset.load(Relaxed),
            len: self.len.load(Relaxed),
            shmid: self.shmid.load(Relaxed) as u32 as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(n: u64) -> Attachment {
        Attachment { origin: n << 16, offset: 0, len: 4 << 12, shmid: n as i32 }
    }

    fn count(table: &Attachments) -> usize {
        let mut count = 0;
        table.for_each(&mut |_| count += 1);
        count
    }

    #[test]
    fn what_was_noted_is_found_once() {
        let table = Attachments::new().unwrap();
        let made: Vec<_> = (1..5000).map(whole).collect();
        for attachment in &made {
            table.insert(*attachment).unwrap();
        }
        assert_eq!(table.count(), 4999);
        assert_eq!(count(&table), 4999);
        assert_eq!(table.take(0x1234), None);
        for attachment in &made {
            assert_eq!(table.take(attachment.origin), Some(*attachment));
            assert_eq!(table.take(attachment.origin), None);
        }
        assert_eq!(count(&table), 0);
    }

    #[test]
    fn what_the_host_changes_is_marked_until_it_has() {
        let table = Attachments::new().unwrap();
        (1..=3).for_each(|n| table.insert(whole(n)).unwrap());
        let range = (2 << 16) + 4096..3 << 16;
        assert!(!table.mark(&(0..1 << 16)));
        assert!(table.mark(&range));
        assert_eq!(table.take(2 << 16), None, "shmdt does not find what is about to change");
        assert_eq!(count(&table), 3, "fork copies it all the same");
        table.unmark(&range);
        assert_eq!(table.take(2 << 16), Some(whole(2)));
        table.insert(whole(2)).unwrap();
        table.mark(&range);
        let mut changed = Vec::new();
        table.take_marked(&range, &mut |attachment| changed.push(attachment));
        assert_eq!(changed, [whole(2)]);
        assert_eq!(count(&table), 2);
    }

    /// Those at the ends too, behind which nothing is looked for.
    #[test]
    fn every_byte_of_an_attach_is_its() {
        let table = Attachments::new().unwrap();
        (2..=3).for_each(|n| table.insert(whole(n)).unwrap());
        let (first, end) = (2 << 16, (3 << 16) + (4 << 12));
        for (byte, is_its) in [(first - 1, false), (first, true), (end - 1, true), (end, false)] {
            assert_eq!(table.mark(&(byte..byte + 1)), is_its, "{byte:x}");
        }
    }

    #[test]
    fn an_attach_is_taken_with_all_its_pieces() {
        let table = Attachments::new().unwrap();
        let pieces = [0, 2].map(|page| Attachment { offset: page << 12, len: 1 << 12, ..whole(1) });
        pieces.iter().for_each(|piece| table.insert(*piece).unwrap());
        table.take_marked(&(0..0), &mut |_| {});
        let taken = table.take(1 << 16).unwrap();
        // Another thread's, where that one was.
        table.insert(taken).unwrap();
        assert_eq!([Some(taken), table.take_another(&taken)], pieces.map(Some));
        assert_eq!(table.take_another(&taken), None);
        assert_eq!(table.take(1 << 16), Some(taken));
    }
}
