//! Appending to the journal, from any thread and any process, without a system call a record.
//!
//! A thread takes blocks of slots with one atomic add, and publishes a slot with one store, so that a writer killed at any
//! instruction leaves unused slots and nothing else. No lock. Every 8192 slots some process makes the file grow and each maps
//! the new pages; old ones are given back, so that a long life costs address space but no memory. A record for which the file
//! cannot grow is counted in the header.

use core::ffi::CStr;
use core::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::ffi::CString;

use once_cell::race::OnceBox;

use super::format::{self, BLOCK_SLOTS, HEADER_LEN, Header, Kind, MOST_TEXT, SLOT_LEN, SLOT_WORDS, STEP_LEN, Words};
use super::reader::Reader;
use super::record::{Owner, Record, Slots};
use crate::clock::Source;
use crate::errno::Errno;
use crate::identity::{Identity, Me};
use crate::map::Mapping;
use crate::sys::{self, File, Parked};

/// Bytes of the file that a mapping covers; those beyond the file's end are not touched.
const REGION_LEN: u64 = 4 << 20;
const REGION_SLOTS: u64 = REGION_LEN / SLOT_LEN;
/// Regions a process can map: 16 GiB of journal, 500 million records, and far fewer mappings than a process may have.
const REGIONS: usize = 4096;
/// After the file could not grow, one record in so many tries again.
const RETRY_EVERY: u64 = 1024;

/// A session's journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: CString,
    /// For a host that has become another user and can't open the path any more.
    parked: OnceBox<Parked>,
    head: Mapping,
    source: Source,
    regions: Box<[AtomicPtr<Mapping>]>,
    /// The slots below this have room in the file, and their pages here.
    ready: AtomicU64,
    /// How many slots to make ready the next time.
    stride: AtomicU64,
}

impl Journal {
    /// Makes a new journal file at `path`, with room for its first records.
    ///
    /// # Errors
    /// EEXIST when there is one; open's, mmap's, and write's errors.
    pub fn create(path: &CStr) -> Result<(), Errno> {
        let file = File::open(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_APPEND, 0o600)?;
        sys::append_zeros(file.fd(), HEADER_LEN + STEP_LEN)?;
        let page = Mapping::file(&file, 0, HEADER_LEN as usize, true)?;
        header(&page).start(Source::best());
        Ok(())
    }

    /// Opens the journal at `path` for writing.
    ///
    /// # Errors
    /// open's and mmap's; EINVAL for a file that is no journal of this version.
    pub fn open(path: &CStr) -> Result<Journal, Errno> {
        let file = File::open(path, libc::O_RDWR | libc::O_NOFOLLOW, 0)?;
        if file.size()? < HEADER_LEN {
            return Err(Errno::EINVAL);
        }
        let head = Mapping::file(&file, 0, HEADER_LEN as usize, true)?;
        if header(&head).version() != Some(format::VERSION) || !header(&head).scale.is_valid() {
            return Err(Errno::EINVAL);
        }
        let source = header(&head).scale.source();
        // SAFETY: zero is the null pointer. Not written here, the table's pages cost nothing until they are used.
        let regions = unsafe { Box::<[AtomicPtr<Mapping>]>::new_zeroed_slice(REGIONS).assume_init() };
        let ready = AtomicU64::new(0);
        let parked = OnceBox::new();
        Ok(Journal { path: path.into(), parked, head, source, regions, ready, stride: AtomicU64::new(128) })
    }

    /// The journal's first page.
    pub fn header(&self) -> &Header {
        header(&self.head)
    }

    /// Now, in this journal's ticks.
    #[inline]
    pub fn now(&self) -> u64 {
        self.source.now()
    }

    fn open_again(&self) -> Result<File, Errno> {
        File::open(&self.path, libc::O_RDWR | libc::O_NOFOLLOW | libc::O_APPEND, 0)
    }

