//! System V shared memory in user space: a namespace is a directory of tmpfs with a registry that all its processes map.
//!
//! [`registry`] opens a namespace, [`layout`] says what the registry looks like, [`books`] changes it, [`holders`] counts attaches, [`life`]
//! tells who is alive, [`claims`] what forks must not hand on, [`files`] keeps segments' memory, [`huge`] that of huge pages, [`kept`] saves the files of destroyed ones, [`memory`] maps it, [`anchors`] make that cheap, [`attachments`] remembers
//! where, [`pieces`] follows what the host does to them by itself, [`forced`] lets segments go without IPC_RMID, [`permission`] is the kernel's rules,
//! [`proc`] what /proc shows, [`quick`] has the commonest calls' quick way, [`truncated`] keeps the loss of a registry from the host; here are the calls.
//! Each checks in the order in which Linux does, and is whole to the host's signal handlers, as in the kernel: they come before or after it. One may fork, and
//! both processes would go on in the middle.
//!
//! What needs much of the host's stack is `#[inline(never)]`, as in the gate.
//!
//! Lock order: there is one lock ([`books::Writer`]), and nothing is called under it that takes another.

mod anchors;
mod attachments;
mod books;
pub mod check;
mod claims;
mod control;
mod files;
mod forced;
mod holders;
mod huge;
mod kept;
pub mod layout;
mod life;
mod memory;
#[cfg(test)]
mod orders;
mod permission;
mod pieces;
pub mod place;
pub mod proc;
mod quick;
pub mod registry;
pub mod survey;
pub mod truncated;

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::path::Path;

use attachments::{Attachment, Attachments};
use books::Writer;
use claims::Claimed;
use holders::{Found, no_blocks};
use layout::{HAS_ANCHORS, MAY_BE_MAPPED, SEGMENTS, Segment, State, Word, id, split};
use life::{Asker, Life, OwnLife};
use memory::{Access, Place};
use permission::{EXECUTE, READ, WRITE, ids};
pub use pieces::{Change, Move};
use registry::Registry;

use super::Backend;
use crate::atomic::AtomicU64;
use crate::errno::Errno;
use crate::map::{Mapping, View};
use crate::names::SHM_PIN;
use crate::sys::BlockedSignals;
use crate::{clock, sys};

const SHM_EXEC: i32 = 0o100_000;

/// The userspace backend, in one namespace.
#[derive(Debug)]
pub struct Userspace {
    registry: Registry,
    own: OwnLife,
    attachments: Attachments,
    page_size: u64,
    /// A segment's id, and where in its blocks the process has held it last.
    hints: View<[AtomicU64; HINTS]>,
}

/// What a new segment is to be: shmget's arguments, whether it gets huge pages, and whose it is.
#[derive(Clone, Copy)]
struct New {
    key: i32,
    size: u64,
    flags: i32,
    is_huge: bool,
    ids: u64,
}

/// A page of them.
const HINTS: usize = 512;

/// Seconds since the epoch, as the times of a segment are.
fn now() -> u64 {
    clock::realtime_ns() / 1_000_000_000
}

impl Userspace {
    /// Opens the namespace in `dir`, and makes it if there is none.
    ///
    /// # Errors
    /// A message for people.
    pub fn open(dir: &Path) -> Result<Userspace, String> {
        let registry = Registry::open_or_create(dir)?;
        let memory = |errno: Errno| format!("no memory for the userspace backend: {}", errno.text());
        let opened = Userspace {
            registry,
            own: OwnLife::new().map_err(memory)?,
            attachments: Attachments::new().map_err(memory)?,
            page_size: sys::page_size(),
            // SAFETY: atomics alone.
            hints: unsafe { View::new(Mapping::private_memory(size_of::<[AtomicU64; HINTS]>()).map_err(memory)?) },
        };
        opened.notice_exec();
        Ok(opened)
    }

    /// The namespace, seen from the library to the end of the process.
    pub fn guard(&'static self) {
        truncated::guard(&self.registry, &self.own);
    }

    /// If another image of the calling process has held something, its end is noticed now.
    fn notice_exec(&self) {
        let mut asker = self.asker();
        for life in self.registry.lives_of(self.own.pid()).filter(|life| !asker.is_alive(*life)) {
            for (index, segment) in self.registry.segments().iter().enumerate() {
                let found = Found { index, segment, word: segment.load() };
                if found.word.is_there() && self.registry.is_held_by(&found, life) {
                    self.registry.count(&found, &mut self.asker());
                }
            }
            self.registry.give_back(life);
        }
    }

