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
