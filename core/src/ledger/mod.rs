//! The ledger: what a session's processes have in use, in memory that all of them share.
//!
//! It says yes or no to a segment or an attach before the backend is asked, and is told afterwards what came of it. It has no
//! lock: whoever is killed or stopped, at any instruction, stops nobody. Its totals ([`tally`]) are never below the truth, and are
//! checked against the kernel ([`refresh`]) only when a quota is reached. docs/architecture.md tells why that holds.
//!
//! Not supported: telling which of a process's attaches belongs to which segment; segments that the session did not create.

mod attach;
mod layout;
mod liveness;
mod refresh;
pub mod tally;

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

pub use attach::Attaching;
use attach::Held;
use layout::{Layout, MAGIC, PROCESSES, ProcessSlot, SEGMENTS, SegmentSlot, State, StateWord, Usage, VERSION};

use crate::backend::Backend;
use crate::call::{Denial, Reason};
use crate::errno::Errno;
use crate::identity::Identity;
use crate::map::Mapping;
use crate::policy::{Policy, Quota};
use crate::sys::{self, File};

/// How often a refused call looks again while others' calls are under way, which may give room back.
const PATIENCE: u32 = 200;

/// The books of a session, or of a process and its children.
#[derive(Debug)]
pub struct Ledger {
    map: Mapping,
    page_size: u64,
    ipc_ns: u64,
    pid_ns: u64,
    /// The file's inode, 0 for none.
    inode: u64,
    /// The slot this program image had before a fork, plus one: the child inherits its attaches.
    image_slot: AtomicUsize,
    /// Where the last free segment slot was.
    hint: AtomicUsize,
}

/// A segment that may be created: to be committed or cancelled.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    slot: usize,
    word: StateWord,
}

/// What is in use, in bytes and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Of the segments created, rounded up to pages.
    pub bytes: u64,
    pub segments: u64,
    pub attaches: u64,
}

/// A segment in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub shmid: i32,
    pub key: i32,
    pub size: u64,
    /// Its creator.
    pub pid: u32,
}

/// One counted thing, the amount of it, and up to where it may go.
struct Charge<'a> {
    tally: &'a tally::Tally,
    amount: u64,
    limit: Option<u64>,
    reason: Reason,
}

impl Ledger {
    /// Makes a new ledger file at `path`.
    ///
    /// # Errors
    /// EEXIST when there is one; open's, mmap's, and fallocate's errors.
    pub fn create(path: &CStr) -> Result<(), Errno> {
        let file = File::open(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW, 0o600)?;
        sys::allocate(&file, size_of::<Layout>() as u64)?;
        Ledger::over(Mapping::file(&file, 0, size_of::<Layout>(), true)?, 0).start();
        Ok(())
    }

    /// Opens the ledger at `path`.
    ///
    /// # Errors
    /// open's and mmap's; EINVAL for a file that is no ledger of this version.
    pub fn open(path: &CStr) -> Result<Ledger, Errno> {
        let file = File::open(path, libc::O_RDWR | libc::O_NOFOLLOW, 0)?;
        let stat = sys::stat_fd(file.fd())?;
        if stat.st_size as u64 != size_of::<Layout>() as u64 {
            return Err(Errno::EINVAL);
        }
        let inode = stat.st_ino;
        let ledger = Ledger::over(Mapping::file(&file, 0, size_of::<Layout>(), true)?, inode);
        let layout = ledger.layout();
        if layout.magic.load(SeqCst) != MAGIC || layout.version.load(Relaxed) != VERSION {
            return Err(Errno::EINVAL);
        }
        Ok(ledger)
    }

    /// A ledger without a file: for this process and the children it forks.
    ///
    /// # Errors
    /// mmap's.
    pub fn unshared() -> Result<Ledger, Errno> {
        let ledger = Ledger::over(Mapping::shared_memory(size_of::<Layout>())?, 0);
        ledger.start();
        Ok(ledger)
    }

    fn over(map: Mapping, inode: u64) -> Ledger {
        Ledger {
            map,
            page_size: sys::page_size(),
            ipc_ns: liveness::namespace(c"/proc/self/ns/ipc"),
            pid_ns: liveness::namespace(c"/proc/self/ns/pid"),
            inode,
            image_slot: AtomicUsize::new(0),
            hint: AtomicUsize::new(0),
        }
    }

    fn start(&self) {
        self.layout().version.store(VERSION, Relaxed);
        self.layout().magic.store(MAGIC, SeqCst);
    }

    fn layout(&self) -> &Layout {
        // SAFETY: Layout is made of atomics alone.
        unsafe { self.map.view(0) }
    }

    fn processes(&self) -> &[ProcessSlot] {
        let layout = self.layout();
        &layout.processes[..(layout.processes_used.load(SeqCst) as usize).min(PROCESSES)]
    }