    /// The caller's life, claimed if it has none yet. A process that no fork handler announced has its parent's attaches.
    fn life(&self) -> Result<Life, Errno> {
        match self.own.get() {
            Some(life) => Ok(life),
            None => self.begin_life(),
        }
    }

    #[cold]
    fn begin_life(&self) -> Result<Life, Errno> {
        // Another library's fork handler may come before ours.
        if self.own.is_new() {
            self.forked();
            if let Some(life) = self.own.get() {
                return Ok(life);
            }
        }
        let claimed = self.registry.claim_life(self.own.pid())?;
        // First: with a life that it has, another thread may attach, and counts that itself.
        self.hold_all(claimed.life, &|_| {});
        Ok(self.own.set(claimed))
    }

    /// Notes `life` as a holder of everything that is attached, and hands each segment to `also`.
    #[inline(never)]
    fn hold_all(&self, life: Life, also: &dyn Fn(&Found<'_>)) {
        self.for_each_attached(&|found| {
            // Without room for it the count is too low: there is nobody to tell.
            if self.hold(found, life, 1).is_err() {
                found.segment.note(MAY_BE_MAPPED);
            }
            also(found);
        });
    }

    /// Notes that a child will have everything mapped that is attached, and is not counted before its first call.
    #[cold]
    #[inline(never)]
    fn fork_uncounted(&self) {
        self.for_each_attached(&|found| found.segment.note(MAY_BE_MAPPED));
    }

    /// Shows `visit` the segment of each attach. A removed one is not destroyed here: that takes a life, which the caller may be about to get.
    #[inline(never)]
    fn for_each_attached(&self, visit: &dyn Fn(&Found<'_>)) {
        self.attachments.for_each(&mut |attachment| _ = self.held(attachment.shmid).as_ref().map(visit));
    }

    /// Notes `count` more attaches of `life`.
    fn hold(&self, found: &Found<'_>, life: Life, count: u32) -> Result<(), Errno> {
        let before = self.hint(found);
        let mut hint = before;
        self.registry.hold(found, life, count, &mut hint)?;
        self.registry.mark(found);
        if hint != before {
            self.hints[found.index % HINTS].store((found.id() as u64) << 32 | hint, SeqCst);
        }
        Ok(())
    }

    /// Where the process has held the segment last: with many holders the search would be long.
    fn hint(&self, found: &Found<'_>) -> u64 {
        let word = self.hints[found.index % HINTS].load(SeqCst);
        if word >> 32 == found.id() as u64 { word & u64::from(u32::MAX) } else { 0 }
    }

    /// The segment has just been attached, by a call or by fork.
    fn note_attach(&self, segment: &Segment) {
        segment.atime.store(now(), SeqCst);
        segment.lpid.store(self.own.pid(), SeqCst);
    }

    /// The segment with this id, removed or not.
    #[inline(never)]
    fn found(&self, shmid: i32) -> Option<Found<'_>> {
        let found = self.in_slot(shmid)?;
        (!self.is_gone(&found)).then_some(found)
    }

    /// Its last holders may have been killed.
    #[inline(always)]
    fn is_gone(&self, found: &Found<'_>) -> bool {
        (found.word.state == State::Removed || self.registry.may_force()) && self.destroyed(found)
    }

    /// As [`Userspace::found`], or one that nobody holds any more.
    #[inline(always)]
    fn in_slot(&self, shmid: i32) -> Option<Found<'_>> {
        self.held(shmid).filter(|found| found.word.is_there())
    }