    /// Keeps the file open from now on: the host is about to become another user, who may not open it.
    pub fn keep_open(&self) {
        if self.parked.get().is_none()
            && let Ok(file) = self.open_again()
            && let Ok(parked) = Parked::copy_of(file.fd())
        {
            // If another thread was first, its descriptor does, and ours is closed.
            let _ = self.parked.set(Box::new(parked));
        }
    }

    /// How many calls the journal has recorded or lost, and how many of the recorded ones were denied.
    pub fn count(&self) -> (u64, u64) {
        Reader::open(&self.path).map(|mut reader| reader.count()).unwrap_or_default()
    }

    /// Appends a call: its one slot if it has one, else what `full` gives. The first of a process is preceded by the process's own
    /// record.
    #[inline]
    pub fn append<'a>(
        &self,
        (identity, me, owner): (&Identity, Me<'_>, Owner),
        compact: Option<Words>,
        full: impl FnOnce() -> Record<'a>,
    ) {
        if identity.is_unknown() {
            self.introduce(me, owner);
        }
        let Some(words) = compact else { return self.put(&full().long(), me, owner) };
        let index = me.next_slots(1, owner.uid, || self.take_block(owner));
        match self.slot(index) {
            Some(slot) => publish(slot, index, Kind::Call, &words),
            None => self.lose(),
        }
    }

    #[cold]
    #[inline(never)]
    fn introduce(&self, me: Me<'_>, owner: Owner) {
        let mut buffer = [0; MOST_TEXT];
        let exe = sys::read_link(c"/proc/self/exe", &mut buffer).unwrap_or_default();
        self.put(&Slots::process(self.now(), owner.pid, exe), me, owner);
    }

    /// Takes a block for the caller alone: its first free slot, and the one behind the last.
    #[cold]
    #[inline(never)]
    fn take_block(&self, owner: Owner) -> (u64, u64) {
        let first = self.header().next.0.fetch_add(BLOCK_SLOTS, Relaxed);
        // Without its first slot nobody can tell whose the block is: its records count as lost, as they find no room either.
        if let Some(slot) = self.slot(first) {
            publish(slot, first, Kind::Owner, &owner.encode());
        }
        (first + 1, first + BLOCK_SLOTS)
    }

    /// Appends a record of several slots. What is behind the first is published before it: whoever sees it sees all.
    #[cold]
    #[inline(never)]
    fn put(&self, slots: &Slots<'_>, me: Me<'_>, owner: Owner) {
        let index = me.next_slots(slots.count(), owner.uid, || self.take_block(owner));
        for (at, words) in (index + 1..).zip(slots.behind()) {
            let Some(slot) = self.slot(at) else { return self.lose() };
            publish(slot, at, Kind::More, &words);
        }
        match self.slot(index) {
            Some(slot) => publish(slot, index, slots.kind, &slots.first),
            None => self.lose(),
        }
    }

    /// The words of a slot, made ready if need be; `None` if the file has no room for it.
    #[inline]
    fn slot(&self, index: u64) -> Option<&[AtomicU64]> {
        let mapping = match self.mapped(index) {
            Some(mapping) if index < self.ready.load(Acquire) => mapping,
            _ => self.make_ready(index)?,
        };
        let at = (index % REGION_SLOTS) as usize * SLOT_WORDS;
        mapping.words().get(at..at + SLOT_WORDS)
    }

    #[inline]
    fn mapped(&self, index: u64) -> Option<&Mapping> {
        let region = self.regions.get((index / REGION_SLOTS) as usize)?.load(Acquire);
        // SAFETY: a region's mapping, once published, is never dropped before the journal is.
        unsafe { region.as_ref() }
    }

    /// Gives the file room for slot `index` and those after it, and this process the pages, in one go: a page fault each would
    /// cost 20 ns a record. A process that makes few calls gets few pages: the stride doubles each time.
    #[cold]
    #[inline(never)]
    fn make_ready(&self, index: u64) -> Option<&Mapping> {
        // A full disk is not asked again for each record.
        if self.header().lost.load(Relaxed) > 0 && !index.is_multiple_of(RETRY_EVERY) {
            return None;
        }
        let ready = self.try_make_ready(index);
        if let Err(errno) = ready {
            let _ = self.header().lost_errno.compare_exchange(0, errno.0 as u64, Relaxed, Relaxed);
        }
        ready.ok()
    }

