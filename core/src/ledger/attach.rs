//! Attaches: counted a process, on credit of the session.
//!
//! A process's word holds how many attaches it has, and how many the session has granted it; the session's total counts what
//! is granted. So the common attach and detach are one atomic each, on a cache line that no other process writes. When the
//! session's limit is reached, what processes were granted and do not use is taken back.

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::layout::{PROCESSES, ProcessSlot};
use super::tally::Epoch;
use super::{Ledger, is_process, liveness, no_room};
use crate::call::{Denial, Reason};
use crate::errno::Errno;
use crate::identity::{Identity, Me};
use crate::policy::Policy;
use crate::sys;

/// What a process is granted at a time.
const GRANT: u64 = 16;

/// A process's word, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Attaches it has, or is about to make.
    pub attaches: u64,
    /// Attaches it may have; counted by the session.
    pub granted: u64,
    /// Asked for, and not yet known to be granted: seen by those who make the session's total anew.
    pub asked: u64,
}

impl Held {
    fn from_u64(word: u64) -> Held {
        Held { attaches: word & 0xff_ffff, granted: word >> 24 & 0xff_ffff, asked: word >> 48 }
    }

    fn to_u64(self) -> u64 {
        self.attaches.min(0xff_ffff) | self.granted.min(0xff_ffff) << 24 | self.asked.min(0xffff) << 48
    }

    pub fn load(word: &AtomicU64) -> Held {
        Held::from_u64(word.load(SeqCst))
    }

    /// Changes a word to what `next` makes of it; gives what it was, and `None` if `next` does.
    fn change(word: &AtomicU64, next: impl Fn(Held) -> Option<Held>) -> Option<Held> {
        let change = |now| next(Held::from_u64(now)).map(Held::to_u64);
        word.fetch_update(SeqCst, SeqCst, change).ok().map(Held::from_u64)
    }
}

/// An attach that may be made: to be settled.
#[derive(Debug)]
#[must_use]
pub struct Attaching {
    process: usize,
    pid: u64,
}

impl Ledger {
    /// Asks for an attach. `None` where the ledger has no room for the process, and no quota asks for its books.
    ///
    /// # Errors
    /// The denial, once the books are right. With `policy.dry_run` there is none: the second value says what it would be.
    pub fn reserve_attach(
        &self,
        identity: &Identity,
        thread: Me<'_>,
        policy: &Policy,
    ) -> Result<(Option<Attaching>, Option<Denial>), Denial> {
        if let Some(attaching) = self.try_reserve_attach(identity, thread, policy) {
            return Ok((Some(attaching), None));
        }
        let Some(mine) = self.mine(identity) else { return no_room(policy, Errno::EMFILE, PROCESSES) };
        self.reserve_attach_patiently(identity, thread, policy, mine)
    }

    /// Asks for an attach as the books are, right or not; `None` leaves it to [`Ledger::reserve_attach`].
    #[inline]
    pub fn try_reserve_attach(&self, identity: &Identity, thread: Me<'_>, policy: &Policy) -> Option<Attaching> {
        let (process, me) = self.mine(identity)?;
        thread.set_attaching(true);
        if self.take_attach(me, policy).is_ok() {
            return Some(Attaching { process, pid: identity.pid().into() });
        }
        thread.set_attaching(false);
        None
    }

    #[cold]
    #[inline(never)]
    fn reserve_attach_patiently(
        &self,
        identity: &Identity,
        thread: Me<'_>,
        policy: &Policy,
        (process, me): (usize, &ProcessSlot),
    ) -> Result<(Option<Attaching>, Option<Denial>), Denial> {
        let mut refused = (Reason::SessionAttaches, 0, 0);
        for attempt in 0..super::PATIENCE {
            if attempt == 0 {
                self.settle_processes();
                self.correct_mine(identity, me);
            }
            let busy = self.recount_attaches();
            thread.set_attaching(true);
            match self.take_attach(me, policy) {
                Ok(()) => return Ok((Some(Attaching { process, pid: identity.pid().into() }), None)),
                Err(reason) => refused = reason,
            }
            thread.set_attaching(false);
            if !busy {
                break;
            }
            sys::yield_now();
        }
        let (reason, used, limit) = refused;
        let denial = Denial { reason, errno: Errno::EMFILE, asked: 1, used, limit, holder: self.most_attached() };
        if !policy.dry_run {
            return Err(denial);
        }
        thread.set_attaching(true);
        self.inherit(me, 1);
        Ok((Some(Attaching { process, pid: identity.pid().into() }), Some(denial)))
    }

