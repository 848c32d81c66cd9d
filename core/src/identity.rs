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

use crate::journal::SLOT_LEN;
use crate::map::{Mapping, View};
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
    /// Whether a second thread has to make the first see it.
    announces: AtomicU64,
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
    process: View<Page>,
}

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
    /// The uid that the block's first slot names, plus one.
    block_uid: u64,
    /// Where slot 0 would be if all slots lay in memory as the block's do.
    block_base: u64,
    /// The address of the shard; 0 for the shared one.
    own_shard: u64,
}

/// Slots of the journal for one thread.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The first free slot, and the one behind the last.
    pub first: u64,
    pub end: u64,
    /// The address at which slot 0 would be.
    pub base: u64,
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
        // Before Linux 4.14 a page that forks copy has to do, with the help of the fork handler.
        let page = Mapping::wiped_on_fork(len).or_else(|_| Mapping::private_memory(len));
        // SAFETY: Page is made of atomics alone.
        Identity { process: unsafe { View::new(page.expect("a page of memory")) } }
    }

    /// Forgets everything, in a new child; but what another library's fork handler has brought us there already.
    pub fn forget(&self) {
        if self.process.pid.load(Relaxed) == u64::from(sys::getpid()) {
            return;
        }
        self.process.words().iter().for_each(|word| word.store(0, Relaxed));
    }

    /// Forgets the uid, which may have changed.
    pub fn forget_uid(&self) {
        self.process.uid.store(0, Relaxed);
    }

    /// The caller's process id.
    #[inline]
    pub fn pid(&self) -> u32 {
        match self.process.pid.load(Relaxed) {
            0 => self.learn_pid(),
            pid => pid as u32,
        }
    }

    #[cold]
    fn learn_pid(&self) -> u32 {
        let pid = sys::getpid();
        self.process.pid.store(u64::from(pid), Relaxed);
        pid
    }

    /// The calling thread.
    pub fn me(&self) -> Me<'_> {
        let thread = self.known_thread().unwrap_or_else(|| {
            let thread = thread::words().as_ptr().cast();
            self.learn_thread(thread);
            thread
        });
        // SAFETY: as in `known_thread`.
        let shard = (unsafe { (&raw const (*thread).shard).read() } as usize).min(SHARDS - 1);
        Me { thread, shard: &self.process.shards[shard], shares: shard == SHARDS - 1 }
    }

    /// The calling thread, if it has called before, and has a shard of its own.
    #[inline]
    pub fn quick_me(&self) -> Option<Me<'_>> {
        let thread = self.known_thread()?;
        // SAFETY: this thread's own words.
        let shard = unsafe { (&raw const (*thread).own_shard).read() };
        // SAFETY: the address is that of one of this process's shards, by the birth.
        let shard = unsafe { core::ptr::with_exposed_provenance::<Shard>(shard as usize).as_ref() };
        Some(Me { thread, shard: shard?, shares: false })
    }

    /// The calling thread's words, if they are known to be this process's.
    #[inline]
    fn known_thread(&self) -> Option<*mut Thread> {
        const { assert!(size_of::<Thread>() <= thread::WORDS * 8) };
        let thread = thread::words().as_ptr().cast::<Thread>();
        // SAFETY: it points to this thread's words, which only this thread uses; zeros are a new Thread.
        let birth = unsafe { (&raw const (*thread).birth).read() };
        (birth != 0 && birth == self.process.birth.load(Relaxed)).then_some(thread)
    }

    /// Counts a call of the calling thread, if that takes no more than an addition: the thread is known, and has a shard of its own.
    #[inline]
    pub fn count_quickly(&self) -> bool {
        let me = self.quick_me();
        if let Some(me) = me {
            me.count_call();
        }
        me.is_some()
    }

    #[cold]
    #[inline(never)]
    fn learn_thread(&self, thread: *mut Thread) {
        let process = &self.process;
        let _ = process.birth.compare_exchange(0, clock::monotonic_ns() | 1, Relaxed, Relaxed);
        let shard = process.shards_taken.fetch_add(1, SeqCst);
        let own = process.shards[..SHARDS - 1].get(shard as usize);
        if shard > 0 && process.announces.load(SeqCst) != 0 {
            // The first thread goes by its being alone, and does not order its memory accesses as long as it is.
            sys::fence(sys::Fences::Mine);
        }
        let own_shard = own.map_or(0, |shard| core::ptr::from_ref(shard).expose_provenance() as u64);
        let new =
            Thread { birth: process.birth.load(Relaxed), tid: sys::gettid().into(), shard, own_shard, ..Thread::default() };
        // SAFETY: this thread's own words; the birth makes them valid, so it comes last.
        unsafe {
            thread.write_volatile(Thread { birth: 0, ..new });
            (&raw mut (*thread).birth).write_volatile(new.birth);
        }
    }

    /// The caller's effective user id.
    #[inline]
    pub fn uid(&self) -> u32 {
        match self.process.uid.load(Relaxed) {
            0 => {
                let uid = sys::geteuid();
                self.process.uid.store(u64::from(uid) + 1, Relaxed);
                uid
            }
            kept => (kept - 1) as u32,
        }
    }

    /// How many attaches and detaches the process's threads have begun; `None` while one is under way.
    pub fn attaches_begun(&self) -> Option<u64> {
        let sum =
            |word: fn(&Shard) -> &AtomicU64| self.process.shards.iter().map(|shard| word(shard).load(SeqCst)).sum::<u64>();
        // What is settled first: an attach that begins and ends in between then looks as under way, and not as none.
        let settled = sum(|shard| &shard.settled);
        let begun = sum(|shard| &shard.begun);
        (settled == begun).then_some(begun)
    }

    /// The process's calls and denials so far.
    pub fn counts(&self) -> (u64, u64) {
        let shards = self.process.shards.iter();
        shards
            .fold((0, 0), |(calls, denials), shard| (calls + shard.calls.load(Relaxed), denials + shard.denials.load(Relaxed)))
    }

    /// Makes every thread that calls from now on announce itself, so that [`Identity::is_alone`] can be relied on.
    pub fn announce_threads(&self) {
        self.process.announces.store(1, SeqCst);
    }

    /// True if `me` is the first thread of the process that called.
    #[inline]
    pub fn is_first(&self, me: Me<'_>) -> bool {
        core::ptr::eq(me.shard, &self.process.shards[0])
    }

    /// True if the first thread is still the only one that called.
    #[inline]
    pub fn is_alone(&self) -> bool {
        self.process.shards_taken.load(Relaxed) == 1
    }

    /// True the first time it is asked in a process: the journal has to be told about it.
    #[inline]
    pub fn is_unknown(&self) -> bool {
        self.process.introduced.load(Relaxed) == 0 && self.process.introduced.swap(1, Relaxed) == 0
    }

    /// Where the process's slot in the ledger is kept, plus one.
    pub fn ledger_slot(&self) -> &AtomicU64 {
        &self.process.ledger_slot
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
            thread::add(word, amount);
        }
    }

    /// The next slot of the journal for this thread and its address, if its block has one and the caller is still the block's user.
    #[inline]
    pub fn next_slot(&self, identity: &Identity) -> Option<(u64, *const AtomicU64)> {
        let thread = self.thread;
        // SAFETY: this thread's own words. A signal handler may come in at any instruction: a slot is taken with one, and a block
        // that it takes itself only replaces this one. End and base are read first: a later block's slots are beyond the end.
        unsafe {
            let end = (&raw const (*thread).end_slot).read_volatile();
            let base = (&raw const (*thread).block_base).read_volatile();
            if identity.process.uid.load(Relaxed) != (&raw const (*thread).block_uid).read_volatile() {
                return None;
            }
            let slot = thread::fetch_add(&raw mut (*thread).next_slot, 1);
            let address = base.wrapping_add(slot.wrapping_mul(SLOT_LEN));
            (slot < end).then(|| (slot, core::ptr::with_exposed_provenance(address as usize)))
        }
    }

    /// The next `count` slots of the journal for this thread, out of a block that `take_block` gives. A block is one user's: another
    /// `uid` begins another.
    pub fn next_slots(&self, count: u64, uid: u32, take_block: impl FnOnce() -> Option<Block>) -> Option<u64> {
        let thread = self.thread;
        let block_uid = u64::from(uid) + 1;
        // SAFETY: as in `next_slot`.
        unsafe {
            let end = (&raw const (*thread).end_slot).read_volatile();
            let slot = thread::fetch_add(&raw mut (*thread).next_slot, count);
            if slot.saturating_add(count) <= end && (&raw const (*thread).block_uid).read() == block_uid {
                return Some(slot);
            }
            let Block { first, end, base } = take_block()?;
            // The end is 0 meanwhile, and the next slot written before the rest: if a handler takes a block in between, its slots
            // are beyond this block's end.
            (&raw mut (*thread).end_slot).write_volatile(0);
            (&raw mut (*thread).next_slot).write_volatile(first + count);
            (&raw mut (*thread).block_uid).write_volatile(block_uid);
            (&raw mut (*thread).block_base).write_volatile(base);
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
