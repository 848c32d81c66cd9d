//! Who calls: pid, tid and uid, kept so that a record needs no system call; and what each thread has to itself, so that a call
//! needs no locked instruction where it can do without (one costs 17 ns beside a system call, measured: a tenth of a shmget).
//!
//! What is kept about a process lies on a page that every kind of fork (fork, `_Fork`, raw clone) hands to the child zeroed, so
//! that a child never goes by its parent's name; where the kernel can't do that, [`Identity::forget`] in the fork handler does.
//! A vfork child shares the page and goes by its parent's name, as it shares everything else. The uid is forgotten by the hooks
//! of the setuid family; a raw system call that changes it is not seen until the next exec or fork.
//!
//! No lock, no allocation after the page is mapped. A signal handler may interrupt anything here and come through itself: what
//! a thread changes, it changes with a single instruction, or so that doing it twice is harmless.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use crate::map::Mapping;
use crate::{clock, sys, thread};

/// Threads that have a shard of their own; later ones share the last.
const SHARDS: usize = 60;

/// What is kept about a process. Zero is "not known" everywhere.
#[derive(Debug)]
#[repr(C, align(64))]
struct Page {
    pid: AtomicU64,
    /// Tells this process from its parent, whose thread-local memory it has.
    birth: AtomicU64,
    /// The effective uid, plus one.
    uid: AtomicU64,
    introduced: AtomicU64,
    ledger_slot: AtomicU64,
    shards_taken: AtomicU64,
    shards: [Shard; SHARDS],
}

/// What one thread writes and others only read.
#[derive(Debug)]
#[repr(C, align(64))]
struct Shard {
    calls: AtomicU64,
    denials: AtomicU64,
    /// Attaches and detaches begun, and those settled.
    begun: AtomicU64,
    settled: AtomicU64,
}

/// The keeper of what is known about the calling process and thread.
#[derive(Debug)]
pub struct Identity {
    /// The page, which [`Identity::mapping`] keeps.
    page: *const Page,
    mapping: Mapping,
}

// SAFETY: Page is made of atomics alone, and lives as long as the mapping.
unsafe impl Send for Identity {}
// SAFETY: as above.
unsafe impl Sync for Identity {}

/// What lies in a thread's own words.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Thread {
    /// The process's birth at which the rest was learned; 0 in a new thread.
    birth: u64,
    tid: u64,
    shard: u64,
    /// The journal's slots that this thread has to itself: the next one, and where they end.
    next_slot: u64,
    end_slot: u64,
    /// The uid that the block's first slot names.
    block_uid: u64,
    /// The address of the shard's count of calls; 0 for the shared shard.
    calls: u64,
}

/// The calling thread, as one call needs it.
#[derive(Clone, Copy, Debug)]
pub struct Me<'a> {
    thread: *mut Thread,
    shard: &'a Shard,
    /// The last shard is shared by threads: only there an addition has to be locked.
    shares: bool,
}

impl Identity {
    /// Maps the page.
    ///
    /// # Panics
    /// When there is not even a page of memory.
    pub fn new() -> Identity {
        let len = sys::page_size() as usize;
        const { assert!(size_of::<Page>() <= 4096) };
        // Before Linux 4.14 a page that forks copy has to do, with the help of the fork handler.
        let page = Mapping::wiped_on_fork(len).or_else(|_| Mapping::private_memory(len));
        let mapping = page.expect("a page of memory");
        Identity { page: mapping.words().as_ptr().cast(), mapping }
    }

    #[inline]
    fn process(&self) -> &Page {
        // SAFETY: Page is made of atomics alone, fits the mapping by the assertion in `new`, and lives as long as it.
        unsafe { &*self.page }
    }

    /// Forgets everything, in a new child.
    pub fn forget(&self) {
        self.mapping.words().iter().for_each(|word| word.store(0, Relaxed));
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

    /// The calling thread.
    #[inline]
    pub fn me(&self) -> Me<'_> {
        const { assert!(size_of::<Thread>() <= thread::WORDS * 8) };
        let thread = thread::words().as_ptr().cast::<Thread>();
        let process = self.process();
        // SAFETY: it points to this thread's words, which only this thread uses; zeros are a new Thread.
        let known = unsafe { (&raw const (*thread).birth).read() };
        if known == 0 || known != process.birth.load(Relaxed) {
            self.learn_thread(thread);
        }
        // SAFETY: as above.
        let shard = (unsafe { (&raw const (*thread).shard).read() } as usize).min(SHARDS - 1);
        Me { thread, shard: &process.shards[shard], shares: shard == SHARDS - 1 }
    }

