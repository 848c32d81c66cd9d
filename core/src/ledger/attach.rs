//! Attaches: counted a process, on credit of the session.
//!
//! A process's slot holds how many attaches it has, and how many the session has granted it; the session's total counts what
//! is granted. So the common attach and detach touch only the process's own slot. When the session's limit is reached, what
//! processes were granted and do not use is taken back.
//!
//! Whoever attaches first counts itself, then looks whether that was granted; whoever takes back first lowers the grant, then
//! looks what is used, and only then lets go of the rest ([`super::grant`]). One of the two sees the other, if both order their
//! steps by a fence. A fence costs 20 to 50 ns beside a system call (measured), twice per attach and detach: the process's first
//! thread goes without as long as it is alone, and whoever takes back, or comes as the second thread, has the kernel fence it
//! instead (membarrier). That takes 10 ms where it is another process's, and happens only when the session's limit is reached
//! and that process has a grant it does not use.

#![forbid(unsafe_code)]

use core::hint::cold_path;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::grant::Grant;
use super::layout::{PROCESSES, ProcessSlot};
use super::tally::Epoch;
use super::{Ledger, is_process, liveness, no_room};
use crate::atomic::{add, fence};
use crate::backend::Backend;
use crate::call::{Denial, Reason};
use crate::errno::Errno;
use crate::identity::{Identity, Me};
use crate::policy::Policy;
use crate::sys;

const MINUS_ONE: u64 = u64::MAX;

impl ProcessSlot {
    /// The pid of the process, as that has it.
    #[inline]
    pub(super) fn pid(&self) -> u32 {
        self.process.load(SeqCst) as u32
    }

    /// How many attaches the process has, or is about to make.
    #[inline]
    pub(super) fn attaches(&self) -> u64 {
        let sum = self.own.load(SeqCst).wrapping_add(self.rest.load(SeqCst));
        // A detach of what was attached before our time must not make it many.
        u64::try_from(sum as i64).unwrap_or(0)
    }

    /// Forgets all attaches.
    fn clear_attaches(&self) {
        self.own.store(0, SeqCst);
        self.rest.store(0, SeqCst);
    }
}

impl Ledger {
    /// Asks for an attach, to be settled with the slot that this gives. `None` where the ledger has no room for the process, and no quota asks for its books.
    ///
    /// # Errors
    /// The denial, once the books are right. With `policy.dry_run` there is none: the second value says what it would be.
    pub fn reserve_attach(
        &self,
        identity: &Identity,
        thread: Me<'_>,
        backend: &impl Backend,
        policy: &Policy,
    ) -> Result<(Option<&ProcessSlot>, Option<Denial>), Denial> {
        let Some((_, me)) = self.mine(identity, backend) else { return no_room(policy, Errno::EMFILE, PROCESSES) };
        thread.set_attaching(true);
        if self.take_attach(identity, thread, me, policy).is_ok() {
            return Ok((Some(me), None));
        }
        thread.set_attaching(false);
        self.reserve_attach_patiently(identity, thread, backend, policy, me)
    }

    /// Asks for an attach as the books are, right or not, and only if there is credit for it; `None` leaves it to
    /// [`Ledger::reserve_attach`].
    #[inline(always)]
    pub fn reserve_quickly(&self, identity: &Identity, thread: Me<'_>, policy: &Policy) -> Option<&ProcessSlot> {
        let (_, me) = self.known_mine(identity)?;
        thread.set_attaching(true);
        if self.take(identity, thread, me, policy) {
            return Some(me);
        }
        thread.set_attaching(false);
        None
    }

    /// The attach that [`Ledger::reserve_attach`] or [`Ledger::reserve_quickly`] gave `me` for came about, or not.
    #[inline(always)]
    pub fn settle(&self, identity: &Identity, thread: Me<'_>, backend: &impl Backend, me: &ProcessSlot, attached: bool) {
        if attached && me.pid() == identity.pid() {
            thread.set_attaching(false);
        } else {
            cold_path();
            self.settle_otherwise(identity, thread, backend, me, attached);
        }
    }

    /// Of a call that a handler forked out of the child only goes on with the end: what had begun is its parent's.
    #[inline(never)]
    fn settle_otherwise(&self, identity: &Identity, thread: Me<'_>, backend: &impl Backend, me: &ProcessSlot, attached: bool) {
        if me.pid() == identity.pid() {
            self.end_detach(identity, thread, me, true);
        } else if attached && let Some((_, mine)) = self.mine(identity, backend) {
            // It may have been counted with what the child inherited: rather too many than too few.
            self.inherit(mine, 1);
        }
    }