    fn segment_slots(&self) -> &[SegmentSlot] {
        let layout = self.layout();
        &layout.segments[..(layout.segments_used.load(SeqCst) as usize).min(SEGMENTS)]
    }

    /// The calling process's slot, claimed if it has none yet. `None` when the table is full.
    #[inline]
    fn mine(&self, identity: &Identity) -> Option<(usize, &ProcessSlot)> {
        let kept = identity.ledger_slot().load(Relaxed) as usize;
        match kept.checked_sub(1).and_then(|at| Some((at, self.layout().processes.get(at)?))) {
            Some((at, slot)) if slot.pid.load(Relaxed) == u64::from(identity.pid()) => Some((at, slot)),
            _ => self.claim(identity),
        }
    }

    #[cold]
    fn claim(&self, identity: &Identity) -> Option<(usize, &ProcessSlot)> {
        let pid = identity.pid();
        let start = liveness::start_time(pid);
        let same = |slot: &ProcessSlot| {
            let is = |value: &core::sync::atomic::AtomicU64, wanted: u64| value.load(SeqCst) == wanted;
            is(&slot.pid, pid.into()) && is(&slot.start, start) && is(&slot.pid_ns, self.pid_ns)
        };
        // An image that this process ran before exec left its slot, or the thread beside us has just claimed one.
        let before = if start == 0 { None } else { self.processes().iter().position(same) };
        let (at, image_before) = match before {
            Some(at) => (at, true),
            None => (self.free_process(pid).or_else(|| {
                self.settle_processes();
                self.free_process(pid)
            })?, false),
        };
        let slot = &self.layout().processes[at];
        slot.start.store(start, SeqCst);
        slot.pid_ns.store(self.pid_ns, SeqCst);
        let place = identity.ledger_slot();
        let winner = match place.compare_exchange(0, at as u64 + 1, SeqCst, SeqCst) {
            Ok(_) => at,
            // Stale, or another thread's: the stale one's pid is not ours.
            Err(other) if self.layout().processes.get(other as usize - 1).is_some_and(same) && other as usize != at + 1 => {
                slot.pid.store(0, SeqCst);
                return Some((other as usize - 1, &self.layout().processes[other as usize - 1]));
            }
            Err(_) => {
                place.store(at as u64 + 1, SeqCst);
                at
            }
        };
        // A child that no fork handler announced has its parent's attaches; an image after exec has none.
        if image_before {
            self.drop_attaches(slot);
        }
        if self.image_slot.swap(winner + 1, SeqCst) != 0 {
            self.inherit(slot, liveness::attached(pid).unwrap_or(0));
        }
        Some((winner, slot))
    }

    fn free_process(&self, pid: u32) -> Option<usize> {
        let layout = self.layout();
        let at = layout.processes.iter().position(|slot| {
            slot.pid.load(Relaxed) == 0 && slot.pid.compare_exchange(0, pid.into(), SeqCst, SeqCst).is_ok()
        })?;
        layout.processes_used.fetch_max(at as u64 + 1, SeqCst);
        Some(at)
    }

    /// A program begins: attaches of the one that the process ran before exec are gone, also if this one never makes a call.
    pub fn image_started(&self, identity: &Identity) {
        if self.processes().iter().any(|slot| slot.pid.load(SeqCst) == u64::from(identity.pid())) {
            self.claim(identity);
        }
    }

    /// Claims a slot for a new child that has its parent's attaches; called in the child.
    pub fn forked(&self, identity: &Identity) {
        let Some(parent) = self.image_slot.swap(0, SeqCst).checked_sub(1) else { return };
        let Some(parent) = self.layout().processes.get(parent) else { return };
        let inherited = Held::load(&parent.attaches).attaches;
        if inherited > 0
            && let Some((_, slot)) = self.mine(identity)
        {
            self.inherit(slot, inherited);
        }
    }