    /// The segment of something attached: it may be somebody's own for a moment, who looks whether it can go.
    #[inline(always)]
    fn held(&self, shmid: i32) -> Option<Found<'_>> {
        let (index, sequence) = split(shmid)?;
        let segment = self.registry.segment(index)?;
        let word = segment.load();
        let is_one = matches!(word.state, State::Live | State::Removed | State::Owned) && word.sequence == sequence;
        is_one.then_some(Found { index, segment, word })
    }

    /// How many attaches a segment has.
    fn nattch(&self, found: &Found<'_>) -> u64 {
        self.held_by_own_alone(found).unwrap_or_else(|| self.registry.count(found, &mut self.asker()))
    }

    /// As [`Userspace::nattch`], when nobody has to be asked for it.
    #[inline(always)]
    fn held_by_own_alone(&self, found: &Found<'_>) -> Option<u64> {
        found.held_by_own_alone(self.own.get()?)
    }

    /// Asks who is alive.
    #[inline(never)]
    fn asker(&self) -> Asker<'_> {
        Asker::new(&self.registry, self.counted())
    }

    /// The caller's life, if it has one or something attached. A child that no fork handler announced has to be counted before it has less.
    #[inline(never)]
    fn counted(&self) -> Option<Life> {
        self.own.get().or_else(|| if self.has_attached() { self.begin_life().ok() } else { None })
    }

    #[inline(never)]
    fn get(&self, key: i32, size: u64, flags: i32) -> Result<u64, Errno> {
        let _whole = BlockedSignals::block_handled();
        if key != libc::IPC_PRIVATE {
            while let Some(found) = self.registry.find(key) {
                let (index, segment) = found;
                let seen = Found { index, segment, word: segment.load() };
                if self.is_gone(&seen) {
                    if seen.is_still_there() {
                        break;
                    }
                    continue;
                }
                if let Some(result) = self.look_up(found, key, size, flags) {
                    return result.map(|shmid| shmid as u64);
                }
            }
            if flags & libc::IPC_CREAT == 0 {
                return Err(Errno::ENOENT);
            }
        }
        self.create(key, size, flags)
    }

    /// shmget of a key that is there.
    #[inline(always)]
    fn look_up(&self, (index, segment): (usize, &Segment), key: i32, size: u64, flags: i32) -> Option<Result<i32, Errno>> {
        let word = segment.load();
        if flags & libc::IPC_CREAT != 0 && flags & libc::IPC_EXCL != 0 {
            return Some(Err(Errno::EEXIST));
        }
        let segsz = segment.size.load(SeqCst);
        // The slot may have become another's meanwhile.
        if word.state != State::Live || segment.key.load(SeqCst) != key as u32 {
            return None;
        }
        if size > segsz {
            return Some(Err(Errno::EINVAL));
        }
        if !permission::may_access(segment, word, flags as u32 & 0o777) {
            return Some(Err(Errno::EACCES));
        }
        Some(Ok(id(index, word.sequence)))
    }

    #[inline(never)]
    fn create(&self, key: i32, size: u64, flags: i32) -> Result<u64, Errno> {
        let registry = &self.registry;
        let header = &registry.layout().header;
        self.settle_limits();
        self.force();
        if size == 0 || size > header.shmmax.load(SeqCst) {
            return Err(Errno::EINVAL);
        }
        let pages = size.checked_next_multiple_of(self.page_size).ok_or(Errno::ENOSPC)? / self.page_size;
        let life = self.life()?;
        let ids = ids(sys::geteuid(), sys::getegid());
        // Only a key has to be one's own: nothing else that is done here needs the lock.
        let mut writer = (key != libc::IPC_PRIVATE).then(|| registry.write(life));
        if key != libc::IPC_PRIVATE
            && let Some(found) = registry.find(key)
            && !self.has_to_go(found, life, writer.as_ref())
            && let Some(result) = self.look_up(found, key, size, flags)
        {
            return result.map(|shmid| shmid as u64);
        }
        let over = || {
            let fits = header.pages.load(SeqCst).checked_add(pages).is_some_and(|sum| sum <= header.shmall.load(SeqCst));
            (!fits, header.in_use.load(SeqCst) >= header.shmmni.load(SeqCst).min(SEGMENTS as u64))
        };
        if over() != (false, false) {
            // Perhaps by what was destroyed without the lock, or is held by the dead.
            self.bury();
            writer.get_or_insert_with(|| registry.write(life)).settle();
        }
        let (too_many_pages, too_many) = over();
        if too_many_pages {
            return Err(Errno::ENOSPC);
        }
        // No file is longer.
        if pages > i64::MAX as u64 / self.page_size {
            return Err(Errno::EINVAL);
        }
        let is_huge = huge::may_have(flags)?;
        let now = now();
        if flags & libc::SHM_NORESERVE == 0 && !is_huge && !registry.has_room(pages, now) {
            // What the dead have held is room again, and is to be looked for now and then where there is enough, too.
            self.bury();
            writer.get_or_insert_with(|| registry.write(life));
            registry.check_room(pages, now)?;
        }
        if too_many {
            return Err(Errno::ENOSPC);
        }
        let mode = flags as u32 & 0o777;
        let begun = registry.begin();
        let made = registry.take_slot(life, if is_huge { u64::MAX } else { pages }, mode).and_then(|(found, before)| {
            let made = self.fill(&found, before, New { key, size, flags, is_huge, ids });
            if made.is_err() {
                let free = Word { state: State::Free, owner: Life::NOBODY, ..found.segment.load() };
                found.segment.word.store(free.to_u64(), SeqCst);
            }
            made.map(|word| (found, word))
        });
        let (found, word) = made.inspect_err(|_| registry.done(begun))?;
        let publish = || found.segment.word.store(word.to_u64(), SeqCst);
        match &writer {
            Some(writer) if key != libc::IPC_PRIVATE => writer.enter(found.index, key, publish),
            _ => publish(),
        }
        registry.done(begun);
        // What others were killed at is seen to now and then, even where nobody ever takes the lock.
        if writer.is_none() && word.sequence.is_multiple_of(64) && header.stale.load(SeqCst) != 0 {
            drop(registry.write(life));
        }
        let shmid = id(found.index, word.sequence);
        if flags & SHM_PIN != 0 {
            drop(writer);
            let _ = self.lock(shmid, true);
        }
        Ok(shmid as u64)
    }

    /// Destroys a segment that goes by kernel.shm_rmid_forced, under the lock.
    #[inline]
    fn has_to_go(&self, (index, segment): (usize, &Segment), life: Life, writer: Option<&Writer<'_>>) -> bool {
        let found = || Found { index, segment, word: segment.load() };
        self.registry.may_force() && self.registry.destroy_if_forced(&found(), life, &mut self.asker(), writer)
    }

    /// Counts a new segment in and fills its slot, which was `before`; returns what makes it visible.
    fn fill(&self, found: &Found<'_>, before: Word, new: New) -> Result<Word, Errno> {
        let registry = &self.registry;
        let &Found { index, segment, word } = found;
        let New { key, size, flags, is_huge, ids } = new;
        let mode = flags as u32 & 0o777;
        let pages = size.div_ceil(self.page_size);
        let mut sequence = word.sequence;
        let has_file = registry.take_file(found, before, if is_huge { u64::MAX } else { pages }, mode);
        if !registry.count_in(index, pages) {
            return Err(Errno::ENOSPC);
        }
        if is_huge || registry.is_shared() {
            let made = if is_huge {
                registry.make_huge_file(index, sequence, size, flags)
            } else {
                registry.make_shared_file(index, sequence, pages * self.page_size, mode)
            };
            sequence = made.inspect_err(|_| registry.count_out(index, pages))?;
            segment.file.store(sequence.into(), SeqCst);
        }
        let anchors = if has_file { segment.flags.load(SeqCst) & HAS_ANCHORS } else { 0 };
        // Until the slot's word says that there is a segment nobody looks at these.
        segment.key.store(key as u32, Relaxed);
        segment.flags.store(flags as u32 & !0o777 | anchors, Relaxed);
        segment.size.store(size, Relaxed);
        let owner = &segment.owners[0];
        owner.ids.store(ids, Relaxed);
        owner.mode.store(mode.into(), Relaxed);
        owner.ctime.store(now(), Relaxed);
        segment.creator.store(ids, Relaxed);
        segment.cpid.store(self.own.pid(), Relaxed);
        segment.lpid.store(0, Relaxed);
        segment.atime.store(0, Relaxed);
        segment.dtime.store(0, Relaxed);
        segment.more.store(no_blocks(id(index, sequence)), Relaxed);
        self.note_creator(segment, word.owner);
        let has_file = has_file || registry.is_shared() || is_huge;
        let owner = Life::NOBODY;
        Ok(Word { state: State::Live, second: false, locked: false, has_file, may_have_file: has_file, sequence, owner })
    }

    /// Destroys removed segments whose holders are dead.
    #[inline(never)]
    fn bury(&self) {
        let may_be_buried = |state| matches!(state, State::Removed | State::Owned);
        if self.registry.segments().iter().any(|segment| may_be_buried(segment.load().state))
            && let Ok(life) = self.life()
        {
            self.registry.bury(life, &mut self.asker(), may_be_buried);
        }
    }

    #[inline(never)]
    fn attach(&self, shmid: i32, addr: u64, flags: i32) -> Result<u64, Errno> {
        let _whole = BlockedSignals::block_handled();
        if shmid < 0 {
            return Err(Errno::EINVAL);
        }
        let place = self.place(addr, flags)?;
        let found = self.found(shmid).ok_or(Errno::EINVAL)?;
        let access = Access { write: flags & libc::SHM_RDONLY == 0, execute: flags & SHM_EXEC != 0 };
        let asked = READ | if access.write { WRITE } else { 0 } | if access.execute { EXECUTE } else { 0 };
        if !permission::may_access(found.segment, found.word, asked) {
            return Err(Errno::EACCES);
        }
        let len = found.segment.mapped_size(self.page_size).ok_or(Errno::ENOMEM)?;
        let life = self.life()?;
        self.hold(&found, life, 1)?;
        // Of a range that goes beyond all addresses mmap would say that first.
        let frame = (&raw const life).addr() as u64;
        let is_taken = |address: u64| address.checked_add(len).is_none_or(|end| (address..end).contains(&frame));
        let mut attached = Err(Errno::EIDRM);
        let mut attach = || {
            attached = self.registry.attach(&found, len, place, access);
            attached.ok()
        };
        // Noted first, then looked again: whoever destroys does it the other way round.
        match place {
            _ if !found.is_still_there() => {}
            Place::Free(address) if is_taken(address) => attached = Err(Errno::EINVAL),
            Place::Over(address) => self.replacing(address..address.saturating_add(len), &mut attach),
            Place::Anywhere | Place::Free(_) => drop(attach()),
        }
        let noted = attached.and_then(|address| {
            let noted = self.attachments.insert(Attachment { origin: address, offset: 0, len, shmid });
            noted.inspect_err(|_| memory::unmap(address, len)).map(|()| address)
        });
        match noted {
            Ok(address) => {
                self.registry.notice_deaths(&found, life);
                self.note_attach(found.segment);
                Ok(address)
            }
            Err(errno) => {
                self.registry.release(&found, life, self.hint(&found));
                // Looking for it destroys it, if it is removed and nobody holds it.
                let _ = self.found(shmid);
                Err(errno)
            }
        }
    }

    fn place(&self, addr: u64, flags: i32) -> Result<Place, Errno> {
        let remaps = flags & libc::SHM_REMAP != 0;
        if addr == 0 {
            return if remaps { Err(Errno::EINVAL) } else { Ok(Place::Anywhere) };
        }
        let below = addr % self.page_size;
        if below != 0 && flags & libc::SHM_RND == 0 {
            return Err(Errno::EINVAL);
        }
        match (addr - below, remaps) {
            (0, true) => Err(Errno::EINVAL),
            (address, true) => Ok(Place::Over(address)),
            (address, false) => Ok(Place::Free(address)),
        }
    }

    #[inline(never)]
    fn detach(&self, addr: u64) -> Result<u64, Errno> {
        let _whole = BlockedSignals::block_handled();
        if !addr.is_multiple_of(self.page_size) {
            return Err(Errno::EINVAL);
        }
        self.counted();
        let mut piece = self.attachments.take(addr).ok_or(Errno::EINVAL)?;
        loop {
            memory::unmap(piece.range().start, piece.len);
            self.give_back(piece.shmid);
            match self.attachments.take_another(&piece) {
                Some(another) => piece = another,
                None => return Ok(0),
            }
        }
    }

    /// Something attached of a segment is mapped no more.
    #[inline(never)]
    fn give_back(&self, shmid: i32) {
        // Without a life the caller holds nothing.
        if let Some(found) = self.held(shmid)
            && let Ok(life) = self.life()
        {
            self.registry.notice_deaths(&found, life);
            found.segment.dtime.store(now(), SeqCst);
            found.segment.lpid.store(self.own.pid(), SeqCst);
            self.registry.release(&found, life, self.hint(&found));
            // Looking for it destroys it, if it is removed and nobody holds it.
            let _ = self.found(shmid);
        }
    }

    /// Destroys a segment that nobody holds any more, if it is removed or goes without that; true if it is gone.
    #[cold]
    #[inline(never)]
    fn destroyed(&self, found: &Found<'_>) -> bool {
        let Ok(life) = self.life() else { return false };
        let (registry, mut asker) = (&self.registry, self.asker());
        if found.word.state == State::Removed {
            return registry.destroy_if_free(found, life, &mut asker);
        }
        registry.settle_forced(life, &mut asker);
        registry.destroy_if_forced(found, life, &mut asker, None) || !found.is_still_there()
    }

    /// The calling process is about to fork: the child's attaches are counted before fork returns.
    pub fn fork_begins(&self) {
        let _whole = BlockedSignals::block_handled();
        let attached = self.attachments.state();
        let claimed = match self.own.get().filter(|_| self.has_attached()).map(|own| self.claim_for_child(own)) {
            None => None,
            Some(Ok(claimed)) => Some(claimed),
            Some(Err(_)) => {
                self.fork_uncounted();
                None
            }
        };
        if !self.registry.claims.fork_begins(claimed, attached) {
            self.fork_uncounted();
        }
    }

    /// A life for the child of the calling process, which has the life `own`: it holds all that is attached.
    fn claim_for_child(&self, own: Life) -> Result<Claimed<'_>, Errno> {
        let claimed = self.registry.claim_life(0)?;
        self.hold_all(claimed.life, &|found| {
            self.registry.notice_deaths(found, own);
            self.note_attach(found.segment);
        });
        Ok(claimed)
    }

    /// fork has returned in the parent, with or without a child: the child's life is its own.
    pub fn fork_ended(&self) {
        self.registry.claims.fork_ended();
    }

    /// fork made the calling process. Nothing happens the second time.
    pub fn forked(&self) {
        if !self.own.is_new() && self.own.is_caller() {
            return;
        }
        self.own.forget();
        // Noted now: of a vfork child's it could not be told later.
        self.own.pid();
        let inherited = self.registry.claims.forked();
        // Others may have attached or detached something since it was claimed, or it could not be.
        if inherited.claimed.is_none() || inherited.attached != self.attachments.state() {
            self.counted();
        }
        // It ends if there is another; if there can't be, what it holds is better than nothing.
        if let Some(claimed) = inherited.claimed
            && self.own.get().is_none()
            && self.has_attached()
        {
            self.registry.live_on(claimed.life);
            self.own.set(claimed);
        }
        if inherited.may_have_descriptors {
            self.registry.close_lives();
        }
    }

    /// The calling process is about to change its user.
    pub fn uid_changes(&self) {
        if self.has_attached() {
            self.registry.keep_lives();
        }
    }

    /// The calling process ends.
    pub fn leave(&self) {
        // It may have written the setting, and nothing else.
        self.force();
        if let Some(life) = self.own.get()
            && self.attachments.count() == 0
        {
            self.registry.give_back(life);
        }
    }
}

