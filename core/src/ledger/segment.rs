//! Segments: reserved before the backend is asked to create one, committed or cancelled afterwards.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::layout::{SEGMENTS, SegmentSlot, State, StateWord, USERSPACE};
use super::{Ledger, PATIENCE, no_room, tally};
use crate::atomic::AtomicU64;
use crate::backend::Backend;
use crate::call::{Denial, Reason};
use crate::errno::Errno;
use crate::identity::Identity;
use crate::policy::{Policy, Quota};
use crate::sys;

/// A segment that may be created: to be committed or cancelled.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    pub(super) slot: usize,
    word: StateWord,
}

/// One counted thing, the amount of it, and up to where it may go.
struct Charge<'a> {
    tally: &'a tally::Tally,
    amount: u64,
    limit: Option<u64>,
    reason: Reason,
}

impl Ledger {
    /// How many pages a segment of `size` bytes takes, made with these shmget flags.
    pub fn pages(&self, size: u64, flags: i32) -> u64 {
        let page = if flags & libc::SHM_HUGETLB == 0 {
            self.page_size
        } else {
            match crate::names::huge_page_log2(flags) {
                // The default size of most machines; an exact answer would cost a look into /proc/meminfo each time.
                0 => 2 << 20,
                // No machine has pages beyond 16 GiB: the kernel will say so.
                35.. => self.page_size,
                log2 => 1 << log2,
            }
        };
        size.div_ceil(page).saturating_mul(page / self.page_size)
    }

    /// Asks for a new segment of `size` bytes in `pages` pages. `None` where the ledger is full, and no quota asks for its books.
    ///
    /// # Errors
    /// The denial, once the books agree with the kernel. With `policy.dry_run` there is none: the second value says what it would be.
    pub fn reserve_segment(
        &self,
        identity: &Identity,
        backend: &impl Backend,
        policy: &Policy,
        (key, size, pages): (i32, u64, u64),
    ) -> Result<(Option<Reservation>, Option<Denial>), Denial> {
        let full = || no_room(policy, Errno::ENOSPC, SEGMENTS);
        let Some((process, me)) = self.mine(identity, backend) else { return full() };
        let in_pages = |bytes: Option<u64>| bytes.map(|bytes| bytes / self.page_size);
        let charges = |limits: bool| {
            let of = |quota: &Quota| if limits { *quota } else { Quota::default() };
            let (mine, all) = (of(&policy.process), of(&policy.session));
            let session = &self.layout().session;
            let charge = |tally, amount, limit, reason| Charge { tally, amount, limit, reason };
            [
                charge(&me.usage.pages, pages, in_pages(mine.bytes), Reason::ProcessBytes),
                charge(&me.usage.segments, 1, mine.segments, Reason::ProcessSegments),
                charge(&session.pages, pages, in_pages(all.bytes), Reason::SessionBytes),
                charge(&session.segments, 1, all.segments, Reason::SessionSegments),
            ]
        };
        let claim = || self.claim_segment(backend, identity.pid(), process, (key, size, pages));
        let mut denial = None;
        for attempt in 0..PATIENCE {
            let Some(reservation) = claim() else { return full() };
            let Err(refused) = add_all(&charges(true)) else { return Ok((Some(reservation), None)) };
            // Not counted itself, the reservation must not be seen while the sums are made.
            self.cancel_uncounted(reservation);
            denial = Some(refused);
            match attempt {
                // Mostly there is room behind these, and asking about all takes long where they are many.
                0 => self.settle_removed(backend),
                1 => self.settle_segments(backend),
                _ => {}
            }
            let busy = self.recount_segments(process, me);
            // One more try after the books are right; further ones only as long as somebody may still give back.
            if attempt > 1 && !busy {
                break;
            }
            if attempt > 1 {
                sys::yield_now();
            }
        }
        let (reason, used, limit) = denial.unwrap_or((Reason::SessionBytes, 0, 0));
        let unit = |pages: u64| pages.saturating_mul(self.page_size);
        let denial = match reason {
            Reason::ProcessBytes | Reason::SessionBytes => Denial {
                reason,
                errno: Errno::ENOSPC,
                asked: unit(pages),
                used: unit(used),
                limit: if reason == Reason::ProcessBytes { policy.process.bytes } else { policy.session.bytes }.unwrap_or(0),
                holder: self.largest_creator(|slot| unit(slot.pages.load(Relaxed))),
            },
            _ => Denial { reason, errno: Errno::ENOSPC, asked: 1, used, limit, holder: self.largest_creator(|_| 1) },
        };
        if !policy.dry_run {
            return Err(denial);
        }
        let Some(reservation) = claim() else { return full() };
        let _ = add_all(&charges(false));
        Ok((Some(reservation), Some(denial)))
    }