    /// Gives the calling process's slot back, at its end.
    pub fn leave(&self, identity: &Identity) {
        let kept = identity.ledger_slot().swap(0, SeqCst) as usize;
        if let Some(slot) = kept.checked_sub(1).and_then(|at| self.layout().processes.get(at))
            && slot.pid.load(SeqCst) == u64::from(identity.pid())
        {
            self.retire(slot, identity.pid());
        }
    }

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
        let Some((process, me)) = self.mine(identity) else { return full() };
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
            if attempt == 0 {
                self.settle_segments(backend);
            }
            let busy = self.recount_segments(process, me);
            // One more try after the books are right; further ones only as long as somebody may still give back.
            if attempt > 0 && !busy {
                break;
            }
            if attempt > 0 {
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
            _ => Denial {
                reason,
                errno: Errno::ENOSPC,
                asked: 1,
                used,
                limit,
                holder: self.largest_creator(|_| 1),
            },
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
    fn by_shmid(&self, shmid: i32) -> &core::sync::atomic::AtomicU64 {
        // The lower 15 bits of an id are its index, which no two segments of a namespace share.
        &self.layout().slot_of_index[shmid as usize % SEGMENTS]
    }

    /// The segment was not created.
    pub fn cancel(&self, reservation: Reservation) {
        self.release(reservation.slot, reservation.word);
    }

    /// IPC_RMID succeeded: the segment goes with its last attach, and is looked at first when room is needed.
    pub fn removed(&self, shmid: i32) {
        let Some(slot) = self.layout().segments.get(self.by_shmid(shmid).load(SeqCst) as usize) else { return };
        let word = slot.load();
        if word.state == State::Live
            && slot.shmid.load(SeqCst) == u64::from(shmid as u32)
            && slot.ipc_ns.load(SeqCst) == self.ipc_ns
        {
            slot.advance(word, word.with(State::Removed));
        }
    }

    /// What the calling process has in use, checked against the kernel first.
    pub fn process_counters(&self, identity: &Identity, backend: &impl Backend) -> Counters {
        self.settle_segments(backend);
        let Some((at, slot)) = self.mine(identity) else { return Counters::default() };
        self.recount_segments(at, slot);
        self.correct_mine(identity, slot);
        self.counters(&slot.usage, Held::load(&slot.attaches).attaches)
    }

    /// What all processes together have in use, checked against the kernel first.
    pub fn session_counters(&self, backend: &impl Backend) -> Counters {
        self.settle_segments(backend);
        self.settle_processes();
        self.recount_session();
        self.counters(&self.layout().session, self.all_attaches())
    }

    fn counters(&self, usage: &Usage, attaches: u64) -> Counters {
        let bytes = usage.pages.get().saturating_mul(self.page_size);
        Counters { bytes, segments: usage.segments.get(), attaches }
    }

    /// The segments in the books of the caller's IPC namespace; they are checked against the kernel first.
    pub fn segments(&self, backend: &impl Backend) -> impl Iterator<Item = Segment> {
        self.settle_segments(backend);
        self.segment_slots().iter().filter_map(|slot| {
            let word = slot.load();
            let here = slot.ipc_ns.load(SeqCst) == self.ipc_ns;
            (here && matches!(word.state, State::Live | State::Removed)).then(|| Segment {
                shmid: slot.shmid.load(SeqCst) as u32 as i32,
                key: slot.key.load(SeqCst) as u32 as i32,
                size: slot.size.load(SeqCst),
                pid: word.pid,
            })
        })
    }

    /// True if a process of the session, other than the caller, is alive.
    pub fn has_processes(&self) -> bool {
        self.settle_processes();
        self.processes().iter().any(is_process)
    }

    /// Takes a free slot. The table is used up to a round number before the slots of removed segments are looked at: asking the
    /// kernel about each is cheap in bulk, and mostly they are gone.
    fn claim_segment(
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
        slot.ipc_ns.store(self.ipc_ns, SeqCst);
        slot.key.store(u64::from(key as u32), SeqCst);
        slot.size.store(size, SeqCst);
        slot.pages.store(pages, SeqCst);
        Some(Reservation { slot: at, word })
    }

    fn cancel_uncounted(&self, reservation: Reservation) {
        let slot = &self.layout().segments[reservation.slot];
        slot.pages.store(0, SeqCst);
        slot.advance(reservation.word, reservation.word.with(State::Free));
    }

    /// Frees a segment's slot and takes it off the totals, unless somebody else does.
    fn release(&self, at: usize, word: StateWord) {
        let slot = &self.layout().segments[at];
        let creator = self.layout().processes.get(slot.process.load(SeqCst) as usize);
        let creator = creator.filter(|creator| creator.pid.load(SeqCst) == u64::from(word.pid));
        let usages = [Some(&self.layout().session), creator.map(|creator| &creator.usage)];
        let epochs = usages.map(|usage| usage.map(|usage| (usage, usage.pages.epoch(), usage.segments.epoch())));
        let releasing = word.with(State::Releasing);
        if !slot.advance(word, releasing) {
            return;
        }
        let pages = slot.pages.swap(0, SeqCst);
        slot.advance(releasing, releasing.with(State::Free));
        for (usage, of_pages, of_segments) in epochs.into_iter().flatten() {
            usage.pages.subtract(pages, of_pages);
            usage.segments.subtract(1, of_segments);
        }
    }
}

/// What to say where the tables are full: without quotas nobody asks for the books, and watching must not refuse.
fn no_room<T>(policy: &Policy, errno: Errno, limit: usize) -> Result<(Option<T>, Option<Denial>), Denial> {
    if policy.has_quota() && !policy.dry_run {
        return Err(Denial { limit: limit as u64, ..Denial::plain(Reason::LedgerFull, errno) });
    }
    Ok((None, None))
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

/// A slot in the state of being freed.
const TOMBSTONE: u64 = u64::MAX;

fn is_process(slot: &ProcessSlot) -> bool {
    !matches!(slot.pid.load(SeqCst), 0 | TOMBSTONE)
}

#[cfg(test)]
mod tests;
