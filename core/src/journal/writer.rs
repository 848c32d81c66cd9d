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

use super::format::{self, BLOCK_SLOTS, HEADER_LEN, Header, Kind, MOST_TEXT, SLOT_LEN, SLOT_WORDS, STEP_LEN, Words};
use super::reader::Reader;
use super::record::{Owner, Record, Slots};
use super::stack::{MOST_FRAMES, Stack};
use crate::clock::Source;
use crate::errno::Errno;
use crate::identity::{Block, Identity, Me};
use crate::map::{self, Mapping, View};
use crate::sys::{self, File, Parked};

/// Bytes of the file that a mapping covers; those beyond the file's end are not touched.
const REGION_LEN: u64 = 4 << 20;
const REGION_SLOTS: u64 = REGION_LEN / SLOT_LEN;
/// Regions a process can map: 16 GiB of journal, 500 million records, and far fewer mappings than a process may have.
const REGIONS: usize = 4096;
/// How far ahead of the file's end threads can have taken blocks: many thousands of threads.
const MOST_GROWTH: u64 = 64 << 20;
/// After the file could not grow, one record in so many tries again.
const RETRY_EVERY: u64 = 1024;

/// A session's journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: CString,
    /// For a host that has become another user and can't open the path any more.
    parked: Parked,
    head: View<Header>,
    source: Source,
    /// Where the file's regions are mapped, for good. Addresses alone: a call must not allocate.
    regions: Box<[AtomicPtr<AtomicU64>]>,
    /// Tries since the file could not grow, 0 while it can.
    failing: AtomicU64,
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
        view(page).start(Source::best());
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
        let head = view(Mapping::file(&file, 0, HEADER_LEN as usize, true)?);
        if !matches!(head.version(), Some(format::WITHOUT_STACKS..=format::VERSION)) || !head.scale.is_valid() {
            return Err(Errno::EINVAL);
        }
        let source = head.scale.source();
        // SAFETY: zero is the null pointer. Not written here, the table's pages cost nothing until they are used.
        let regions = unsafe { Box::<[AtomicPtr<AtomicU64>]>::new_zeroed_slice(REGIONS).assume_init() };
        let ready = AtomicU64::new(0);
        let parked = Parked::place(&sys::stat_fd(file.fd())?);
        Ok(Journal {
            path: path.into(),
            parked,
            head,
            source,
            regions,
            failing: AtomicU64::new(0),
            ready,
            stride: AtomicU64::new(128),
        })
    }

    /// The journal's first page.
    pub fn header(&self) -> &Header {
        &self.head
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
        {
            self.parked.keep(file.fd());
        }
    }

    /// How many calls the journal has recorded or lost, and how many of the recorded ones were denied.
    pub fn count(&self) -> (u64, u64) {
        Reader::open(&self.path).map(|mut reader| reader.count()).unwrap_or_default()
    }

    /// Appends a call of one slot, if the thread's block has a slot left; false if not.
    #[inline]
    pub fn append_quickly(&self, identity: &Identity, me: Me<'_>, words: &Words) -> bool {
        let Some((index, address)) = me.next_slot(identity) else { return false };
        // SAFETY: the block lies in one of this journal's regions, which stay mapped; any bytes are valid atomics. A process has
        // one journal.
        publish(unsafe { core::slice::from_raw_parts(address, SLOT_WORDS) }, index, Kind::Call, words);
        // The next record's line is fetched while the host does something else.
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which may go anywhere.
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_ET0 }>(
                address.wrapping_add(2 * SLOT_WORDS).cast(),
            );
        }
        true
    }

    /// Appends a call, and its stack if it is known. The first of a process is preceded by the process's own record.
    pub fn append(&self, (identity, me, owner): (&Identity, Me<'_>, Owner), record: &Record<'_>, stack: Option<&Stack>) {
        if identity.is_unknown() {
            self.introduce(me, owner);
        }
        if self.put(&record.encode(), stack, me, owner).is_none() {
            self.lose();
        }
    }

    /// Appends a module's record; returns its slot. `text` is its build id of `id_len` bytes and its path.
    pub fn append_module(&self, (me, owner): (Me<'_>, Owner), bias: u64, id_len: usize, text: &[u8]) -> Option<u64> {
        self.put(&Slots::module(self.now(), bias, id_len, text), None, me, owner)
    }

    #[cold]
    #[inline(never)]
    fn introduce(&self, me: Me<'_>, owner: Owner) {
        let mut buffer = [0; MOST_TEXT];
        let exe = sys::read_link(c"/proc/self/exe", &mut buffer).unwrap_or_default();
        // Without it the process's calls have no executable, which is no call lost.
        let _ = self.put(&Slots::process(self.now(), owner.pid, exe), None, me, owner);
    }

    /// Takes a block for the caller alone, ready to be written. `None` if there is no room: without its first slot, which says whose
    /// it is, its records mean nothing.
    #[inline(never)]
    fn take_block(&self, owner: Owner) -> Option<Block> {
        // A block never crosses a page: what is ready for its first slot is so for all.
        const { assert!(4096 % (BLOCK_SLOTS * SLOT_LEN) == 0) };
        let next = &self.header().next.0;
        // Room first: slots taken without would be lost to all, and who can't make the file grow would lead the others far beyond its end.
        self.slot(next.load(Relaxed))?;
        let first = next.fetch_add(BLOCK_SLOTS, Relaxed);
        let slot = self.slot(first).filter(|_| first.is_multiple_of(BLOCK_SLOTS))?;
        publish(slot, first, Kind::Owner, &owner.encode());
        let base = (slot.as_ptr().expose_provenance() as u64).wrapping_sub(first * SLOT_LEN);
        Some(Block { first: first + 1, end: first + BLOCK_SLOTS, base })
    }

    /// Appends a record; returns its slot. What is behind its first slot is published before it: whoever sees that sees all.
    #[inline(never)]
    fn put(&self, slots: &Slots<'_>, stack: Option<&Stack>, me: Me<'_>, owner: Owner) -> Option<u64> {
        // All of it lies in one block.
        const { assert!(4 + MOST_TEXT.div_ceil(24) + MOST_FRAMES.div_ceil(3) < BLOCK_SLOTS as usize) };
        let count = slots.count() + stack.map_or(0, Stack::slots);
        let index = me.next_slots(count, owner.uid, || self.take_block(owner))?;
        let mut at = index + 1;
        for words in slots.behind() {
            publish(self.slot(at)?, at, Kind::More, &words);
            at += 1;
        }
        if let Some(stack) = stack {
            for (at, words) in (at + 1..).zip(stack.behind()) {
                publish(self.slot(at)?, at, Kind::More, &words);
            }
            publish(self.slot(at)?, at, Kind::Stack, &stack.first());
        }
        publish(self.slot(index)?, index, slots.kind, &slots.first);
        Some(index)
    }

    /// The words of a slot, made ready if need be; `None` if the file has no room for it.
    #[inline]
    fn slot(&self, index: u64) -> Option<&[AtomicU64]> {
        let region = match self.mapped(index) {
            Some(region) if index < self.ready.load(Acquire) => region,
            _ => self.make_ready(index)?,
        };
        let at = (index % REGION_SLOTS) as usize * SLOT_WORDS;
        region.get(at..at + SLOT_WORDS)
    }

    #[inline]
    fn mapped(&self, index: u64) -> Option<&[AtomicU64]> {
        let region = self.regions.get((index / REGION_SLOTS) as usize)?.load(Acquire);
        // SAFETY: a region, once noted, stays mapped, and is as long as all are; any bytes are valid atomics.
        (!region.is_null()).then(|| unsafe { core::slice::from_raw_parts(region, REGION_LEN as usize / 8) })
    }

    /// Gives the file room for slot `index` and those after it, and this process the pages, in one go: a page fault each would
    /// cost 20 ns a record. A process that makes few calls gets few pages: the stride doubles each time.
    #[cold]
    #[inline(never)]
    fn make_ready(&self, index: u64) -> Option<&[AtomicU64]> {
        // A full disk is not asked again for each record.
        if self.failing.load(Relaxed) > 0 && !self.failing.fetch_add(1, Relaxed).is_multiple_of(RETRY_EVERY) {
            return None;
        }
        let ready = self.try_make_ready(index);
        self.failing.store(u64::from(ready.is_err()), Relaxed);
        if let Err(errno) = ready {
            let _ = self.header().lost_errno.compare_exchange(0, errno.0 as u64, Relaxed, Relaxed);
        }
        ready.ok()
    }

    fn try_make_ready(&self, index: u64) -> Result<&[AtomicU64], Errno> {
        if index / REGION_SLOTS >= REGIONS as u64 {
            return Err(Errno::EFBIG);
        }
        let (fd, _opened) = match self.parked.get() {
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
        let needed = HEADER_LEN + end * SLOT_LEN;
        // The header is other processes' to write: a damaged one must not fill the disk.
        if needed > sys::stat_fd(fd)?.st_size as u64 + MOST_GROWTH {
            return Err(Errno::EIO);
        }
        while (sys::stat_fd(fd)?.st_size as u64) < needed {
            sys::append_zeros(fd, STEP_LEN)?;
        }
        let region = self.region(index, fd)?;
        let from = ((index % REGION_SLOTS) * SLOT_LEN) & !4095;
        let to = (end - (region_end - REGION_SLOTS)) * SLOT_LEN;
        // Before Linux 5.14 the pages fault in one by one instead.
        map::advise(&region[from as usize / 8..to as usize / 8], libc::MADV_POPULATE_WRITE);
        self.ready.fetch_max(end, AcqRel);
        Ok(region)
    }

    /// The region that slot `index` is in.
    fn region(&self, index: u64, fd: i32) -> Result<&[AtomicU64], Errno> {
        if let Some(region) = self.mapped(index) {
            return Ok(region);
        }
        let number = (index / REGION_SLOTS) as usize;
        let place = self.regions.get(number).ok_or(Errno::EFBIG)?;
        let start = HEADER_LEN + number as u64 * REGION_LEN;
        let mapping = Mapping::descriptor(fd, start, REGION_LEN as usize, true)?;
        let address = mapping.words().as_ptr().cast_mut();
        if place.compare_exchange(core::ptr::null_mut(), address, AcqRel, Acquire).is_ok() {
            core::mem::forget(mapping);
            // The pages of the region before the previous one go back: a late writer there only faults them in again.
            if let Some(old) = number.checked_sub(2).and_then(|old| self.mapped(old as u64 * REGION_SLOTS)) {
                map::advise(old, libc::MADV_DONTNEED);
            }
        }
        self.mapped(index).ok_or(Errno::EIO)
    }

    #[cold]
    fn lose(&self) {
        self.header().lost.fetch_add(1, Relaxed);
    }
}

/// A journal's first page as a header.
pub(super) fn view(page: Mapping) -> View<Header> {
    // SAFETY: Header is made of atomics alone.
    unsafe { View::new(page) }
}

#[inline]
fn publish(slot: &[AtomicU64], index: u64, kind: Kind, words: &Words) {
    for (place, &word) in slot.iter().zip(words).skip(1) {
        place.store(word, Relaxed);
    }
    slot[0].store(words[0] | format::mark(index, kind), Release);
}
