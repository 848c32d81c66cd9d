//! The books: which slots are in use, under which keys, and the totals.
//!
//! A slot is made and destroyed by its owner, whom its word names ([`State::Owned`]): no lock, and whoever finds the owner dead takes the slot
//! over. Totals are counted up and down meanwhile, and [`super::layout::Header::stale`] is raised, so that what somebody was killed at
//! is noticed. Keys and owners (chains, IPC_SET) are changed by one process at a time, under a lock that a killed process can't keep.
//!
//! The lock is a word in the registry with the life of whoever has it; of a process's threads one at a time tries to get it. Readers (look-up, IPC_STAT, attach, detach) never wait for it.
//! What a segment's own slot says is the truth; chains, the map of used slots and the totals follow from it, and whoever takes the lock from a
//! killed process makes them anew. While chains change, [`super::layout::Header::change`] is odd: a reader that sees that, or that it
//! changed meanwhile, looks through the slots themselves. Totals that are made anew while others make and destroy may come out too
//! high, never too low: then the mark stays raised, and they are made again.
//!
//! Signals are blocked under the lock: a handler that came in could never get it. Without it those are for which the host is known to have handlers.

use core::sync::atomic::Ordering::SeqCst;

use super::files::next_sequence;
use super::holders::Found;
use super::layout::{BUCKETS, Layout, SEGMENTS, Segment, State, Word};
use super::life::{Asker, Life};
use super::registry::Registry;
use crate::atomic::{AtomicU64, spin_loop};
use crate::errno::Errno;
use crate::sys::{self, BlockedSignals};

/// Segment slots that get room at a time: a page's.
const AT_A_TIME: usize = 4096 / size_of::<Segment>();
/// Ids are given out from at least so many slots in turn, as the kernel does, so that an old id stays unknown for a while.
const LEAST_CYCLE: usize = 64;

/// The right to change the books.
#[derive(Debug)]
pub struct Writer<'a> {
    registry: &'a Registry,
    word: u64,
    _signals: BlockedSignals,
}

/// The chain of a key.
pub(super) fn bucket_of(key: i32) -> usize {
    ((key as u32).wrapping_mul(0x9e37_79b9) >> 16) as usize & (BUCKETS - 1)
}

impl Registry {
    /// Takes the lock for a process with the life `own`. Waits while another live process has it.
    pub fn write(&self, own: Life) -> Writer<'_> {
        for attempt in 0_u32.. {
            // Now and then a look whether somebody was killed with it.
            if let Some(writer) = self.take_lock(own, attempt % 64 == 63) {
                if self.layout().header.stale.load(SeqCst) != 0 {
                    writer.settle();
                }
                return writer;
            }
            match attempt {
                0..50 => spin_loop(),
                50..60 => sys::yield_now(),
                _ => sys::sleep_us(100),
            }
        }
        unreachable!("an endless loop")
    }

    /// Takes the lock if nobody has it.
    pub fn try_write(&self, own: Life) -> Option<Writer<'_>> {
        self.take_lock(own, false)
    }

    /// Takes the lock, unless another process keeps it for longer than it takes to change something.
    pub fn write_soon(&self, own: Life) -> Option<Writer<'_>> {
        const TRIES: u32 = 50;
        (1..=TRIES).find_map(|attempt| {
            let writer = self.take_lock(own, attempt == TRIES);
            if writer.is_none() {
                spin_loop();
            }
            writer
        })
    }

    fn take_lock(&self, own: Life, asks: bool) -> Option<Writer<'_>> {
        let header = &self.layout().header;
        let word = own.to_u64();
        let signals = BlockedSignals::block();
        let thread = self.thread.load(SeqCst);
        if thread == word || self.thread.compare_exchange(thread, word, SeqCst, SeqCst).is_err() {
            return None;
        }
        let holder = header.writer.load(SeqCst);
        // This process's own life without a thread that has the lock: the word is damaged, or another's who had this life.
        let is_gone = || Life::from_u64(holder).is_none_or(|life| !Asker::new(self, Some(own)).is_alive(life));
        let is_left = holder != 0 && (holder == word || asks && is_gone());
        if (holder == 0 || is_left) && header.writer.compare_exchange(holder, word, SeqCst, SeqCst).is_ok() {
            let writer = Writer { registry: self, word, _signals: signals };
            if is_left {
                writer.settle();
            }
            return Some(writer);
        }
        self.thread.store(0, SeqCst);
        None
    }

    /// Raises [`super::layout::Header::stale`], before a segment is made or destroyed; returns what [`Registry::done`] is to be told.
    pub fn begin(&self) -> u64 {
        let header = &self.layout().header;
        header.stale.fetch_add(1, SeqCst);
        header.anew.load(SeqCst)
    }

    /// What was begun is done. If the totals were made anew meanwhile, it may be in them twice: the mark stays.
    pub fn done(&self, begun: u64) {
        if begun.is_multiple_of(2) && self.layout().header.anew.load(SeqCst) == begun {
            self.no_longer_stale();
        }
    }

    /// Something that [`super::layout::Header::stale`] was raised for is done.
    pub fn no_longer_stale(&self) {
        let _ = self.layout().header.stale.fetch_update(SeqCst, SeqCst, |stale| stale.checked_sub(1));
    }

    /// The segment with `key`, which is not IPC_PRIVATE, and its slot.
    pub fn find(&self, key: i32) -> Option<(usize, &Segment)> {
        for _ in 0..4 {
            if let Ok(found) = self.find_quickly(key) {
                return found;
            }
        }
        self.find_in_slots(key)
    }

    /// As [`Registry::find`]. `Err` if the chains change meanwhile, or for one that ends nowhere.
    #[inline(always)]
    pub(super) fn find_quickly(&self, key: i32) -> Result<Option<(usize, &Segment)>, ()> {
        let change = &self.layout().header.change;
        let before = change.load(SeqCst);
        if !before.is_multiple_of(2) {
            return Err(());
        }
        let found = self.find_in_chain(key)?;
        if change.load(SeqCst) == before { Ok(found) } else { Err(()) }
    }

    /// `Err` for a chain that ends nowhere.
    #[inline(always)]
    fn find_in_chain(&self, key: i32) -> Result<Option<(usize, &Segment)>, ()> {
        let layout = self.layout();
        let mut next = layout.buckets[bucket_of(key)].load(SeqCst);
        for _ in 0..SEGMENTS {
            let Some(index) = (next as usize).checked_sub(1) else { return Ok(None) };
            let Some(segment) = self.segment(index) else { return Err(()) };
            if segment.key.load(SeqCst) == key as u32 && segment.load().state == State::Live {
                return Ok(Some((index, segment)));
            }
            next = layout.next[index].load(SeqCst);
        }
        Err(())
    }

    #[cold]
    #[inline(never)]
    fn find_in_slots(&self, key: i32) -> Option<(usize, &Segment)> {
        let mut slots = self.segments().iter().enumerate();
        slots.find(|(_, segment)| segment.key.load(SeqCst) == key as u32 && segment.load().state == State::Live)
    }
}

