//! The ledger: what a session's processes have in use, in memory that all of them share.
//!
//! It says yes or no to a segment or an attach before the backend is asked, and is told afterwards what came of it. It has no
//! lock: whoever is killed or stopped, at any instruction, stops nobody. Its totals ([`tally`]) are never below the truth, and are
//! checked against the kernel ([`refresh`]) only when a quota is reached. docs/architecture.md tells why that holds.
//!
//! Not supported: telling which of a process's attaches belongs to which segment; segments that the session did not create.

mod attach;
mod grant;
mod layout;
pub(crate) mod liveness;
mod refresh;
mod segment;
pub mod tally;

use core::ffi::CStr;
use core::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};

use layout::{Layout, MAGIC, PROCESSES, ProcessSlot, SEGMENTS, SegmentSlot, State, Usage, VERSION};
pub use segment::Reservation;

use crate::backend::Backend;
use crate::call::{Denial, Reason};
use crate::errno::Errno;
use crate::identity::Identity;
use crate::map::{Mapping, View};
use crate::policy::Policy;
use crate::sys::{self, File};

/// What a child inherits is not known to its parent.
const UNKNOWN: u64 = u64::MAX;
/// How often a refused call looks again while others' calls are under way, which may give room back.
const PATIENCE: u32 = 200;

