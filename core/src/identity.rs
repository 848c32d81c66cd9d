//! Who calls: pid, tid and uid, kept so that a record needs no system call.
//!
//! What is kept lies on a page that every kind of fork (fork, `_Fork`, raw clone) hands to the child zeroed, so that a child
//! never goes by its parent's name; where the kernel can't do that, [`Identity::forget`] in the fork handler does. A vfork
//! child shares the page and goes by its parent's name, as it shares everything else. The uid is forgotten by the hooks of
//! the setuid family; a raw system call that changes it is not seen until the next exec or fork.
//!
//! No lock, no allocation after the page is mapped.

use core::cell::Cell;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::map::Mapping;
use crate::{clock, sys};

/// What is kept about a process. Zero is "not known" everywhere.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Process {
    pid: AtomicU64,
    /// Tells this process from its parent, whose thread-local memory it has.
    birth: AtomicU64,
    /// The effective uid, plus one.
    uid: AtomicU64,
    /// Set once the journal knows this process.
    pub introduced: AtomicU64,
    /// The process's slot in the ledger, plus one.
    pub ledger_slot: AtomicU64,
    /// Calls and denials of this process.
    pub calls: AtomicU64,
    pub denials: AtomicU64,
}

/// The keeper of [`Process`].
#[derive(Debug)]
pub struct Identity {
    page: Option<Mapping>,
    fallback: Process,
}

thread_local! {
    // Plain cells without a destructor: nothing is registered and nothing allocated for a host's thread.
    static THREAD: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

impl Identity {
    /// Maps the page.
    pub fn new() -> Identity {
        let page = Mapping::wiped_on_fork(sys::page_size() as usize).ok();
        Identity { page, fallback: Process::default() }
    }

    /// Keeps it in ordinary memory: for a process in which nothing is recorded, so that nothing need be mapped.
    pub fn unmapped() -> Identity {
        Identity { page: None, fallback: Process::default() }
    }

    /// What is kept about the calling process; all zero in a child that has not called yet.
    #[inline]
    pub fn process(&self) -> &Process {
        match &self.page {
            // SAFETY: Process is made of atomics alone.
            Some(page) => unsafe { page.view(0) },
            None => &self.fallback,
        }
    }

    /// Forgets everything, in a new child.
    pub fn forget(&self) {
        let process = self.process();
        let fields = [
            &process.pid,
            &process.birth,
            &process.uid,
            &process.introduced,
            &process.ledger_slot,
            &process.calls,
            &process.denials,
        ];
        for field in fields {
            field.store(0, Relaxed);
        }
    }

    /// Forgets the uid, which may have changed.
    pub fn forget_uid(&self) {
        self.process().uid.store(0, Relaxed);
    }

    /// The caller's process id.
    #[inline]
    pub fn pid(&self) -> u32 {
        match self.process().pid.load(Relaxed) {
            0 => self.learn_pid(),
            pid => pid as u32,
        }
    }

    #[cold]
    fn learn_pid(&self) -> u32 {
        let pid = sys::getpid();
        self.process().pid.store(u64::from(pid), Relaxed);
        pid
    }

    /// The caller's thread id.
    #[inline]
    pub fn tid(&self) -> u32 {
        let (birth, tid) = THREAD.get();
        if birth != 0 && birth == self.process().birth.load(Relaxed) { tid } else { self.learn_tid() }
    }

    #[cold]
    fn learn_tid(&self) -> u32 {
        let birth = &self.process().birth;
        let _ = birth.compare_exchange(0, clock::monotonic_ns() | 1, Relaxed, Relaxed);
        let tid = sys::gettid();
        THREAD.set((birth.load(Relaxed), tid));
        tid
    }

    /// The caller's effective user id.
    #[inline]
    pub fn uid(&self) -> u32 {
        match self.process().uid.load(Relaxed) {
            0 => {
                let uid = sys::geteuid();
                self.process().uid.store(u64::from(uid) + 1, Relaxed);
                uid
            }
            kept => (kept - 1) as u32,
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Identity::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_clone_goes_by_its_own_name() {
        let identity = Identity::new();
        assert_eq!((identity.pid(), identity.tid()), (sys::getpid(), sys::gettid()));
        // SAFETY: without CLONE_VM this is a fork that runs no handlers; the child makes system calls only, and ends.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } as i32;
        if child == 0 {
            let right = identity.pid() == sys::getpid() && identity.tid() == sys::gettid();
            // SAFETY: ends the child without running the test harness's exit handlers.
            unsafe { libc::_exit(if right { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: the child is ours.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
    }
}