    #[inline(never)]
    fn reserve_attach_patiently<'a>(
        &self,
        identity: &Identity,
        thread: Me<'_>,
        backend: &impl Backend,
        policy: &Policy,
        me: &'a ProcessSlot,
    ) -> Result<(Option<&'a ProcessSlot>, Option<Denial>), Denial> {
        self.settle_processes();
        self.correct_mine(identity, me, backend);
        let (reason, used, limit) = match self.take_patiently(identity, thread, me, policy) {
            Ok(()) => return Ok((Some(me), None)),
            Err(refused) => refused,
        };
        let denial = Denial { reason, errno: Errno::EMFILE, asked: 1, used, limit, holder: self.most_attached() };
        if !policy.dry_run {
            return Err(denial);
        }
        thread.set_attaching(true);
        self.inherit(me, 1);
        Ok((Some(me), Some(denial)))
    }

    /// Asks with the books made right, and again as long as there may be room that others only ask for: who is refused counts for a moment,
    /// and two who take each other for it must not both be.
    fn take_patiently(
        &self,
        identity: &Identity,
        thread: Me<'_>,
        me: &ProcessSlot,
        policy: &Policy,
    ) -> Result<(), (Reason, u64, u64)> {
        let mut refused = (Reason::SessionAttaches, 0, 0);
        for _ in 0..super::PATIENCE {
            self.recount_attaches(identity);
            thread.set_attaching(true);
            match self.take_attach(identity, thread, me, policy) {
                Ok(()) => return Ok(()),
                Err(reason) => refused = reason,
            }
            thread.set_attaching(false);
            let is_used_up = match refused {
                // No other thread is at an attach, and may yet be refused.
                (Reason::ProcessAttaches, ..) => identity.attaches_begun().is_some(),
                (_, _, limit) => self.used_attaches() >= limit,
            };
            if is_used_up {
                break;
            }
            sys::yield_now();
        }
        Err(refused)
    }

    /// Counts an attach, if it is granted and within the process's quota.
    #[inline(always)]
    fn take(&self, identity: &Identity, thread: Me<'_>, me: &ProcessSlot, policy: &Policy) -> bool {
        self.count(identity, thread, me, 1);
        let attaches = me.attaches();
        let taken = attaches <= Grant::load(me).granted && within(policy, attaches) && !self.is_over(policy);
        if !taken {
            cold_path();
            self.uncount(identity, thread, me);
        }
        taken
    }

    /// True if forks, or a dry run, have granted more than there is: then a grant is no right to an attach.
    #[inline(always)]
    fn is_over(&self, policy: &Policy) -> bool {
        policy.session.attaches.is_some_and(|limit| self.layout().session_attaches.get() > limit)
    }

    #[inline(always)]
    fn uncount(&self, identity: &Identity, thread: Me<'_>, me: &ProcessSlot) {
        self.count(identity, thread, me, MINUS_ONE);
        // A handler has forked on the way here: the parent does that, too.
        if me.pid() != identity.pid() {
            cold_path();
            me.rest.fetch_add(1, SeqCst);
        }
    }

    /// Adds to the process's attaches, before anything that the caller does next.
    #[inline(always)]
    fn count(&self, identity: &Identity, thread: Me<'_>, me: &ProcessSlot, attaches: u64) {
        if identity.is_first(thread) && self.unfenced.load(Relaxed) {
            add(&me.own, attaches);
            if !identity.is_alone() {
                cold_path();
                fence(SeqCst);
            }
        } else {
            cold_path();
            me.rest.fetch_add(attaches, SeqCst);
        }
    }

    fn take_attach(
        &self,
        identity: &Identity,
        thread: Me<'_>,
        me: &ProcessSlot,
        policy: &Policy,
    ) -> Result<(), (Reason, u64, u64)> {
        // Bounded, as a damaged slot may never have enough.
        for _ in 0..super::PATIENCE {
            if self.take(identity, thread, me, policy) {
                return Ok(());
            }
            let attaches = me.attaches();
            if !within(policy, attaches + 1) {
                return Err((Reason::ProcessAttaches, attaches, policy.process.attaches.unwrap_or(0)));
            }
            if attaches >= Grant::load(me).granted || self.is_over(policy) {
                self.ask_grant(me, policy)?;
            }
        }
        Err((Reason::SessionAttaches, self.layout().session_attaches.get(), policy.session.attaches.unwrap_or(0)))
    }

    /// A process has just got its slot: finds out whether its first thread can go without fences.
    pub(super) fn go_unfenced(&self, identity: &Identity, me: &ProcessSlot) {
        identity.announce_threads();
        let unfenced = sys::prepare_fences();
        Grant::change(me, |grant| Grant { unfenced, ..grant });
        self.unfenced.store(unfenced, SeqCst);
    }

    /// A detach begins: the process has to be in the books with what it has, before it has less. `None`, and nothing has begun, if they are full.
    pub fn begin_detach(&self, identity: &Identity, thread: Me<'_>, backend: &impl Backend) -> Option<&ProcessSlot> {
        let (_, slot) = self.mine(identity, backend)?;
        thread.set_attaching(true);
        Some(slot)
    }

    /// As [`Ledger::begin_detach`] for a process that is in the books; `None`, and nothing has begun, for others.
    #[inline(always)]
    pub fn begin_detach_quickly(&self, identity: &Identity, thread: Me<'_>) -> Option<&ProcessSlot> {
        let (_, slot) = self.known_mine(identity)?;
        thread.set_attaching(true);
        Some(slot)
    }

    /// The detach that [`Ledger::begin_detach`] or [`Ledger::begin_detach_quickly`] gave `me` for came about, or not.
    #[inline(always)]
    pub fn end_detach(&self, identity: &Identity, thread: Me<'_>, me: &ProcessSlot, detached: bool) {
        // A child of a handler's fork is not who began.
        if me.pid() != identity.pid() {
            return cold_path();
        }
        if detached {
            self.give_back(identity, thread, me);
        }
        thread.set_attaching(false);
    }

    /// Nothing happens for an attach from before our time.
    #[inline(always)]
    fn give_back(&self, identity: &Identity, thread: Me<'_>, me: &ProcessSlot) {
        if me.attaches() > 0 {
            self.uncount(identity, thread, me);
        }
    }

    /// A fork can't be refused: what it inherits counts, over the limit too.
    pub(super) fn inherit(&self, slot: &ProcessSlot, attaches: u64) {
        Grant::change(slot, |grant| Grant { granted: grant.granted + attaches, ..grant });
        slot.rest.fetch_add(attaches, SeqCst);
        let unlimited = self.layout().session_attaches.add(attaches, None);
        debug_assert!(unlimited.is_ok());
    }

    /// A process's slot is emptied: exec dropped its attaches, or it is gone. `epoch` is the total's from before that was noted.
    pub(super) fn drop_attaches(&self, slot: &ProcessSlot, epoch: Epoch) {
        slot.clear_attaches();
        let grant = Grant::from_u64(slot.grant.swap(0, SeqCst));
        self.layout().session_attaches.subtract(grant.granted, epoch);
    }

    /// At the process's end: gives back what it was granted and does not use; true if it has no attach. What it has goes only when
    /// the kernel takes it, after other libraries' destructors.
    pub(super) fn end_attaches(&self, identity: &Identity, slot: &ProcessSlot) -> bool {
        let epoch = self.layout().session_attaches.epoch();
        let before = Grant::load(slot);
        if before.granted > slot.attaches() {
            self.take_back(identity, [slot].into_iter());
            let left = Grant::load(slot).granted;
            self.layout().session_attaches.subtract(before.granted.saturating_sub(left), epoch);
        }
        slot.attaches() == 0
    }

    /// Lowers the calling process's number to what the backend sees (the kernel's, its memory map), for a program that unmaps attaches
    /// by itself. There are never fewer than that; one under way may not be seen yet: then nothing is done.
    pub(super) fn correct_mine(&self, identity: &Identity, me: &ProcessSlot, backend: &impl Backend) {
        // First: what another thread asks for and is refused is in the number for a moment.
        let begun = identity.attaches_begun();
        let rest = me.rest.load(SeqCst);
        let attaches = me.attaches();
        if attaches == 0 || begun.is_none() {
            return;
        }
        if let Some(mapped) = backend.attached(identity.pid())
            && mapped < attaches
            && identity.attaches_begun() == begun
            && me.pid() == identity.pid()
        {
            let less = rest.wrapping_sub(attaches - mapped);
            let _ = me.rest.compare_exchange(rest, less, SeqCst, SeqCst);
        }
    }

    /// Drops what processes held before they became a program without shmgate.
    pub(super) fn drop_lost_attaches(&self) {
        for slot in self.processes().iter().filter(|slot| is_process(slot)) {
            let (own, rest) = (slot.own.load(SeqCst), slot.rest.load(SeqCst));
            if slot.attaches() > 0 && self.is_seen(slot) && !self.is_mapped_by(slot.pid()) {
                let _ = slot.rest.compare_exchange(rest, own.wrapping_neg(), SeqCst, SeqCst);
            }
        }
    }

    /// False only if process `pid` certainly runs a program that has not this ledger: whatever it had attached went with exec.
    fn is_mapped_by(&self, pid: u32) -> bool {
        // Some file systems show another inode in the map: then it says nothing.
        let tells = || liveness::maps_inode(crate::sys::getpid(), self.inode) == Some(true);
        self.inode == 0 || liveness::maps_inode(pid, self.inode).unwrap_or(true) || !tells()
    }

    /// The attaches of all processes.
    pub(super) fn all_attaches(&self) -> u64 {
        self.processes().iter().filter(|slot| is_process(slot)).map(|slot| slot.attaches()).fold(0, u64::saturating_add)
    }

    /// The attaches that processes have for certain: what is beyond their grants is only asked for.
    fn used_attaches(&self) -> u64 {
        let used = |slot: &ProcessSlot| slot.attaches().min(Grant::load(slot).granted);
        self.processes().iter().filter(|slot| is_process(slot)).map(used).fold(0, u64::saturating_add)
    }

    /// The process with the most attaches, and how many.
    fn most_attached(&self) -> (u32, u64) {
        let slots = self.processes().iter().filter(|slot| is_process(slot));
        let held = slots.map(|slot| (slot.pid(), slot.attaches()));
        held.max_by_key(|&(_, attaches)| attaches).unwrap_or((0, 0))
    }
}

/// True if a process may have so many by its own quota.
#[inline]
fn within(policy: &Policy, attaches: u64) -> bool {
    policy.process.attaches.is_none_or(|limit| attaches <= limit)
}

#[cfg(test)]
mod orders;
#[cfg(test)]
mod tests;
