//! The quick way through the gate, for calls that nothing can stand against, as most are: there is no rule to ask, nothing is
//! created, and the books are at hand. It must do what `decide` and `record` do, without what costs: between two system calls
//! every line of code and memory that is touched shows in a call's time.

use core::hint::cold_path;
use core::sync::atomic::Ordering::Relaxed;

use super::Gate;
use crate::backend::Backend;
use crate::backend::userspace::Userspace;
use crate::call::{Call, Outcome};
use crate::errno::{self, Errno, HostErrno};
use crate::identity::Me;
use crate::journal::Journal;
use crate::journal::record;

/// What C gets of a quick call's result.
#[inline]
fn for_c(result: Result<u64, Errno>) -> i64 {
    match result {
        Ok(value) => value as i64,
        Err(code) => {
            cold_path();
            errno::set(code.0);
            -1
        }
    }
}

impl Gate {
    /// Makes a shared memory call if it can be done quickly; returns what C gets, -1 with errno set. `None`, and nothing has been
    /// done, if it takes [`Gate::call`].
    ///
    /// # Safety
    /// As for [`Gate::call`].
    #[inline(always)]
    pub unsafe fn quick(&self, call: &Call<'_>) -> Option<i64> {
        if !self.quick.load(Relaxed) {
            return None;
        }
        let journal = self.journal.as_ref()?;
        let me = self.identity.quick_me()?;
        let backend = self.backend.kernel();
        let start = journal.now();
        let result = match *call {
            Call::Shmget { key, size, flags } if !self.tells_creation(key, flags) => backend.shmget(key, size, flags),
            Call::Shmat { shmid, addr, flags } => {
                let reserved = match &self.ledger {
                    Some(ledger) => Some((ledger, ledger.reserve_quickly(&self.identity, me, &self.policy)?)),
                    None => {
                        cold_path();
                        None
                    }
                };
                // SAFETY: by the caller's promise.
                let result = unsafe { backend.shmat(shmid, addr, flags) };
                if let Some((ledger, slot)) = reserved {
                    ledger.settle(&self.identity, me, &self.backend, slot, result.is_ok());
                }
                result
            }
            Call::Shmdt { addr } => {
                let begun = match &self.ledger {
                    Some(ledger) => Some((ledger, ledger.begin_detach_quickly(&self.identity, me)?)),
                    None => {
                        cold_path();
                        None
                    }
                };
                // SAFETY: by the caller's promise.
                let result = unsafe { backend.shmdt(addr) };
                if let Some((ledger, slot)) = begun {
                    ledger.end_detach(&self.identity, me, slot, result.is_ok());
                }
                result
            }
            // SAFETY: by the caller's promise.
            Call::Shmctl { shmid, cmd, buf, .. } if cmd != libc::IPC_SET => unsafe { self.control(shmid, cmd, buf) },
            _ => return None,
        };
        if let Err(errno) = result {
            cold_path();
            if self.backend.may_replace(errno) {
                return None;
            }
        }
        self.record_quickly(journal, me, start, call, result);
        Some(for_c(result))
    }

    /// Makes a call by `make` where nothing is set but the userspace backend, and counts it; returns what C gets, and errno stays. `None`, and
    /// nothing has been done, if it takes [`Gate::pass`].
    #[inline(always)]
    pub fn direct(&self, make: impl FnOnce(&Userspace) -> Option<i32>) -> Option<i32> {
        let me = self.identity.quick_me()?;
        let result = make(self.backend.userspace()?)?;
        me.count_call();
        Some(result)
    }

    #[inline(always)]
    fn record_quickly(&self, journal: &Journal, me: Me<'_>, start: u64, call: &Call<'_>, result: Result<u64, Errno>) {
        let duration = journal.now().saturating_sub(start);
        match record::compact(start, duration, self.backend.number(), call, result) {
            Some(words) if journal.append_quickly(&self.identity, me, &words) => me.count_call(),
            // By value: were the call's address to leave here, it would be laid out in memory each time.
            _ => self.record_slowly(start, duration, *call, result),
        }
    }

    #[cold]
    #[inline(never)]
    fn record_slowly(&self, start: u64, duration: u64, call: Call<'_>, result: Result<u64, Errno>) {
        let _errno = HostErrno::save();
        self.keep(start, duration, &call, Outcome::of(result));
    }
}