impl Backend for Userspace {
    fn number(&self) -> u8 {
        1
    }

    fn shmget(&self, key: i32, size: u64, flags: i32) -> Result<u64, Errno> {
        self.get(key, size, flags)
    }

    unsafe fn shmat(&self, shmid: i32, addr: u64, flags: i32) -> Result<u64, Errno> {
        self.attach(shmid, addr, flags)
    }

    unsafe fn shmdt(&self, addr: u64) -> Result<u64, Errno> {
        self.detach(addr)
    }

    unsafe fn shmctl(&self, shmid: i32, cmd: i32, buf: u64) -> Result<u64, Errno> {
        // SAFETY: by the caller's promise.
        unsafe { self.control(shmid, cmd, buf) }
    }

    fn exists(&self, shmid: i32, size: u64) -> bool {
        self.found(shmid).is_some_and(|found| found.segment.size.load(SeqCst) == size)
    }

    fn created_by(&self, pid: u32, size: u64, found: &mut dyn FnMut(i32) -> bool) {
        for (index, segment) in self.registry.segments().iter().enumerate() {
            let word = segment.load();
            if word.is_there()
                && segment.cpid.load(SeqCst) == pid
                && segment.size.load(SeqCst) == size
                && found(id(index, word.sequence))
            {
                return;
            }
        }
    }

    fn attached(&self, _: u32) -> Option<u64> {
        Some(self.attachments.count())
    }
}
