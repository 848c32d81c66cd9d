//! Appending to the journal, from any thread and any process, without a system call a record.
//!
//! A slot is taken with one atomic add and published with one store, so that a writer killed between the two leaves a hole and
//! nothing else. No lock. A chunk is mapped when the first record falls into it (three system calls every 8192 records), and
//! stays mapped: an old one costs address space but no memory, since its pages are given back. A record for which the file
//! cannot grow is counted in the header, and its slot stays empty.

use core::ffi::CStr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::ffi::CString;

use super::format::{self, CHUNK_LEN, CHUNK_SLOTS, HEADER_LEN, Header, Kind, SLOT_LEN, SLOT_WORDS, TEXT_LEN};
use super::record::{Record, Words};
use crate::call::Call;
use crate::clock::Source;
use crate::errno::Errno;
use crate::identity::Identity;
use crate::map::Mapping;
use crate::sys::{self, File};

/// Chunks a process can map: 64 GiB of journal, half a thousand million records.
const CHUNKS: usize = 1 << 16;
/// The most text a record carries (PATH_MAX).
const MOST_TEXT: usize = 4096;
/// After the file could not grow, only one record in so many tries again.
const RETRY_EVERY: u64 = 4096;

/// A session's journal, open for writing.
#[derive(Debug)]
pub struct Journal {
    path: CString,
    header: Mapping,
    source: Source,
    chunks: Box<[AtomicPtr<Mapping>]>,
    /// The slots below this have their pages mapped in this process.
    populated: AtomicU64,
    /// How many slots to map with one call the next time.
    stride: AtomicU64,
}

impl Journal {
    /// Makes a new journal file at `path`, with room for its first chunk.
    ///
    /// # Errors
    /// EEXIST when there is one; open's, mmap's, and fallocate's errors.
    pub fn create(path: &CStr) -> Result<(), Errno> {
        let file = File::open(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW, 0o600)?;
        sys::allocate(&file, HEADER_LEN + CHUNK_LEN)?;
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
        let page = Mapping::file(&file, 0, HEADER_LEN as usize, true)?;
        if header(&page).version() != Some(format::VERSION) || !header(&page).scale.is_valid() {
            return Err(Errno::EINVAL);
        }
        let source = header(&page).scale.source();
        // SAFETY: zero is the null pointer. Not written here, the table's pages cost nothing until they are used.
        let chunks = unsafe { Box::<[AtomicPtr<Mapping>]>::new_zeroed_slice(CHUNKS).assume_init() };
        let journal =
            Journal { path: path.into(), header: page, source, chunks, populated: AtomicU64::new(0), stride: AtomicU64::new(32) };
        // The chunk that records go to now: mapped while the host has not changed its root or its user yet.
        let next = journal.header().next.0.load(Relaxed);
        journal.map_chunk(chunk_of(next), next)?;
        Ok(journal)
    }

    /// The journal's first page.
    pub fn header(&self) -> &Header {
        header(&self.header)
    }

    /// Now, in this journal's ticks.
    #[inline]
    pub fn now(&self) -> u64 {
        self.source.now()
    }

    /// Appends a call. The first of a process is preceded by the process's own record.
    #[inline]
    pub fn append(&self, record: &Record<'_>, identity: &Identity) {
        if identity.process().introduced.load(Relaxed) == 0 {
            self.introduce(record, identity);
        }
        let words = record.encode();
        match record.call {
            Call::Ftok { path, .. } => self.put(Kind::Call, words, path),
            _ => {
                let index = self.header().next.0.fetch_add(1, Relaxed);
                match self.slot(index) {
                    Some(slot) => publish(slot, index, Kind::Call, &words),
                    None => self.lose(1),
                }
            }
        }
    }

    #[cold]
    fn introduce(&self, record: &Record<'_>, identity: &Identity) {
        if identity.process().introduced.swap(1, Relaxed) != 0 {
            return;
        }
        let mut buffer = [0; 1024];
        let exe = sys::read_link(c"/proc/self/exe", &mut buffer).unwrap_or_default();
        let mut words = [0; SLOT_WORDS];
        words[1] = record.ticks;
        words[3] = u64::from(record.pid);
        words[4] = u64::from(record.uid);
        self.put(Kind::Process, words, exe);
    }

    /// Appends a record with text behind it. The text is published first: whoever sees the record sees all of it.
    fn put(&self, kind: Kind, mut words: Words, text: &[u8]) {
        let text = &text[..text.len().min(MOST_TEXT)];
        let parts = text.len().div_ceil(TEXT_LEN) as u64;
        words[6] |= (text.len() as u64) << 48;
        let index = self.header().next.0.fetch_add(1 + parts, Relaxed);
        for (at, part) in (index + 1..).zip(text.chunks(TEXT_LEN)) {
            let Some(slot) = self.slot(at) else { return self.lose(1) };
            let mut words = [0; SLOT_WORDS];
            for (word, bytes) in words[1..].iter_mut().zip(part.chunks(8)) {
                let mut eight = [0; 8];
                eight[..bytes.len()].copy_from_slice(bytes);
                *word = u64::from_le_bytes(eight);
            }
            publish(slot, at, Kind::Text, &words);
        }
        match self.slot(index) {
            Some(slot) => publish(slot, index, kind, &words),
            None => self.lose(1),
        }
    }