    #[inline]
    fn take_attach(&self, me: &ProcessSlot, policy: &Policy) -> Result<(), (Reason, u64, u64)> {
        let within = |held: Held| policy.process.attaches.is_none_or(|limit| held.attaches < limit);
        loop {
            let word = me.attaches.load(SeqCst);
            let held = Held::from_u64(word);
            // Attaches are the word's lowest part, and below what is granted there is room for one more.
            if held.attaches < held.granted && within(held) {
                if me.attaches.compare_exchange(word, word + 1, SeqCst, SeqCst).is_ok() {
                    return Ok(());
                }
                continue;
            }
            if !within(held) {
                return Err((Reason::ProcessAttaches, held.attaches, policy.process.attaches.unwrap_or(0)));
            }
            if held.attaches >= held.granted {
                self.ask_grant(me, policy)?;
            }
        }
    }

    /// Asks the session for more; the asking is seen before the session's total has it, so that the total is never too low.
    #[cold]
    fn ask_grant(&self, me: &ProcessSlot, policy: &Policy) -> Result<(), (Reason, u64, u64)> {
        let total = &self.layout().session_attaches;
        let limit = policy.session.attaches;
        let mut refused = 0;
        for amount in [GRANT, 1] {
            Held::change(&me.attaches, |held| Some(Held { asked: held.asked + amount, ..held }));
            let granted = total.add(amount, limit);
            Held::change(&me.attaches, |held| {
                let asked = held.asked.saturating_sub(amount);
                Some(Held { asked, granted: held.granted + if granted.is_ok() { amount } else { 0 }, ..held })
            });
            match granted {
                Ok(()) => return Ok(()),
                Err(used) => refused = used,
            }
        }
        Err((Reason::SessionAttaches, refused, limit.unwrap_or(0)))
    }

    /// The attach came about, or not.
    #[inline]
    pub fn settle(&self, thread: Me<'_>, attaching: Attaching, attached: bool) {
        if !attached
            && let Some(slot) = self.layout().processes.get(attaching.process)
            && slot.pid.load(SeqCst) == attaching.pid
        {
            Self::give_back(&slot.attaches);
        }
        thread.set_attaching(false);
    }

    /// A detach begins: the process has to be in the books with what it has, before it has less.
    #[inline]
    pub fn begin_detach(&self, identity: &Identity, thread: Me<'_>) -> Option<&AtomicU64> {
        let mine = self.mine(identity);
        thread.set_attaching(true);
        mine.map(|(_, slot)| &slot.attaches)
    }

    /// The detach that [`Ledger::begin_detach`] gave `held` for came about, or not.
    #[inline]
    pub fn end_detach(&self, thread: Me<'_>, held: Option<&AtomicU64>, detached: bool) {
        if let (true, Some(held)) = (detached, held) {
            Self::give_back(held);
        }
        thread.set_attaching(false);
    }

    /// Nothing happens for an attach from before our time.
    #[inline]
    fn give_back(held: &AtomicU64) {
        let less = |word: u64| (Held::from_u64(word).attaches > 0).then(|| word - 1);
        let _ = held.fetch_update(SeqCst, SeqCst, less);
    }

    /// A fork can't be refused: what it inherits counts, over the limit too.
    pub(super) fn inherit(&self, slot: &ProcessSlot, attaches: u64) {
        let more = |held: Held| Some(Held { attaches: held.attaches + attaches, granted: held.granted + attaches, ..held });
        Held::change(&slot.attaches, more);
        let unlimited = self.layout().session_attaches.add(attaches, None);
        debug_assert!(unlimited.is_ok());
    }

