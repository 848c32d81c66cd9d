//! kernel.shm_rmid_forced: while it is 1 a segment goes with its last attach, removed or not, and with its creator if nobody has it attached.
//!
//! [`super::layout::Header::forced`] tells whether it is 1. Anything in its lowest byte, which mostly is 0, sends look-ups and IPC_STAT off their quick way: to
//! them the rest costs a load.
//!
//! Nobody tells us of an end, as elsewhere here: whoever looks for a segment asks whether it goes. Nobody holds it, and it has a mark,
//! as all have that were held since the setting became 1; or its creator has ended. The mark comes after the hold, and the sweep that
//! marks what is held after the setting: one of the two sees the other. A mark names its time, and so means nothing after the next change.
//!
//! Not supported: creators that are not to be seen, as in another PID namespace; their segments stay.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::Userspace;
use super::books::Writer;
use super::holders::Found;
use super::layout::{Segment, State, Word};
use super::life::{Asker, Life};
use super::proc::Setting;
use super::registry::Registry;
use crate::ledger::liveness;
use crate::sys;

/// In [`Header::forced`]: it is 1.
const ON: u64 = 1;
/// Its file was opened for writing, and may say something else.
const WRITTEN: u64 = 2;
/// It has become 1, and not all that is held has its mark.
const MARKING: u64 = 4;
/// One opening of the file: counted, so that none is overlooked.
const OPENED: u64 = 1 << 8;
/// One change from 0 to 1: they number the times.
const TIME: u64 = 1 << 32;

/// What a segment has that is held while `forced` is the header's word: the time, and whose it is.
fn mark(forced: u64, sequence: u16) -> u64 {
    (forced / TIME) << 16 | u64::from(sequence)
}

impl Registry {
    fn forced(&self) -> &crate::atomic::AtomicU64 {
        &self.layout().header.forced
    }

    /// False as long as none but removed segments go, and nothing is about to change that.
    #[inline(always)]
    pub fn may_force(&self) -> bool {
        self.forced().load(SeqCst) & (ON | WRITTEN) != 0
    }

    /// Whether the setting is 1.
    pub fn is_forced(&self) -> bool {
        self.forced().load(SeqCst) & ON != 0
    }

    /// The setting's file has been opened for writing.
    pub fn forced_opened(&self) {
        let opened = |word: u64| word.wrapping_add(OPENED) & (TIME - 1) | word & !(TIME - 1) | WRITTEN;
        let _ = self.forced().fetch_update(SeqCst, SeqCst, |word| Some(opened(word)));
    }

    /// Marks a segment that is held, if it goes with its last attach.
    #[inline]
    pub fn mark(&self, found: &Found<'_>) {
        let forced = self.forced().load(SeqCst);
        if forced & ON != 0 {
            found.segment.forced.fetch_max(mark(forced, found.word.sequence), SeqCst);
        }
    }