impl Writer<'_> {
    /// Makes right what somebody left half done, with the lock or without it: was killed, or could not get it.
    #[inline(never)]
    pub fn settle(&self) {
        let registry = self.registry;
        let stale = &registry.layout().header.stale;
        let before = stale.load(SeqCst);
        let own = self.life();
        let mut asker = Asker::new(registry, Some(own));
        registry.bury(own, &mut asker, |state| state == State::Owned);
        self.make_anew();
        let is_done = registry.free_blocks(&mut asker) && registry.segments().iter().all(|s| s.load().state != State::Owned);
        if is_done {
            // Unless somebody has begun something meanwhile.
            let _ = stale.compare_exchange(before, 0, SeqCst, SeqCst);
        }
    }

    /// Who has the lock.
    fn life(&self) -> Life {
        Life::from_u64(self.word).unwrap_or(Life::NOBODY)
    }

    /// Makes chains, the map of used slots and totals from the slots: after a writer was killed, or a segment destroyed without the lock.
    pub fn make_anew(&self) {
        let layout = self.registry.layout();
        let header = &layout.header;
        for mark in [&header.change, &header.anew] {
            if mark.load(SeqCst).is_multiple_of(2) {
                mark.fetch_add(1, SeqCst);
            }
        }
        layout.buckets.iter().for_each(|bucket| bucket.store(0, SeqCst));
        layout.used.iter().for_each(|used| used.store(0, SeqCst));
        header.in_use.store(0, SeqCst);
        header.pages.store(0, SeqCst);
        for (index, segment) in self.registry.segments().iter().enumerate() {
            let word = segment.load();
            if word.state == State::Free {
                continue;
            }
            layout.used[index / 64].fetch_or(1 << (index % 64), SeqCst);
            header.in_use.fetch_add(1, SeqCst);
            header.pages.fetch_add(segment.pages(sys::page_size()), SeqCst);
            if word.state == State::Live && segment.key.load(SeqCst) != 0 {
                self.chain(index, segment.key.load(SeqCst) as i32);
            }
        }
        header.change.fetch_add(1, SeqCst);
        header.anew.fetch_add(1, SeqCst);
    }

    fn chain(&self, index: usize, key: i32) {
        let layout = self.registry.layout();
        let bucket = &layout.buckets[bucket_of(key)];
        layout.next[index].store(bucket.load(SeqCst), SeqCst);
        bucket.store(index as u32 + 1, SeqCst);
    }

    /// Puts a segment that has been filled into the chain of its key, while `publish` makes it visible.
    pub fn enter(&self, index: usize, key: i32, publish: impl FnOnce()) {
        let header = &self.registry.layout().header;
        header.change.fetch_add(1, SeqCst);
        publish();
        self.chain(index, key);
        header.change.fetch_add(1, SeqCst);
    }

    /// Frees the key of segment `index`, while `hide` makes the segment one that has none.
    pub fn unchain(&self, index: usize, key: i32, hide: impl FnOnce()) {
        let layout = self.registry.layout();
        layout.header.change.fetch_add(1, SeqCst);
        hide();
        let mut place = &layout.buckets[bucket_of(key)];
        for _ in 0..SEGMENTS {
            match (place.load(SeqCst) as usize).checked_sub(1) {
                Some(at) if at == index => {
                    place.store(layout.next[index].load(SeqCst), SeqCst);
                    break;
                }
                Some(at) if at < SEGMENTS => place = &layout.next[at],
                _ => break,
            }
        }
        layout.header.change.fetch_add(1, SeqCst);
    }
}

