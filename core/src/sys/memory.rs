//! mmap, munmap and mremap by the system calls themselves: libc's names are hooked, for the host's sake.

use crate::errno::Errno;

fn answer(value: i64) -> Result<usize, Errno> {
    if value == -1 { Err(Errno::last()) } else { Ok(value as usize) }
}

/// mmap(2).
///
/// # Errors
/// mmap's.
///
/// # Safety
/// What `MAP_FIXED` replaces belongs to the caller.
pub unsafe fn mmap(address: usize, len: usize, protection: i32, flags: i32, fd: i32, offset: u64) -> Result<usize, Errno> {
    // SAFETY: by the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_mmap, address, len, protection, flags, fd, offset) })
}

/// munmap(2).
///
/// # Errors
/// munmap's.
///
/// # Safety
/// The range belongs to the caller.
pub unsafe fn munmap(address: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: by the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_munmap, address, len) }).map(drop)
}

/// mremap(2).
///
/// # Errors
/// mremap's.
///
/// # Safety
/// Both ranges belong to the caller.
pub unsafe fn mremap(old: usize, old_len: usize, new_len: usize, flags: i32, new: usize) -> Result<usize, Errno> {
    // SAFETY: by the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_mremap, old, old_len, new_len, flags, new) })
}

/// An address, a multiple of `alignment` (a power of two), at which nothing was mapped for `len` bytes a moment ago.
pub fn free_address(len: u64, alignment: u64) -> Option<u64> {
    let room = usize::try_from(len.checked_add(alignment)?).ok()?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, of which nobody knows; it is taken away again.
    unsafe {
        let base = mmap(0, room, libc::PROT_NONE, flags, -1, 0).ok()?;
        munmap(base, room).ok()?;
        Some((base as u64).next_multiple_of(alignment))
    }
}

/// Wishes large pages for what is mapped at `address`.
pub fn wish_large_pages(address: u64, len: u64) {
    // SAFETY: the advice keeps the contents, whosever they are.
    unsafe { libc::madvise(address as *mut libc::c_void, len as usize, libc::MADV_HUGEPAGE) };
}

/// Keeps in memory what is mapped at `address`, from when it is first touched on, as far as RLIMIT_MEMLOCK lets the caller.
pub fn pin(address: u64, len: u64) {
    const MLOCK_ONFAULT: i32 = 1;
    // SAFETY: takes an address as a number, and changes no contents.
    unsafe { libc::syscall(libc::SYS_mlock2, address, len, MLOCK_ONFAULT) };
}