    #[inline(never)]
    fn visit(&self, visit: &mut dyn FnMut(&Found<'_>)) {
        for (index, segment) in self.segments().iter().enumerate() {
            let found = Found { index, segment, word: segment.load() };
            if found.word.state == State::Live {
                visit(&found);
            }
        }
    }

    /// Takes over what has been written to the setting's file. Whoever died before died under what it said before.
    #[cold]
    #[inline(never)]
    pub fn settle_forced(&self, own: Life, asker: &mut Asker<'_>) {
        loop {
            let word = self.forced().load(SeqCst);
            let (value, more) = if word & WRITTEN != 0 { self.read_setting(Setting::RmidForced) } else { (None, false) };
            let (after, is_new) = match value {
                Some(1) if word & ON == 0 => {
                    self.visit(&mut |found| _ = self.count(found, asker));
                    (word.wrapping_add(TIME) | ON | MARKING, true)
                }
                Some(0) if word & ON != 0 => {
                    self.bury_forced(own, asker);
                    (word & !(ON | MARKING), false)
                }
                _ => (word, false),
            };
            if self.forced().compare_exchange(word, after, SeqCst, SeqCst).is_err() {
                continue;
            }
            if after & MARKING != 0 {
                self.visit(&mut |found| {
                    if self.is_held(found) {
                        self.mark(found);
                    }
                });
            }
            let settled = after & !MARKING & if more { !0 } else { !WRITTEN };
            if self.forced().compare_exchange(after, settled, SeqCst, SeqCst).is_ok() {
                if is_new {
                    self.bury_forced(own, asker);
                }
                return;
            }
        }
    }

    /// Whether a segment goes that nobody holds, though nobody has removed it.
    #[inline(never)]
    pub fn goes(&self, found: &Found<'_>, asker: &mut Asker<'_>) -> bool {
        let (forced, segment) = (self.forced().load(SeqCst), found.segment);
        let is_on = forced & ON != 0;
        // To those who look from outside, who take nothing over.
        let will_be_on = || forced & WRITTEN != 0 && self.read_setting(Setting::RmidForced).0 == Some(1);
        let is_marked = || is_on && segment.forced.load(SeqCst) == mark(forced, found.word.sequence);
        found.word.state == State::Live && (is_on || will_be_on()) && (is_marked() || creator_has_ended(segment, asker))
    }

    /// Destroys a segment that goes though nobody has removed it, for a process with the life `own`, which may have the lock; true if it is
    /// as good as gone. While another has the lock, one with a key is left to whoever looks next: readers don't wait.
    #[inline(never)]
    pub fn destroy_if_forced(&self, found: &Found<'_>, own: Life, asker: &mut Asker<'_>, writer: Option<&Writer<'_>>) -> bool {
        let segment = found.segment;
        let mut taken = None;
        while self.count(found, asker) == 0 && self.goes(found, asker) {
            let key = segment.key.load(SeqCst) as i32;
            if key != libc::IPC_PRIVATE && writer.is_none() && taken.is_none() {
                taken = self.write_soon(own);
                if taken.is_none() {
                    return true;
                }
            }
            let word = segment.load();
            if word.state != State::Live || word.sequence != found.word.sequence {
                return false;
            }
            let begun = self.begin();
            let owned = Word { state: State::Owned, owner: own, ..word };
            if segment.advance(word, owned) {
                // An attach notes itself first and looks at the segment then.
                if self.count(found, asker) == 0 {
                    if let Some(writer) = writer.or(taken.as_ref()) {
                        writer.unchain(found.index, key, || segment.key.store(0, SeqCst));
                    }
                    if self.discard(found, owned) {
                        self.done(begun);
                    }
                    return true;
                }
                segment.advance(owned, word);
            }
            self.done(begun);
        }
        false
    }

    /// Destroys all that go.
    #[inline(never)]
    pub fn bury_forced(&self, own: Life, asker: &mut Asker<'_>) {
        self.visit(&mut |found| _ = self.destroy_if_forced(found, own, asker, None));
    }
}

/// False if it is not sure. Exec is no end, though it ends the life, and gives a thread its process's number.
fn creator_has_ended(segment: &Segment, asker: &mut Asker<'_>) -> bool {
    let (pid, tid) = (segment.cpid.load(SeqCst), segment.ctid.load(SeqCst));
    let life = Life::from_u64(segment.creator_life.load(SeqCst));
    let is_own = life.is_some() && life == asker.own();
    if is_own && (tid == 0 || tid == sys::gettid()) {
        return false;
    }
    let ns = liveness::namespace_of(sys::getpid());
    if ns == 0 || ns as u32 != segment.creator_ns.load(SeqCst) {
        return false;
    }
    if !liveness::is_alive(pid, segment.creator_start.load(SeqCst)) {
        return true;
    }
    let is_running = || liveness::is_running(pid, tid).unwrap_or_else(|| sys::has_process(tid));
    tid != 0 && !is_running() && (tid == pid || life.is_some_and(|life| asker.is_alive(life)))
}

impl Userspace {
    /// Notes the calling thread as the creator of a segment. While the setting is 0, the process will do.
    pub(super) fn note_creator(&self, segment: &Segment, life: Life) {
        let (start, ns) = self.own.origin();
        segment.creator_life.store(life.to_u64(), Relaxed);
        segment.creator_start.store(start, Relaxed);
        segment.creator_ns.store(ns as u32, Relaxed);
        segment.ctid.store(if self.registry.may_force() { sys::gettid() } else { 0 }, Relaxed);
        segment.forced.store(0, Relaxed);
    }

    /// Takes over the setting, and destroys all that go by it.
    #[inline]
    pub(super) fn force(&self) {
        if self.registry.may_force() {
            self.force_all();
        }
    }

    #[cold]
    #[inline(never)]
    fn force_all(&self) {
        if let Ok(life) = self.life() {
            let mut asker = self.asker();
            self.registry.settle_forced(life, &mut asker);
            self.registry.bury_forced(life, &mut asker);
        }
    }
}