    /// A process's slot is emptied: exec dropped its attaches, or it is gone. `epoch` is the total's from before that was noted.
    pub(super) fn drop_attaches(&self, slot: &ProcessSlot, epoch: Epoch) {
        let held = Held::from_u64(slot.attaches.swap(0, SeqCst));
        self.layout().session_attaches.subtract(held.granted, epoch);
    }

    /// At the process's end: gives back what it was granted and does not use; true if it has no attach. What it has goes only when
    /// the kernel takes it, after other libraries' destructors.
    pub(super) fn end_attaches(&self, slot: &ProcessSlot) -> bool {
        let epoch = self.layout().session_attaches.epoch();
        let unused = |held: Held| Some(Held { granted: held.attaches.min(held.granted), ..held });
        if let Some(before) = Held::change(&slot.attaches, unused) {
            self.layout().session_attaches.subtract(before.granted.saturating_sub(before.attaches), epoch);
        }
        Held::load(&slot.attaches).attaches == 0
    }

    /// Lowers the calling process's number to what its memory map shows, for a program that unmaps attaches by itself. The map
    /// never shows fewer than there are; while one is under way it may not show it yet: then nothing is done.
    pub(super) fn correct_mine(&self, identity: &Identity, me: &ProcessSlot) {
        let before = me.attaches.load(SeqCst);
        let held = Held::from_u64(before);
        let begun = identity.attaches_begun();
        if held.attaches == 0 || begun.is_none() {
            return;
        }
        if let Some(mapped) = liveness::attached(identity.pid())
            && mapped < held.attaches
            && identity.attaches_begun() == begun
        {
            let after = Held { attaches: mapped, ..held };
            let _ = me.attaches.compare_exchange(before, after.to_u64(), SeqCst, SeqCst);
        }
    }

    /// Takes back what processes were granted and do not use, drops what processes held before they became a program without
    /// shmgate, and makes the session's total anew; true if somebody's asking is under way.
    pub(super) fn recount_attaches(&self) -> bool {
        let mut busy = false;
        for slot in self.processes().iter().filter(|slot| is_process(slot)) {
            let word = slot.attaches.load(SeqCst);
            let held = Held::from_u64(word);
            busy |= held.asked > 0;
            let pid = slot.pid.load(SeqCst) as u32;
            if held.attaches > 0 && slot.pid_ns.load(SeqCst) == self.pid_ns && !self.is_mapped_by(pid) {
                let _ = slot.attaches.compare_exchange(word, 0, SeqCst, SeqCst);
            }
            Held::change(&slot.attaches, |held| Some(Held { granted: held.attaches.min(held.granted), ..held }));
        }
        let held = |slot: &ProcessSlot| {
            let held = Held::load(&slot.attaches);
            held.granted + held.asked
        };
        let slots = || self.processes().iter().filter(|slot| is_process(slot));
        self.layout().session_attaches.recompute(|| slots().map(held).sum());
        busy
    }

    /// False only if process `pid` certainly runs a program that has not this ledger: whatever it had attached went with exec.
    fn is_mapped_by(&self, pid: u32) -> bool {
        // Some file systems show another inode in the map: then it says nothing.
        let tells = || liveness::maps_inode(crate::sys::getpid(), self.inode) == Some(true);
        self.inode == 0 || liveness::maps_inode(pid, self.inode).unwrap_or(true) || !tells()
    }

    /// The attaches of all processes.
    pub(super) fn all_attaches(&self) -> u64 {
        self.processes().iter().filter(|slot| is_process(slot)).map(|slot| Held::load(&slot.attaches).attaches).sum()
    }

    /// The process with the most attaches, and how many.
    fn most_attached(&self) -> (u32, u64) {
        let slots = self.processes().iter().filter(|slot| is_process(slot));
        let held = slots.map(|slot| (slot.pid.load(SeqCst) as u32, Held::load(&slot.attaches).attaches));
        held.max_by_key(|&(_, attaches)| attaches).unwrap_or((0, 0))
    }
}

#[cfg(test)]
mod tests;
