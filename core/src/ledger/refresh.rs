//! Making the books agree with the kernel: what killed processes, `ipcrm` and exec left in them.
//!
//! "Settle" frees the slots of what is gone, "recount" makes the totals anew from the slots. Both are safe beside any number of
//! others doing the same or using the ledger.

use core::sync::atomic::Ordering::SeqCst;

use super::layout::{ProcessSlot, State, StateWord};
use super::{Ledger, TOMBSTONE, is_process, liveness};
use crate::backend::Backend;

impl Ledger {
    /// Frees the slots of segments that are gone, and decides about those whose creator was killed on the way.
    pub(super) fn settle_segments(&self, backend: &impl Backend) {
        for (at, slot) in self.segment_slots().iter().enumerate() {
            let word = slot.load();
            let here = slot.ipc_ns.load(SeqCst) == self.ipc_ns;
            match word.state {
                State::Live | State::Removed if here && !backend.exists(slot.shmid.load(SeqCst) as u32 as i32) => {
                    self.release(at, word);
                }
                State::Pending | State::Releasing
                    if self.creator_is_gone(at, word)
                        && !(word.state == State::Pending && here && self.adopt(at, word, backend)) =>
                {
                    slot.pages.store(0, SeqCst);
                    slot.advance(word, word.with(State::Free));
                }
                _ => {}
            }
        }
    }

    /// Frees the slots of removed segments that have gone with their last attach.
    pub(super) fn settle_removed(&self, backend: &impl Backend) {
        for (at, slot) in self.segment_slots().iter().enumerate() {
            let word = slot.load();
            if word.state == State::Removed
                && slot.ipc_ns.load(SeqCst) == self.ipc_ns
                && !backend.exists(slot.shmid.load(SeqCst) as u32 as i32)
            {
                self.release(at, word);
            }
        }
    }

    fn creator_is_gone(&self, at: usize, word: StateWord) -> bool {
        let slot = &self.layout().segments[at];
        match self.layout().processes.get(slot.process.load(SeqCst) as usize) {
            Some(process) if process.pid.load(SeqCst) == u64::from(word.pid) => self.is_gone(process, word.pid),
            _ => !liveness::is_alive(word.pid, 0),
        }
    }

    fn is_gone(&self, process: &ProcessSlot, pid: u32) -> bool {
        process.pid_ns.load(SeqCst) == self.pid_ns && !liveness::is_alive(pid, process.start.load(SeqCst))
    }

    /// A creator killed between the kernel's answer and its own note of it left a segment that is in no book: finds it.
    fn adopt(&self, at: usize, word: StateWord, backend: &impl Backend) -> bool {
        let slot = &self.layout().segments[at];
        let mut adopted = false;
        backend.created_by(word.pid, slot.size.load(SeqCst), &mut |shmid| {
            let known = self.segment_slots().iter().any(|other| {
                matches!(other.load().state, State::Live | State::Removed)
                    && other.shmid.load(SeqCst) == u64::from(shmid as u32)
                    && other.ipc_ns.load(SeqCst) == self.ipc_ns
            });
            if !known {
                slot.shmid.store(u64::from(shmid as u32), SeqCst);
                adopted = slot.advance(word, word.with(State::Live));
                self.by_shmid(shmid).store(at as u64, SeqCst);
            }
            !known
        });
        adopted
    }

    /// Frees the slots of processes that are gone.
    pub(super) fn settle_processes(&self) {
        for slot in self.processes() {
            let pid = slot.pid.load(SeqCst);
            if is_process(slot) && self.is_gone(slot, pid as u32) {
                self.retire(slot, pid as u32);
            }
        }
    }

    /// Frees a process's slot, if nobody else does.
    pub(super) fn retire(&self, slot: &ProcessSlot, pid: u32) {
        if slot.pid.compare_exchange(pid.into(), TOMBSTONE, SeqCst, SeqCst).is_err() {
            return;
        }
        self.drop_attaches(slot);
        slot.usage.pages.clear();
        slot.usage.segments.clear();
        slot.start.store(0, SeqCst);
        slot.pid.store(0, SeqCst);
    }

    /// Makes the totals of the session and of process slot `at` anew; true if calls that may give room back are under way.
    pub(super) fn recount_segments(&self, at: usize, process: &ProcessSlot) -> bool {
        let pid = process.pid.load(SeqCst) as u32;
        let sum = |of: &dyn Fn(usize) -> u64, mine: bool| {
            let slots = self.segment_slots().iter().enumerate();
            let counted = slots.filter(|(_, slot)| {
                let word = slot.load();
                word.state != State::Free && (!mine || (word.pid == pid && slot.process.load(SeqCst) == at as u64))
            });
            Some(counted.fold(0_u64, |sum, (index, _)| sum.saturating_add(of(index))))
        };
        let pages = |index: usize| self.layout().segments[index].pages.load(SeqCst);
        let session = &self.layout().session;
        session.pages.recompute(|| sum(&pages, false));
        session.segments.recompute(|| sum(&|_| 1, false));
        process.usage.pages.recompute(|| sum(&pages, true));
        process.usage.segments.recompute(|| sum(&|_| 1, true));
        self.segment_slots().iter().any(|slot| matches!(slot.load().state, State::Pending | State::Releasing))
    }

    /// Makes all of the session's totals anew.
    pub(super) fn recount_session(&self) {
        let session = &self.layout().session;
        let counted = || self.segment_slots().iter().filter(|slot| slot.load().state != State::Free);
        session.pages.recompute(|| Some(counted().fold(0, |sum: u64, slot| sum.saturating_add(slot.pages.load(SeqCst)))));
        session.segments.recompute(|| Some(counted().count() as u64));
        self.recount_attaches();
    }

    /// The process whose segments hold most of what `amount` measures, and how much.
    pub(super) fn largest_creator(&self, amount: impl Fn(&super::SegmentSlot) -> u64) -> (u32, u64) {
        // More creators than this at a time, and the largest may be missed: it is a hint for people.
        let mut sums = [(0_u32, 0_u64); 64];
        for slot in self.segment_slots() {
            let word = slot.load();
            if word.state == State::Free {
                continue;
            }
            if let Some(entry) = sums.iter_mut().find(|(pid, _)| *pid == word.pid || *pid == 0) {
                *entry = (word.pid, entry.1.saturating_add(amount(slot)));
            }
        }
        sums.into_iter().max_by_key(|&(_, sum)| sum).unwrap_or((0, 0))
    }
}
