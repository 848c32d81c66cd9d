//! The kernel's System V shared memory, through the functions that the host would have called without us.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;

use super::Backend;
use crate::errno::Errno;
use crate::ledger::liveness;
use crate::names::{SHM_INFO, SHM_STAT_ANY};

/// The next functions in the host's search order: libc's, as a rule, or those of another preloaded library.
#[derive(Clone, Copy, Debug)]
pub struct Functions {
    pub shmget: unsafe extern "C" fn(libc::key_t, libc::size_t, c_int) -> c_int,
    pub shmat: unsafe extern "C" fn(c_int, *const c_void, c_int) -> *mut c_void,
    pub shmdt: unsafe extern "C" fn(*const c_void) -> c_int,
    pub shmctl: unsafe extern "C" fn(c_int, c_int, *mut libc::shmid_ds) -> c_int,
}

impl Functions {
    /// The system calls themselves, for a host in which a function is missing.
    pub const SYSTEM_CALLS: Functions = Functions { shmget, shmat, shmdt, shmctl };
}

unsafe extern "C" fn shmget(key: libc::key_t, size: libc::size_t, flags: c_int) -> c_int {
    // SAFETY: the caller's call, passed on.
    unsafe { libc::syscall(libc::SYS_shmget, key, size, flags) as c_int }
}

unsafe extern "C" fn shmat(shmid: c_int, addr: *const c_void, flags: c_int) -> *mut c_void {
    // SAFETY: the caller's call, passed on.
    unsafe { libc::syscall(libc::SYS_shmat, shmid, addr, flags) as *mut c_void }
}

unsafe extern "C" fn shmdt(addr: *const c_void) -> c_int {
    // SAFETY: the caller's call, passed on.
    unsafe { libc::syscall(libc::SYS_shmdt, addr) as c_int }
}

unsafe extern "C" fn shmctl(shmid: c_int, cmd: c_int, buf: *mut libc::shmid_ds) -> c_int {
    // SAFETY: the caller's call, passed on.
    unsafe { libc::syscall(libc::SYS_shmctl, shmid, cmd, buf) as c_int }
}

/// The kernel backend.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(pub Functions);

fn answer(value: i64) -> Result<u64, Errno> {
    if value == -1 { Err(Errno::last()) } else { Ok(value as u64) }
}

impl Kernel {
    /// The size of a segment that the caller may read.
    pub(super) fn size(&self, shmid: i32) -> Option<u64> {
        self.ask::<libc::shmid_ds>(shmid, libc::IPC_STAT).ok().map(|(_, segment)| segment.shm_segsz as u64)
    }

    /// True if there is System V shared memory to be had: built into the kernel, and not forbidden to this process.
    pub fn works(&self) -> bool {
        const IPC_INFO: i32 = 3;
        self.ask::<libc::shmid_ds>(0, IPC_INFO).is_ok()
    }

    /// All segments of the IPC namespace, readable or not: their ids, and what shmctl says of them.
    ///
    /// # Errors
    /// ENOSYS, or what a filter of system calls says: there is no System V shared memory.
    pub fn segments(&self) -> Result<impl Iterator<Item = (i32, libc::shmid_ds)>, Errno> {
        let (highest, _) = self.ask::<libc::shmid_ds>(0, SHM_INFO)?;
        Ok((0..=highest).filter_map(|index| self.ask(index, SHM_STAT_ANY).ok()))
    }

    /// shmctl into a buffer of our own; returns its value and what it filled.
    fn ask<T>(&self, shmid: i32, cmd: i32) -> Result<(i32, T), Errno> {
        // The kernel's longest answer is a shmid_ds; the others fit into it.
        let mut buffer = MaybeUninit::<libc::shmid_ds>::zeroed();
        const { assert!(size_of::<T>() <= size_of::<libc::shmid_ds>() && align_of::<T>() <= align_of::<libc::shmid_ds>()) };
        // SAFETY: these commands write at most a shmid_ds, into our buffer.
        let value = unsafe { (self.0.shmctl)(shmid, cmd, buffer.as_mut_ptr()) };
        // SAFETY: T is one of the kernel's plain structures, shorter than the zeroed buffer.
        answer(value.into()).map(|_| (value, unsafe { buffer.as_ptr().cast::<T>().read() }))
    }
}

impl Backend for Kernel {
    fn number(&self) -> u8 {
        0
    }

    fn shmget(&self, key: i32, size: u64, flags: i32) -> Result<u64, Errno> {
        // SAFETY: shmget touches no memory of the caller.
        answer(unsafe { (self.0.shmget)(key, size as usize, flags) }.into())
    }

    unsafe fn shmat(&self, shmid: i32, addr: u64, flags: i32) -> Result<u64, Errno> {
        // SAFETY: by the caller's promise.
        answer(unsafe { (self.0.shmat)(shmid, addr as *const c_void, flags) } as i64)
    }

    unsafe fn shmdt(&self, addr: u64) -> Result<u64, Errno> {
        // SAFETY: by the caller's promise.
        answer(unsafe { (self.0.shmdt)(addr as *const c_void) }.into())
    }

    unsafe fn shmctl(&self, shmid: i32, cmd: i32, buf: u64) -> Result<u64, Errno> {
        // SAFETY: by the caller's promise.
        answer(unsafe { (self.0.shmctl)(shmid, cmd, buf as *mut libc::shmid_ds) }.into())
    }

    fn exists(&self, shmid: i32, size: u64) -> bool {
        match self.ask::<libc::shmid_ds>(shmid, libc::IPC_STAT) {
            Ok((_, segment)) => segment.shm_segsz as u64 == size,
            // EACCES and whatever else means that there is something to be refused.
            Err(errno) => errno != Errno::EINVAL && errno != Errno::EIDRM,
        }
    }

    fn created_by(&self, pid: u32, size: u64, found: &mut dyn FnMut(i32) -> bool) {
        let Ok(segments) = self.segments() else { return };
        let is_it = |segment: &libc::shmid_ds| segment.shm_cpid as u32 == pid && segment.shm_segsz as u64 == size;
        segments.filter(|(_, segment)| is_it(segment)).any(|(shmid, _)| found(shmid));
    }

    fn attached(&self, pid: u32) -> Option<u64> {
        liveness::attached(pid)
    }
}
