//! The session's grants of attaches to its processes, and how what is not used of them is taken back; [`super::attach`] tells why
//! that takes two steps.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;

use super::layout::ProcessSlot;
use super::{Ledger, is_process};
use crate::call::Reason;
use crate::identity::Identity;
use crate::policy::Policy;
use crate::sys::{self, Fences};

/// What a process is granted at a time.
const GRANT: u64 = 16;
/// Processes from which a grant is taken back behind one fence: they are noted on the host's stack.
const AT_A_TIME: usize = 16;

/// A process's grant, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// Attaches it may have; counted by the session.
    pub granted: u64,
    /// Asked for, and not yet known to be granted: seen by those who make the session's total anew.
    pub asked: u64,
    /// Being taken back, and not yet known to be unused: counted too.
    pub taking: u64,
    /// Raised with each taking back.
    pub version: u64,
    /// Its first thread goes without fences.
    pub unfenced: bool,
}

// A word: granted, asked, taking, version, unfenced.
const GRANTED: u64 = (1 << 22) - 1;
const ASKED: u64 = (1 << 16) - 1;
const TAKING: u64 = (1 << 14) - 1;
const VERSION: u64 = (1 << 11) - 1;

impl Grant {
    pub(super) fn from_u64(word: u64) -> Grant {
        Grant {
            granted: word & GRANTED,
            asked: word >> 22 & ASKED,
            taking: word >> 38 & TAKING,
            version: word >> 52 & VERSION,
            unfenced: word >> 63 != 0,
        }
    }

    pub(super) fn to_u64(self) -> u64 {
        self.granted.min(GRANTED)
            | self.asked.min(ASKED) << 22
            | self.taking.min(TAKING) << 38
            | (self.version & VERSION) << 52
            | u64::from(self.unfenced) << 63
    }

    /// What the session's total has to have for it.
    pub(super) fn counted(self) -> u64 {
        self.granted + self.asked + self.taking
    }

    pub(super) fn load(slot: &ProcessSlot) -> Grant {
        Grant::from_u64(slot.grant.load(SeqCst))
    }

    /// Changes a slot's grant to what `next` makes of it; gives what it was.
    pub(super) fn change(slot: &ProcessSlot, next: impl Fn(Grant) -> Grant) -> Grant {
        let change = |now| Some(next(Grant::from_u64(now)).to_u64());
        Grant::from_u64(slot.grant.fetch_update(SeqCst, SeqCst, change).unwrap_or_else(|now| now))
    }
}

impl Ledger {
    /// Asks the session for more; the asking is seen before the session's total has it, so that the total is never too low.
    #[inline(never)]
    pub(super) fn ask_grant(&self, me: &ProcessSlot, policy: &Policy) -> Result<(), (Reason, u64, u64)> {
        let total = &self.layout().session_attaches;
        let limit = policy.session.attaches;
        let mut refused = 0;
        for amount in [GRANT, 1] {
            Grant::change(me, |grant| Grant { asked: grant.asked + amount, ..grant });
            let granted = total.add(amount, limit);
            Grant::change(me, |grant| {
                let asked = grant.asked.saturating_sub(amount);
                Grant { asked, granted: grant.granted + if granted.is_ok() { amount } else { 0 }, ..grant }
            });
            match granted {
                Ok(()) => return Ok(()),
                Err(used) => refused = used,
            }
        }
        Err((Reason::SessionAttaches, refused, limit.unwrap_or(0)))
    }

    /// Makes the session's total anew, with what processes were granted and do not use taken back.
    #[inline(never)]
    pub(super) fn recount_attaches(&self, identity: &Identity) {
        self.drop_lost_attaches();
        let slots = || self.processes().iter().filter(|slot| is_process(slot));
        self.take_back(identity, slots());
        self.layout()
            .session_attaches
            .recompute(|| slots().map(|slot| Grant::load(slot).counted()).fold(0, u64::saturating_add));
    }

    /// Takes back what processes were granted and do not use.
    pub(super) fn take_back<'a>(&self, identity: &Identity, mut slots: impl Iterator<Item = &'a ProcessSlot>) {
        let mine = self.known_mine(identity).map(|(_, slot)| core::ptr::from_ref(slot));
        let can_fence = sys::can_fence();
        loop {
            let mut lowered = [const { None }; AT_A_TIME];
            let mut whose = None;
            // What somebody else was killed at has to be finished, too.
            let unfinished = slots.by_ref().filter_map(|slot| Some((slot, lower(slot, can_fence)?)));
            for (place, (slot, grant)) in lowered.iter_mut().zip(unfinished) {
                if grant.unfenced {
                    let is_mine = mine == Some(core::ptr::from_ref(slot));
                    whose = if is_mine && whose != Some(Fences::All) { Some(Fences::Mine) } else { Some(Fences::All) };
                }
                *place = Some((slot, grant.version));
            }
            if let Some(whose) = whose {
                sys::fence(whose);
            }
            for &(slot, version) in lowered.iter().flatten() {
                finish(slot, version);
            }
            if lowered[AT_A_TIME - 1].is_none() {
                return;
            }
        }
    }
}

/// Lowers a grant to what is used of it, as far as can be seen without a fence; gives what is then to be finished, if anything is.
fn lower(slot: &ProcessSlot, can_fence: bool) -> Option<Grant> {
    // A process that relies on being fenced keeps what it has where that can't be done.
    if Grant::load(slot).unfenced && !can_fence {
        return None;
    }
    let attaches = slot.attaches();
    Grant::change(slot, |grant| {
        let unused = grant.granted.saturating_sub(attaches).min(TAKING - grant.taking);
        let version = grant.version + u64::from(unused > 0);
        Grant { granted: grant.granted - unused, taking: grant.taking + unused, version, ..grant }
    });
    Some(Grant::load(slot)).filter(|grant| grant.taking > 0)
}

/// After the fence it is certain what is used: the rest is nobody's any more. A later taking back has its own fence to wait for.
fn finish(slot: &ProcessSlot, version: u64) {
    let attaches = slot.attaches();
    Grant::change(slot, |grant| {
        // What is asked for and not yet refused is in the number: never more than was granted.
        let used = attaches.saturating_sub(grant.granted).min(grant.taking);
        let taking = if grant.version == version { 0 } else { grant.taking - used };
        Grant { granted: grant.granted + used, taking, ..grant }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(attaches: u64, version: u64) -> (u64, u64) {
        let ledger = Ledger::unshared().unwrap();
        let slot = &ledger.layout().processes[0];
        slot.rest.store(attaches, SeqCst);
        slot.grant.store(Grant { granted: 3, taking: 3, version: 1, ..Grant::default() }.to_u64(), SeqCst);
        finish(slot, version);
        let grant = Grant::load(slot);
        (grant.granted, grant.taking)
    }

    #[test]
    fn a_taking_back_leaves_what_is_used_and_no_more_than_was_granted() {
        assert_eq!(finished(2, 1), (3, 0));
        assert_eq!(finished(5, 1), (5, 0));
        // Threads that ask are counted before they are refused.
        assert_eq!(finished(9, 1), (6, 0));
    }

    #[test]
    fn a_later_taking_back_is_left_to_its_own_fence() {
        assert_eq!(finished(2, 0), (3, 3));
        assert_eq!(finished(5, 0), (5, 1));
        assert_eq!(finished(9, 0), (6, 0));
    }
}
