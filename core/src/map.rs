//! Shared file mappings as arrays of atomic words, so that what another process does to them is never undefined behaviour here.
//!
//! Pages must be allocated in the file before they are touched (a hole on a full disk is SIGBUS for the host): that is the
//! business of whoever makes the file, and the reason for [`crate::sys::allocate`].

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::errno::Errno;
use crate::sys::{self, File};

/// How much was mapped so far: where to wish the next mapping.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// A shared mapping, unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    base: *mut AtomicU64,
    words: usize,
}

// SAFETY: the mapping is plain memory that is only reached through atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from `offset` (both multiples of the page size), for reading and, with `write`, writing.
    ///
    /// # Errors
    /// mmap's.
    pub fn file(file: &File, offset: u64, len: usize, write: bool) -> Result<Mapping, Errno> {
        Mapping::descriptor(file.fd(), offset, len, write)
    }

    /// As [`Mapping::file`], by a descriptor.
    ///
    /// # Errors
    /// mmap's.
    pub fn descriptor(fd: i32, offset: u64, len: usize, write: bool) -> Result<Mapping, Errno> {
        let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        Mapping::map(protection, libc::MAP_SHARED, fd, offset, len)
    }

    /// Maps `len` bytes of memory that fork's children share.
    ///
    /// # Errors
    /// mmap's.
    pub fn shared_memory(len: usize) -> Result<Mapping, Errno> {
        Mapping::map(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0, len)
    }

    /// Maps `len` bytes of memory of this process's own.
    ///
    /// # Errors
    /// mmap's.
    pub fn private_memory(len: usize) -> Result<Mapping, Errno> {
        Mapping::map(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0, len)
    }

    /// Maps a page that every kind of fork gives the child zeroed.
    ///
    /// # Errors
    /// mmap's, and madvise's before Linux 4.14.
    pub fn wiped_on_fork(len: usize) -> Result<Mapping, Errno> {
        let page = Mapping::private_memory(len)?;
        page.advise(0, len, libc::MADV_WIPEONFORK)?;
        Ok(page)
    }

    fn map(protection: i32, flags: i32, fd: i32, offset: u64, len: usize) -> Result<Mapping, Errno> {
        // Far from where the host's own mappings come and go: between them, ours would make the kernel's search for a free
        // address longer at each shmat. It is a wish; where something is in the way the kernel chooses.
        let behind = MAPPED.fetch_add(len.next_multiple_of(2 << 20), Relaxed);
        let wish = ((&raw const MAPPED as usize).saturating_sub(1 << 40) & !0xfff).saturating_add(behind);
        // SAFETY: a new mapping, not at a fixed address, touches nothing that exists.
        let base = unsafe { sys::mmap(wish, len, protection, flags, fd, offset)? };
        Ok(Mapping { base: core::ptr::with_exposed_provenance_mut(base), words: len / 8 })
    }

    /// Where it is.
    pub fn address(&self) -> usize {
        self.base.expose_provenance()
    }

    /// Puts `file`, from its start and not to be touched, in the place of what was mapped; or untouched memory of the process's own.
    ///
    /// # Errors
    /// mmap's.
    pub fn replace(&self, file: Option<&File>) -> Result<(), Errno> {
        let (flags, fd) = file.map_or((libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1), |file| (libc::MAP_SHARED, file.fd()));
        // SAFETY: the range is this mapping's; nobody reads what is in it.
        unsafe { sys::mmap(self.address(), self.words * 8, libc::PROT_NONE, flags | libc::MAP_FIXED, fd, 0) }.map(drop)
    }

    /// Takes a mapping over.
    ///
    /// # Safety
    /// `len` bytes, whole pages, are mapped at `address`, and nobody else unmaps them.
    pub unsafe fn from_address(address: usize, len: usize) -> Mapping {
        Mapping { base: core::ptr::with_exposed_provenance_mut(address), words: len / 8 }
    }

    /// The mapped words.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `base` is page-aligned and maps this many words for as long as `self` lives; any bytes are valid atomics.
        unsafe { core::slice::from_raw_parts(self.base, self.words) }
    }

    /// Tells the kernel how bytes `offset..offset + len` will be used (madvise). The advice must not change what is mapped.
    ///
    /// # Errors
    /// madvise's.
    pub fn advise(&self, offset: usize, len: usize, advice: i32) -> Result<(), Errno> {
        assert!(offset + len <= self.words * 8);
        // SAFETY: the range lies in the mapping, by the assertion; callers give advice that keeps the contents.
        let failed = unsafe { libc::madvise(self.base.cast::<u8>().add(offset).cast(), len, advice) } != 0;
        if failed { Err(Errno::last()) } else { Ok(()) }
    }
}

/// A mapping that is seen as a `T` from its start.
#[derive(Debug)]
pub struct View<T> {
    at: *const T,
    mapping: Mapping,
}

// SAFETY: T is made of atomics alone, by the promise to `View::new`, and lives as long as the mapping.
unsafe impl<T> Send for View<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for View<T> {}

impl<T> View<T> {
    /// Sees `mapping` as a `T`.
    ///
    /// # Panics
    /// When the mapping is shorter than a `T`.
    ///
    /// # Safety
    /// `T` is made of atomics alone, for which every bit pattern is good, and has no `Drop`.
    pub unsafe fn new(mapping: Mapping) -> View<T> {
        const { assert!(align_of::<T>() <= 4096) };
        assert!(size_of::<T>() <= mapping.words * 8);
        View { at: mapping.base.cast_const().cast(), mapping }
    }

    /// All the mapping's words.
    pub fn words(&self) -> &[AtomicU64] {
        self.mapping.words()
    }
}

impl<T> core::ops::Deref for View<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the mapping lives as long as `self`, starts at a page, and is long enough; the rest is the promise to `new`.
        unsafe { &*self.at }
    }
}

/// Tells the kernel how mapped words will be used (madvise); that it can't be told is no matter. The advice must keep the contents.
pub fn advise(words: &[AtomicU64], advice: i32) {
    // SAFETY: the words are mapped, by being borrowed; callers give advice that keeps the contents.
    unsafe { libc::madvise(words.as_ptr().cast_mut().cast(), size_of_val(words), advice) };
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the range that was mapped, and `self` was the only way to it.
        let _ = unsafe { sys::munmap(self.base as usize, self.words * 8) };
    }
}
