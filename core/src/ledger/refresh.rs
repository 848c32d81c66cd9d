//! Making the books agree with the kernel: what killed processes, `ipcrm` and exec left in them.
//!
//! "Settle" frees the slots of what is gone, "recount" makes the totals anew from the slots. Both are safe beside any number of
//! others doing the same or using the ledger.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::SeqCst;

use super::layout::{ProcessSlot, SegmentSlot, State, StateWord};
use super::{Ledger, TOMBSTONE, is_process, liveness};
use crate::backend::Backend;

impl SegmentSlot {
    fn exists(&self, backend: &impl Backend) -> bool {
        backend.exists(self.shmid.load(SeqCst) as u32 as i32, self.size.load(SeqCst))
    }
}

impl Ledger {
    /// Frees the slots of segments that are gone, and decides about those whose creator was killed on the way.
    #[inline(never)]
    pub(super) fn settle_segments(&self, backend: &impl Backend) {
        if !self.is_in_its_namespaces(backend) {
            return;
        }
        for (at, slot) in self.segment_slots().iter().enumerate() {
            let word = slot.load();
            if !self.is_here(slot, backend) {
                continue;
            }
            match word.state {
                State::Live | State::Removed if !slot.exists(backend) => {
                    self.release(at, word);
                }
                State::Pending if self.creator_is_gone(at, word) => self.take_over(at, word, backend),
                _ => {}
            }
        }
    }

    /// False after the caller moved to other namespaces (unshare, setns): what it sees says nothing about the ledger's then.
    fn is_in_its_namespaces(&self, backend: &impl Backend) -> bool {
        (backend.number() != 0 || liveness::namespace(c"/proc/self/ns/ipc") == self.ipc_ns) && self.is_in_its_pid_namespace()
    }

    fn is_in_its_pid_namespace(&self) -> bool {
        liveness::own_namespace() == self.pid_ns
    }

    /// Frees the slots of removed segments that have gone with their last attach.
    pub(super) fn settle_removed(&self, backend: &impl Backend) {
        if !self.is_in_its_namespaces(backend) {
            return;
        }
        for (at, slot) in self.segment_slots().iter().enumerate() {
            let word = slot.load();
            if word.state == State::Removed && self.is_here(slot, backend) && !slot.exists(backend) {
                self.release(at, word);
            }
        }
    }

    fn creator_is_gone(&self, at: usize, word: StateWord) -> bool {
        let slot = &self.layout().segments[at];
        match self.layout().processes.get(slot.process.load(SeqCst) as usize) {
            Some(process) if process.pid() == word.pid => self.is_gone(process, word.pid),
            _ => !liveness::is_alive(word.pid, 0),
        }
    }

    /// True for a process of the caller's PID namespace.
    pub(super) fn is_seen(&self, slot: &ProcessSlot) -> bool {
        slot.process.load(SeqCst) == self.process(slot.pid())
    }

    fn is_gone(&self, process: &ProcessSlot, pid: u32) -> bool {
        self.is_seen(process) && !liveness::is_alive(pid, process.start.load(SeqCst))
    }

    /// Settles a slot whose creator was killed. Between the kernel's answer and its own note of it, it left a segment that is in no
    /// book: that is searched for. The slot becomes the caller's own first, so that two do not settle one.
    fn take_over(&self, at: usize, word: StateWord, backend: &impl Backend) {
        let slot = &self.layout().segments[at];
        let pid = crate::sys::getpid();
        let mine = StateWord { state: State::Pending, generation: word.generation.wrapping_add(1), pid };
        if !slot.advance(word, mine) {
            return;
        }
        let mut found = None;
        backend.created_by(word.pid, slot.size.load(SeqCst), &mut |shmid| {
            let known = self.segment_slots().iter().any(|other| {
                matches!(other.load().state, State::Live | State::Removed)
                    && other.shmid.load(SeqCst) == u64::from(shmid as u32)
                    && self.is_here(other, backend)
            });
            if !known {
                found = Some(shmid);
            }
            !known
        });
        match found {
            Some(shmid) => {
                slot.shmid.store(u64::from(shmid as u32), SeqCst);
                slot.advance(mine, mine.with(State::Live));
                self.by_shmid(shmid).store(at as u64, SeqCst);
            }
            // What it may have added to the totals goes when they are made anew.
            None => {
                slot.advance(mine, mine.with(State::Free));
            }
        }
    }

    /// Frees the slots of processes that are gone.
    #[inline(never)]
    pub(super) fn settle_processes(&self) {
        if !self.is_in_its_pid_namespace() {
            return;
        }
        for slot in self.processes() {
            let process = slot.process.load(SeqCst);
            if is_process(slot) && self.is_gone(slot, process as u32) {
                self.retire(slot, process);
            }
        }
    }

    /// Frees a process's slot, if nobody else does.
    pub(super) fn retire(&self, slot: &ProcessSlot, process: u64) {
        // Before the slot is gone from the sums.
        let epoch = self.layout().session_attaches.epoch();
        if slot.process.compare_exchange(process, TOMBSTONE, SeqCst, SeqCst).is_err() {
            return;
        }
        self.drop_attaches(slot, epoch);
        slot.usage.pages.clear();
        slot.usage.segments.clear();
        slot.start.store(0, SeqCst);
        slot.process.store(0, SeqCst);
    }

    /// Makes the totals of the session and of process slot `at` anew; true if calls that may give room back are under way.
    pub(super) fn recount_segments(&self, at: usize, process: &ProcessSlot) -> bool {
        let pid = process.pid();
        let sum = |of: &dyn Fn(usize) -> u64, mine: bool| {
            let slots = self.segment_slots().iter().enumerate();
            let counted = slots.filter(|(_, slot)| {
                let word = slot.load();
                word.state != State::Free && (!mine || (word.pid == pid && slot.process.load(SeqCst) == at as u64))
            });
            counted.fold(0_u64, |sum, (index, _)| sum.saturating_add(of(index)))
        };
        let pages = |index: usize| self.layout().segments[index].pages.load(SeqCst);
        let session = &self.layout().session;
        session.pages.recompute(|| sum(&pages, false));
        session.segments.recompute(|| sum(&|_| 1, false));
        process.usage.pages.recompute(|| sum(&pages, true));
        process.usage.segments.recompute(|| sum(&|_| 1, true));
        self.segment_slots().iter().any(|slot| slot.load().state == State::Pending)
    }

    /// Makes all of the session's totals anew.
    pub(super) fn recount_session(&self) {
        let session = &self.layout().session;
        let counted = || self.segment_slots().iter().filter(|slot| slot.load().state != State::Free);
        session.pages.recompute(|| counted().fold(0, |sum: u64, slot| sum.saturating_add(slot.pages.load(SeqCst))));
        session.segments.recompute(|| counted().count() as u64);
        self.drop_lost_attaches();
    }

    /// The process whose segments hold most of what `amount` measures, and how much.
    #[cold]
    #[inline(never)]
    pub(super) fn largest_creator(&self, amount: impl Fn(&super::SegmentSlot) -> u64) -> (u32, u64) {
        // More creators than this at a time, and the largest may be missed: it is a hint for people.
        let mut sums = [(0_u32, 0_u64); 16];
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