impl Registry {
    /// Takes a slot for a new segment of so many `pages` and this `mode`, for an owner with the life `own`: its index, and what it was.
    ///
    /// # Errors
    /// ENOSPC when all are in use, or the file system is full.
    pub fn take_slot(&self, own: Life, pages: u64, mode: u32) -> Result<(Found<'_>, Word), Errno> {
        let mut kept = self.kept_slot(pages, mode);
        loop {
            let index = kept.take().map_or_else(|| self.free_slot(), Ok)?;
            let segment = self.segment(index).ok_or(Errno::ENOSPC)?;
            let before = segment.load();
            let word = Word { state: State::Owned, owner: own, sequence: next_sequence(before.sequence), ..before };
            if before.state == State::Free && segment.advance(before, word) {
                return Ok((Found { index, segment, word }, before));
            }
        }
    }

    /// Counts a new segment in, if the limits leave room for it; false if not.
    pub fn count_in(&self, index: usize, pages: u64) -> bool {
        let layout = self.layout();
        let header = &layout.header;
        let (most, most_pages) = (header.shmmni.load(SeqCst).min(SEGMENTS as u64), header.shmall.load(SeqCst));
        let within = |sum: Option<u64>, most: u64| sum.filter(|sum| *sum <= most);
        if header.in_use.fetch_update(SeqCst, SeqCst, |count| within(count.checked_add(1), most)).is_err() {
            return false;
        }
        if header.pages.fetch_update(SeqCst, SeqCst, |sum| within(sum.checked_add(pages), most_pages)).is_err() {
            less(&header.in_use, 1);
            return false;
        }
        layout.used[index / 64].fetch_or(1 << (index % 64), SeqCst);
        true
    }

    /// Counts a segment out that its owner is about to free, if it is counted.
    pub fn count_out(&self, index: usize, pages: u64) {
        let layout = self.layout();
        if layout.used[index / 64].fetch_and(!(1 << (index % 64)), SeqCst) >> (index % 64) & 1 != 0 {
            less(&layout.header.in_use, 1);
            less(&layout.header.pages, pages);
        }
    }

    /// A free slot, with room in the file.
    fn free_slot(&self) -> Result<usize, Errno> {
        let layout = self.layout();
        let header = &layout.header;
        let in_use = (header.in_use.load(SeqCst) as usize).min(SEGMENTS);
        let cycle = (in_use + in_use / 2).clamp(LEAST_CYCLE, SEGMENTS);
        let next = header.last.load(SeqCst) as usize;
        // The slot has the last word: the map follows from it.
        let is_free = |&index: &usize| {
            layout.used[index / 64].load(SeqCst) >> (index % 64) & 1 == 0
                && self.segment(index).is_none_or(|segment| segment.load().state == State::Free)
        };
        let index = (next..cycle).chain(0..cycle).find(is_free).or_else(|| (0..SEGMENTS).find(is_free));
        let index = index.ok_or(Errno::ENOSPC)?;
        header.last.store(((index + 1) % SEGMENTS) as u64, SeqCst);
        loop {
            let ready = header.segments_ready.load(SeqCst) as usize;
            if ready > index {
                return Ok(index);
            }
            let start = core::mem::offset_of!(Layout, segments) + ready * size_of::<Segment>();
            self.make_room(start, start + AT_A_TIME * size_of::<Segment>())?;
            header.segments_ready.fetch_max((ready + AT_A_TIME) as u64, SeqCst);
        }
    }
}

fn less(total: &AtomicU64, amount: u64) {
    let _ = total.fetch_update(SeqCst, SeqCst, |sum| Some(sum.saturating_sub(amount)));
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let lock = &self.registry.layout().header.writer;
        let _ = lock.compare_exchange(self.word, 0, SeqCst, SeqCst);
        self.registry.thread.store(0, SeqCst);
    }
}