/// The books of a session, or of a process and its children.
#[derive(Debug)]
pub struct Ledger {
    layout: View<Layout>,
    page_size: u64,
    ipc_ns: u64,
    pid_ns: u64,
    /// The file's inode, 0 for none.
    inode: u64,
    /// Whether the first thread of the calling process goes without fences.
    unfenced: AtomicBool,
    /// The slot this program image had before a fork, plus one: the child inherits its attaches.
    image_slot: AtomicUsize,
    /// What the next child inherits.
    inherited: AtomicU64,
    /// Where the last free segment slot was.
    hint: AtomicUsize,
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
        let len = size_of::<Layout>();
        // A file's inode tells whether a child still has the ledger, or has executed something.
        let in_file = || -> Result<_, Errno> {
            let file = File::in_memory()?;
            sys::truncate(&file, len as u64)?;
            Ok((Mapping::file(&file, 0, len, true)?, sys::stat_fd(file.fd())?.st_ino))
        };
        let (map, inode) = in_file().or_else(|_| Ok((Mapping::shared_memory(len)?, 0)))?;
        let ledger = Ledger::over(map, inode);
        ledger.start();
        Ok(ledger)
    }

    fn over(map: Mapping, inode: u64) -> Ledger {
        Ledger {
            // SAFETY: Layout is made of atomics alone.
            layout: unsafe { View::new(map) },
            page_size: sys::page_size(),
            ipc_ns: liveness::namespace(c"/proc/self/ns/ipc"),
            pid_ns: liveness::own_namespace(),
            inode,
            unfenced: AtomicBool::new(false),
            image_slot: AtomicUsize::new(0),
            inherited: AtomicU64::new(0),
            hint: AtomicUsize::new(0),
        }
    }

    fn start(&self) {
        self.layout().version.store(VERSION, Relaxed);
        self.layout().magic.store(MAGIC, SeqCst);
    }

    fn layout(&self) -> &Layout {
        &self.layout
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
    fn mine(&self, identity: &Identity, backend: &impl Backend) -> Option<(usize, &ProcessSlot)> {
        self.known_mine(identity).or_else(|| self.claim(identity, backend))
    }

    /// The calling process's slot, if it has one.
    #[inline]
    fn known_mine(&self, identity: &Identity) -> Option<(usize, &ProcessSlot)> {
        let at = (identity.ledger_slot().load(Relaxed) as usize).checked_sub(1)?;
        let slot = self.layout().processes.get(at)?;
        (slot.pid() == identity.pid()).then_some((at, slot))
    }

    #[inline(never)]
    fn claim(&self, identity: &Identity, backend: &impl Backend) -> Option<(usize, &ProcessSlot)> {
        let pid = identity.pid();
        let start = liveness::start_time(pid);
        // The thread beside us may have just claimed one, or the image before exec have left it.
        let found = (start != 0).then(|| self.slot_of(pid, start)).flatten().or_else(|| self.free_process(pid)).or_else(|| {
            self.settle_processes();
            self.free_process(pid)
        });
        let mut at = found?;
        let slot = &self.layout().processes[at];
        slot.start.store(start, SeqCst);
        self.go_unfenced(identity, slot);
        let place = identity.ledger_slot();
        let kept = place.load(SeqCst);
        let stale = self.layout().processes.get((kept as usize).wrapping_sub(1)).is_none_or(|slot| slot.pid() != pid);
        if stale && place.compare_exchange(kept, at as u64 + 1, SeqCst, SeqCst).is_ok() {
            // A child that no fork handler announced has its parent's attaches. One thread of the image comes here.
            if self.image_slot.swap(at + 1, SeqCst) != 0 {
                self.inherit(slot, backend.attached(pid).unwrap_or(0));
            }
        } else {
            let theirs = (place.load(SeqCst) as usize).checked_sub(1)?;
            if theirs != at {
                slot.process.store(0, SeqCst);
                at = theirs;
            }
        }
        Some((at, self.layout().processes.get(at)?))
    }

    /// What [`ProcessSlot::process`] is for a process with this pid, as the caller has it.
    fn process(&self, pid: u32) -> u64 {
        self.pid_ns << 32 | u64::from(pid)
    }

    fn slot_of(&self, pid: u32, start: u64) -> Option<usize> {
        let is_it = |slot: &ProcessSlot| slot.process.load(SeqCst) == self.process(pid) && slot.start.load(SeqCst) == start;
        self.processes().iter().position(is_it)
    }

    fn free_process(&self, pid: u32) -> Option<usize> {
        let (layout, process) = (self.layout(), self.process(pid));
        let takes = |slot: &ProcessSlot| {
            slot.process.load(Relaxed) == 0 && slot.process.compare_exchange(0, process, SeqCst, SeqCst).is_ok()
        };
        let at = layout.processes.iter().position(takes)?;
        layout.processes_used.fetch_max(at as u64 + 1, SeqCst);
        Some(at)
    }

    /// A program begins, and no thread of it has come here yet: attaches of the one that the process ran before exec are gone.
    pub fn image_started(&self, identity: &Identity) {
        let pid = identity.pid();
        if self.processes().iter().any(|slot| slot.pid() == pid)
            && let Some(at) = self.slot_of(pid, liveness::start_time(pid))
        {
            let epoch = self.layout().session_attaches.epoch();
            self.drop_attaches(&self.layout().processes[at], epoch);
        }
    }

    /// A fork is about to happen: notes what the child inherits. Afterwards the parent may have less, or be gone.
    pub fn fork_begins(&self, identity: &Identity) {
        let slot = self.image_slot.load(SeqCst).checked_sub(1).and_then(|at| self.layout().processes.get(at));
        let attaches = slot.map_or(0, ProcessSlot::attaches);
        // With an attach under way only the child itself can see what it got.
        let known = if identity.attaches_begun().is_some() { attaches } else { UNKNOWN };
        self.inherited.store(known, SeqCst);
    }

    /// Claims a slot for a new child that has its parent's attaches; called in the child.
    pub fn forked(&self, identity: &Identity, backend: &impl Backend) {
        // Another library's handler came first, with a call.
        if self.known_mine(identity).is_some() {
            return;
        }
        self.image_slot.store(0, SeqCst);
        let inherited = match self.inherited.load(SeqCst) {
            UNKNOWN => backend.attached(identity.pid()).unwrap_or(0),
            known => known,
        };
        if inherited > 0
            && let Some((_, slot)) = self.mine(identity, backend)
        {
            self.inherit(slot, inherited);
        }
    }

    /// Gives the calling process's slot back, at its end, if it has nothing attached.
    pub fn leave(&self, identity: &Identity) {
        let kept = identity.ledger_slot().load(SeqCst) as usize;
        if let Some(slot) = kept.checked_sub(1).and_then(|at| self.layout().processes.get(at))
            && slot.pid() == identity.pid()
            && self.end_attaches(identity, slot)
        {
            self.retire(slot, self.process(identity.pid()));
        }
    }

    /// What the calling process has in use, checked against the kernel first.
    pub fn process_counters(&self, identity: &Identity, backend: &impl Backend) -> Counters {
        self.settle_segments(backend);
        let Some((at, slot)) = self.mine(identity, backend) else { return Counters::default() };
        self.recount_segments(at, slot);
        self.correct_mine(identity, slot, backend);
        self.counters(&slot.usage, slot.attaches())
    }

    /// What all processes together have in use, checked against the kernel first.
    pub fn session_counters(&self, backend: &impl Backend) -> Counters {
        self.settle_segments(backend);
        self.settle_processes();
        self.recount_session();
        self.counters(&self.layout().session, self.all_attaches())
    }

    /// How many attaches the processes have that live.
    pub fn live_attaches(&self) -> u64 {
        self.settle_processes();
        self.all_attaches()
    }

    fn counters(&self, usage: &Usage, attaches: u64) -> Counters {
        let bytes = usage.pages.get().saturating_mul(self.page_size);
        Counters { bytes, segments: usage.segments.get(), attaches }
    }

    /// The segments in the books of the caller's IPC namespace; they are checked against the kernel first.
    pub fn segments(&self, backend: &impl Backend) -> impl Iterator<Item = Segment> {
        self.settle_segments(backend);
        self.noted(|slot| self.is_here(slot, backend))
    }

    /// The segments in the books of all IPC namespaces, as they stand there: some may be gone by now.
    pub fn noted_segments(&self) -> impl Iterator<Item = Segment> {
        self.noted(|_| true)
    }

    fn noted(&self, is_wanted: impl Fn(&SegmentSlot) -> bool) -> impl Iterator<Item = Segment> {
        self.segment_slots().iter().filter_map(move |slot| {
            let word = slot.load();
            (is_wanted(slot) && matches!(word.state, State::Live | State::Removed)).then(|| Segment {
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
}

/// What to say where the tables are full: without quotas nobody asks for the books, and watching must not refuse.
fn no_room<T>(policy: &Policy, errno: Errno, limit: usize) -> Result<(Option<T>, Option<Denial>), Denial> {
    if policy.has_quota() && !policy.dry_run {
        return Err(Denial { limit: limit as u64, ..Denial::plain(Reason::LedgerFull, errno) });
    }
    Ok((None, None))
}

/// A slot in the state of being freed.
const TOMBSTONE: u64 = u64::MAX;

fn is_process(slot: &ProcessSlot) -> bool {
    !matches!(slot.process.load(SeqCst), 0 | TOMBSTONE)
}

#[cfg(test)]
mod tests;