    /// The segment was created.
    pub fn commit(&self, reservation: Reservation, shmid: i32) {
        let slot = &self.layout().segments[reservation.slot];
        slot.shmid.store(u64::from(shmid as u32), SeqCst);
        slot.advance(reservation.word, reservation.word.with(State::Live));
        self.by_shmid(shmid).store(reservation.slot as u64, SeqCst);
    }

    /// Where the slot of a segment was noted last: a hint, since other namespaces have the same ids.
    pub(super) fn by_shmid(&self, shmid: i32) -> &AtomicU64 {
        // The lower 15 bits of an id are its index, which no two segments of a namespace share.
        &self.layout().slot_of_index[shmid as usize % SEGMENTS]
    }

    /// True if the slot's id means its segment to the caller.
    pub(super) fn is_here(&self, slot: &SegmentSlot, backend: &impl Backend) -> bool {
        let place = slot.ipc_ns.load(SeqCst);
        // The first one of a process, before it knew that the kernel has none to offer, says where the process is.
        place == self.ipc_ns || place == USERSPACE && backend.number() != 0
    }

    /// The segment was not created.
    pub fn cancel(&self, reservation: Reservation) {
        self.release(reservation.slot, reservation.word);
    }

    /// IPC_RMID succeeded: the segment goes with its last attach, and is looked at first when room is needed.
    pub fn removed(&self, shmid: i32, backend: &impl Backend) {
        let Some(slot) = self.layout().segments.get(self.by_shmid(shmid).load(SeqCst) as usize) else { return };
        let word = slot.load();
        if word.state == State::Live && slot.shmid.load(SeqCst) == u64::from(shmid as u32) && self.is_here(slot, backend) {
            slot.advance(word, word.with(State::Removed));
        }
    }

    /// Takes a free slot. The table is used up to a round number before the slots of removed segments are looked at: asking the
    /// kernel about each is cheap in bulk, and mostly they are gone.
    pub(super) fn claim_segment(
        &self,
        backend: &impl Backend,
        pid: u32,
        process: usize,
        (key, size, pages): (i32, u64, u64),
    ) -> Option<Reservation> {
        let layout = self.layout();
        let take = |mut range: core::ops::Range<usize>| {
            range.find_map(|at| {
                let before = layout.segments[at].load();
                let word = StateWord { state: State::Pending, generation: before.generation.wrapping_add(1), pid };
                (before.state == State::Free && layout.segments[at].advance(before, word)).then_some((at, word))
            })
        };
        let used = (layout.segments_used.load(SeqCst) as usize).clamp(1, SEGMENTS);
        let end = used.next_multiple_of(1024).min(SEGMENTS);
        let start = self.hint.load(Relaxed).min(end);
        let found = take(start..end).or_else(|| {
            self.settle_removed(backend);
            take(0..end).or_else(|| take(end..SEGMENTS))
        });
        let (at, word) = found.or_else(|| {
            self.settle_segments(backend);
            take(0..SEGMENTS)
        })?;
        layout.segments_used.fetch_max(at as u64 + 1, SeqCst);
        self.hint.store(at + 1, Relaxed);
        let slot = &layout.segments[at];
        slot.process.store(process as u64, SeqCst);
        slot.ipc_ns.store(if backend.number() == 0 { self.ipc_ns } else { USERSPACE }, SeqCst);
        slot.key.store(u64::from(key as u32), SeqCst);
        slot.size.store(size, SeqCst);
        slot.pages.store(pages, SeqCst);
        Some(Reservation { slot: at, word })
    }

    fn cancel_uncounted(&self, reservation: Reservation) {
        self.layout().segments[reservation.slot].advance(reservation.word, reservation.word.with(State::Free));
    }

    /// Frees a segment's slot and takes it off the totals, unless somebody else does.
    pub(super) fn release(&self, at: usize, word: StateWord) {
        let slot = &self.layout().segments[at];
        let creator = self.layout().processes.get(slot.process.load(SeqCst) as usize);
        let creator = creator.filter(|creator| creator.pid() == word.pid);
        let usages = [Some(&self.layout().session), creator.map(|creator| &creator.usage)];
        let epochs = usages.map(|usage| usage.map(|usage| (usage, usage.pages.epoch(), usage.segments.epoch())));
        // They can't change as long as the state word stands, which has the slot's generation in it.
        let pages = slot.pages.load(SeqCst);
        if !slot.advance(word, word.with(State::Free)) {
            return;
        }
        for (usage, of_pages, of_segments) in epochs.into_iter().flatten() {
            usage.pages.subtract(pages, of_pages);
            usage.segments.subtract(1, of_segments);
        }
    }
}

/// Adds all charges or none.
fn add_all(charges: &[Charge<'_>]) -> Result<(), (Reason, u64, u64)> {
    for (at, charge) in charges.iter().enumerate() {
        if let Err(used) = charge.tally.add(charge.amount, charge.limit) {
            for done in &charges[..at] {
                done.tally.subtract(done.amount, done.tally.epoch());
            }
            return Err((charge.reason, used, charge.limit.unwrap_or(0)));
        }
    }
    Ok(())
}