    fn try_make_ready(&self, index: u64) -> Result<&Mapping, Errno> {
        let (fd, _opened) = match self.parked.get().and_then(Parked::get) {
            Some(fd) => (fd, None),
            None => {
                let file = self.open_again()?;
                (file.fd(), Some(file))
            }
        };
        let stride = self.stride.load(Relaxed);
        self.stride.store((stride * 2).min(STEP_LEN / SLOT_LEN), Relaxed);
        let region_end = (index / REGION_SLOTS + 1) * REGION_SLOTS;
        let end = (index + stride).next_multiple_of(4096 / SLOT_LEN).min(region_end);
        // Appending can't hurt what others write meanwhile; if several do it, the file is ahead of its time.
        while (sys::stat_fd(fd)?.st_size as u64) < HEADER_LEN + end * SLOT_LEN {
            sys::append_zeros(fd, STEP_LEN)?;
        }
        let mapping = self.region(index, fd)?;
        let from = ((index % REGION_SLOTS) * SLOT_LEN) & !4095;
        let to = (end - (region_end - REGION_SLOTS)) * SLOT_LEN;
        // Before Linux 5.14 the pages fault in one by one instead.
        let _ = mapping.advise(from as usize, (to - from) as usize, libc::MADV_POPULATE_WRITE);
        self.ready.fetch_max(end, AcqRel);
        Ok(mapping)
    }

    /// The mapping that slot `index` is in.
    fn region(&self, index: u64, fd: i32) -> Result<&Mapping, Errno> {
        if let Some(mapping) = self.mapped(index) {
            return Ok(mapping);
        }
        let region = (index / REGION_SLOTS) as usize;
        let place = self.regions.get(region).ok_or(Errno::EFBIG)?;
        let start = HEADER_LEN + region as u64 * REGION_LEN;
        let new = Box::into_raw(Box::new(Mapping::descriptor(fd, start, REGION_LEN as usize, true)?));
        match place.compare_exchange(core::ptr::null_mut(), new, AcqRel, Acquire) {
            Ok(_) => {
                self.give_back(region);
                // SAFETY: just published, and dropped with the journal only.
                Ok(unsafe { &*new })
            }
            // SAFETY: `new` was never published; `winner` is dropped with the journal only.
            Err(winner) => unsafe {
                drop(Box::from_raw(new));
                Ok(&*winner)
            },
        }
    }

    /// Gives the pages of the region before the previous one back: a late writer there only faults them in again.
    fn give_back(&self, region: usize) {
        if let Some(old) = region.checked_sub(2)
            && let Some(mapping) = self.mapped(old as u64 * REGION_SLOTS)
        {
            let _ = mapping.advise(0, REGION_LEN as usize, libc::MADV_DONTNEED);
        }
    }

    #[cold]
    fn lose(&self) {
        self.header().lost.fetch_add(1, Relaxed);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        for region in &self.regions {
            let mapping = region.load(Acquire);
            if !mapping.is_null() {
                // SAFETY: it came from Box::into_raw, and nobody can reach it any more.
                drop(unsafe { Box::from_raw(mapping) });
            }
        }
    }
}

/// A journal's first page as a header.
pub(super) fn header(page: &Mapping) -> &Header {
    // SAFETY: Header is made of atomics alone.
    unsafe { page.view(0) }
}

#[inline]
fn publish(slot: &[AtomicU64], index: u64, kind: Kind, words: &Words) {
    for (place, &word) in slot.iter().zip(words).skip(1) {
        place.store(word, Relaxed);
    }
    slot[0].store(words[0] | format::mark(index, kind), Release);
}