    /// The words of a slot, mapped if need be; `None` if the file has no room for it.
    #[inline]
    fn slot(&self, index: u64) -> Option<&[AtomicU64]> {
        let chunk = self.chunks.get(chunk_of(index) as usize)?.load(Acquire);
        // SAFETY: a chunk's mapping, once published, is never dropped before the journal is.
        let mapping = match unsafe { chunk.as_ref() } {
            Some(mapping) => mapping,
            None => self.map_chunk(chunk_of(index), index).ok()?,
        };
        if index >= self.populated.load(Relaxed) {
            self.populate(mapping, index);
        }
        let at = (index % CHUNK_SLOTS) as usize * SLOT_WORDS;
        mapping.words().get(at..at + SLOT_WORDS)
    }

    #[cold]
    fn map_chunk(&self, chunk: u64, index: u64) -> Result<&Mapping, Errno> {
        // A full disk is not asked again for each record.
        if self.header().lost.load(Relaxed) > 0 && !index.is_multiple_of(RETRY_EVERY) {
            return Err(Errno::ENOSPC);
        }
        let entry = self.chunks.get(chunk as usize).ok_or(Errno::EFBIG)?;
        let mapping = self.grow_and_map(chunk).inspect_err(|errno| {
            let first = &self.header().lost_errno;
            let _ = first.compare_exchange(0, errno.0 as u64, Relaxed, Relaxed);
        })?;
        let new = Box::into_raw(Box::new(mapping));
        match entry.compare_exchange(core::ptr::null_mut(), new, AcqRel, Acquire) {
            // SAFETY: just published, and dropped with the journal only.
            Ok(_) => {
                self.retire(chunk);
                Ok(unsafe { &*new })
            }
            // SAFETY: `new` was never published; `winner` is dropped with the journal only.
            Err(winner) => unsafe {
                drop(Box::from_raw(new));
                Ok(&*winner)
            },
        }
    }

    fn grow_and_map(&self, chunk: u64) -> Result<Mapping, Errno> {
        let file = File::open(&self.path, libc::O_RDWR | libc::O_NOFOLLOW, 0)?;
        let (start, end) = (HEADER_LEN + chunk * CHUNK_LEN, HEADER_LEN + (chunk + 1) * CHUNK_LEN);
        if file.size()? < end {
            sys::allocate(&file, end)?;
        }
        Mapping::file(&file, start, CHUNK_LEN as usize, true)
    }

    /// Gives the pages of the chunk before the previous one back: a late writer there only faults them in again.
    fn retire(&self, chunk: u64) {
        let Some(old) = chunk.checked_sub(2) else { return };
        let old = self.chunks[old as usize].load(Acquire);
        // SAFETY: as in `slot`.
        if let Some(mapping) = unsafe { old.as_ref() } {
            let _ = mapping.advise(0, CHUNK_LEN as usize, libc::MADV_DONTNEED);
        }
    }

    /// Maps the pages from `index` on in one go: a page fault each would cost a record about 20 ns on average. A process that
    /// makes few calls gets few pages: the stride doubles each time.
    #[cold]
    fn populate(&self, mapping: &Mapping, index: u64) {
        let stride = self.stride.load(Relaxed);
        self.stride.store((stride * 2).min(CHUNK_SLOTS / 2), Relaxed);
        let start = (index % CHUNK_SLOTS) * SLOT_LEN & !4095;
        let len = (stride * SLOT_LEN).max(4096).min(CHUNK_LEN - start);
        // Before Linux 5.14 the pages fault in one by one instead.
        let _ = mapping.advise(start as usize, len as usize, libc::MADV_POPULATE_WRITE);
        let first = index - index % CHUNK_SLOTS;
        self.populated.fetch_max(first + (start + len) / SLOT_LEN, Relaxed);
    }

    fn lose(&self, records: u64) {
        self.header().lost.fetch_add(records, Relaxed);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        for chunk in &self.chunks {
            let mapping = chunk.load(Acquire);
            if !mapping.is_null() {
                // SAFETY: it came from Box::into_raw, and nobody can reach it any more.
                drop(unsafe { Box::from_raw(mapping) });
            }
        }
    }
}

fn chunk_of(index: u64) -> u64 {
    index / CHUNK_SLOTS
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
    slot[0].store(format::stamp(index, kind), Release);
}