    /// Counts a call of the calling thread, if that takes no more than an addition: the thread is known, and has a shard of its own.
    #[inline]
    pub fn count_quickly(&self) -> bool {
        let thread = thread::words().as_ptr().cast::<Thread>();
        // SAFETY: it points to this thread's words, which only this thread uses; zeros are a new Thread.
        let (birth, calls) = unsafe { ((&raw const (*thread).birth).read(), (&raw const (*thread).calls).read()) };
        let known = birth != 0 && birth == self.process().birth.load(Relaxed) && calls != 0;
        if known {
            // SAFETY: the address is that of a word of this process's page, by the birth, and no other thread writes it.
            unsafe { thread::add(core::ptr::with_exposed_provenance_mut(calls as usize), 1) };
        }
        known
    }

    #[cold]
    #[inline(never)]
    fn learn_thread(&self, thread: *mut Thread) {
        let process = self.process();
        let _ = process.birth.compare_exchange(0, clock::monotonic_ns() | 1, Relaxed, Relaxed);
        let shard = process.shards_taken.fetch_add(1, Relaxed);
        let own = process.shards[..SHARDS - 1].get(shard as usize);
        let calls = own.map_or(0, |shard| shard.calls.as_ptr() as u64);
        let new = Thread { birth: process.birth.load(Relaxed), tid: sys::gettid().into(), shard, calls, ..Thread::default() };
        // SAFETY: this thread's own words; the birth makes them valid, so it comes last.
        unsafe {
            thread.write_volatile(Thread { birth: 0, ..new });
            (&raw mut (*thread).birth).write_volatile(new.birth);
        }
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

    /// How many attaches and detaches the process's threads have begun; `None` while one is under way.
    pub fn attaches_begun(&self) -> Option<u64> {
        let sum =
            |word: fn(&Shard) -> &AtomicU64| self.process().shards.iter().map(|shard| word(shard).load(SeqCst)).sum::<u64>();
        // What is settled first: an attach that begins and ends in between then looks as under way, and not as none.
        let settled = sum(|shard| &shard.settled);
        let begun = sum(|shard| &shard.begun);
        (settled == begun).then_some(begun)
    }

    /// The process's calls and denials so far.
    pub fn counts(&self) -> (u64, u64) {
        let shards = self.process().shards.iter();
        shards
            .fold((0, 0), |(calls, denials), shard| (calls + shard.calls.load(Relaxed), denials + shard.denials.load(Relaxed)))
    }

    /// True the first time it is asked in a process: the journal has to be told about it.
    #[inline]
    pub fn is_unknown(&self) -> bool {
        self.process().introduced.load(Relaxed) == 0 && self.process().introduced.swap(1, Relaxed) == 0
    }

    /// Where the process's slot in the ledger is kept, plus one.
    pub fn ledger_slot(&self) -> &AtomicU64 {
        &self.process().ledger_slot
    }
}

impl Me<'_> {
    /// The thread id.
    #[inline]
    pub fn tid(&self) -> u32 {
        // SAFETY: this thread's own words.
        unsafe { (*self.thread).tid as u32 }
    }

    /// Counts a call.
    #[inline]
    pub fn count_call(&self) {
        self.add(&self.shard.calls, 1);
    }

    /// Counts a denial.
    pub fn count_denial(&self) {
        self.add(&self.shard.denials, 1);
    }

    /// Notes that an attach or detach is under way (`true`), or settled.
    #[inline]
    pub fn set_attaching(&self, begins: bool) {
        self.add(if begins { &self.shard.begun } else { &self.shard.settled }, 1);
    }

    #[inline]
    fn add(&self, word: &AtomicU64, amount: u64) {
        if self.shares {
            word.fetch_add(amount, Relaxed);
        } else {
            // SAFETY: a word of a shard that is this thread's alone.
            unsafe { thread::add(word.as_ptr(), amount) };
        }
    }

    /// The next `count` slots of the journal for this thread, out of a block that `take_block` gives: its first free slot, and its
    /// end. A block is one user's: another `uid` begins another.
    #[inline]
    pub fn next_slots(&self, count: u64, uid: u32, take_block: impl FnOnce() -> Option<(u64, u64)>) -> Option<u64> {
        let thread = self.thread;
        // SAFETY: this thread's own words. A signal handler may come in at any instruction: slots are taken with one, and a block
        // that it takes itself only replaces this one. The end is read first: a later block's would let a slot beyond the old
        // block pass.
        unsafe {
            let end = (&raw const (*thread).end_slot).read_volatile();
            let slot = thread::fetch_add(&raw mut (*thread).next_slot, count);
            if slot.saturating_add(count) <= end && (&raw const (*thread).block_uid).read() == u64::from(uid) {
                return Some(slot);
            }
            let (first, end) = take_block()?;
            // The end first, and 0 meanwhile: an interrupting handler must not take this block's slots, nor beyond the old's.
            (&raw mut (*thread).end_slot).write_volatile(0);
            (&raw mut (*thread).block_uid).write_volatile(uid.into());
            (&raw mut (*thread).next_slot).write_volatile(first + count);
            (&raw mut (*thread).end_slot).write_volatile(end);
            Some(first)
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Identity::new()
    }
}

#[cfg(test)]
mod tests;
