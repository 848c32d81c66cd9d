//! shmctl.

use core::sync::atomic::Ordering::SeqCst;

use super::holders::Found;
use super::layout::{SEGMENTS, Segment, State, Word, id};
use super::permission::{self, READ};
use super::{Userspace, now};
use crate::errno::Errno;
use crate::names::{SHM_INFO, SHM_STAT, SHM_STAT_ANY};
use crate::sys::{self, BlockedSignals};

const SHM_DEST: u32 = 0o1000;
const SHM_LOCKED: u32 = 0o2000;

/// struct shminfo.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Limits {
    shmmax: u64,
    shmmin: u64,
    shmmni: u64,
    shmseg: u64,
    shmall: u64,
    unused: [u64; 4],
}

/// struct shm_info.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Usage {
    used_ids: i32,
    shm_tot: u64,
    shm_rss: u64,
    shm_swp: u64,
    swap_attempts: u64,
    swap_successes: u64,
}

impl Userspace {
    /// shmctl.
    ///
    /// # Safety
    /// `buf` is the host's own, as it would give it to shmctl.
    #[inline(never)]
    pub(super) unsafe fn control(&self, shmid: i32, cmd: i32, buf: u64) -> Result<u64, Errno> {
        let _whole = BlockedSignals::block_handled();
        if cmd < 0 || shmid < 0 {
            return Err(Errno::EINVAL);
        }
        match cmd {
            libc::IPC_STAT => {
                let found = self.found(shmid).ok_or(Errno::EINVAL)?;
                self.stat(&found, true, buf).map(|_| 0)
            }
            libc::IPC_INFO => {
                self.bury();
                sys::write_host(buf, &self.limits()).map(|()| self.highest())
            }
            SHM_INFO => {
                self.force();
                self.bury();
                sys::write_host(buf, &self.usage()).map(|()| self.highest())
            }
            SHM_STAT | SHM_STAT_ANY => {
                let index = shmid as usize % SEGMENTS;
                let segment = self.registry.segment(index).ok_or(Errno::EINVAL)?;
                let found = self.found(id(index, segment.load().sequence)).ok_or(Errno::EINVAL)?;
                self.stat(&found, cmd == SHM_STAT, buf)
            }
            libc::IPC_SET => {
                let set = sys::read_host::<libc::shmid_ds>(buf).ok_or(Errno::EFAULT)?;
                self.set(shmid, &set)
            }
            libc::IPC_RMID => self.remove(shmid),
            libc::SHM_LOCK | libc::SHM_UNLOCK => self.lock(shmid, cmd == libc::SHM_LOCK),
            _ => Err(Errno::EINVAL),
        }
    }

    fn there(&self) -> impl Iterator<Item = (usize, &Segment, Word)> {
        let slots = self.registry.segments().iter().enumerate();
        slots.map(|(index, segment)| (index, segment, segment.load())).filter(|(_, _, word)| word.is_there())
    }

    /// The highest index in use, 0 if none is.
    fn highest(&self) -> u64 {
        self.registry.segments().iter().rposition(|segment| segment.load().is_there()).unwrap_or(0) as u64
    }

    fn limits(&self) -> Limits {
        self.settle_limits();
        let header = &self.registry.layout().header;
        let shmmni = header.shmmni.load(SeqCst);
        Limits {
            shmmax: header.shmmax.load(SeqCst),
            shmmin: 1,
            shmmni,
            shmseg: shmmni,
            shmall: header.shmall.load(SeqCst),
            unused: [0; 4],
        }
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for (index, segment, word) in self.there() {
            usage.used_ids += 1;
            usage.shm_tot += segment.pages(self.page_size);
            if word.has_file {
                usage.shm_rss += self.registry.resident(segment.file_id(index)) / self.page_size;
            }
        }
        usage
    }

    /// Fills `buf` with what is known about a segment; returns its id.
    fn stat(&self, found: &Found<'_>, asks: bool, buf: u64) -> Result<u64, Errno> {
        let &Found { segment, word, .. } = found;
        // A call that is refused leaves the buffer alone, but for a reserved word at its end.
        let uid = sys::writable_by(buf, size_of::<libc::shmid_ds>());
        if asks && !permission::may_access_as(segment, word, READ, || uid.unwrap_or_else(|_| sys::geteuid())) {
            return Err(Errno::EACCES);
        }
        uid?;
        // SAFETY: it can be written, and is shorter than a page.
        unsafe { self.describe(found, self.nattch(found), buf) }
    }

    /// Writes what is known about a segment, which has `nattch` attaches, to `buf`; returns its id.
    ///
    /// # Safety
    /// A `shmid_ds` can be written to `buf`.
    #[inline(always)]
    pub(super) unsafe fn describe(&self, found: &Found<'_>, nattch: u64, buf: u64) -> Result<u64, Errno> {
        let &Found { segment, mut word, .. } = found;
        // SAFETY: zeros are a shmid_ds.
        let mut about: libc::shmid_ds = unsafe { core::mem::zeroed() };
        // IPC_SET fills the other owner and then switches: the one that was valid before and after the look is whole.
        loop {
            let owner = segment.owner(word);
            let (ids, mode, ctime) = (owner.ids.load(SeqCst), owner.mode.load(SeqCst), owner.ctime.load(SeqCst));
            about.shm_perm.uid = ids as u32;
            about.shm_perm.gid = (ids >> 32) as u32;
            about.shm_perm.mode = (mode & 0o777) as libc::c_ushort;
            about.shm_ctime = ctime as libc::time_t;
            about.shm_perm.__key = segment.key.load(SeqCst) as i32;
            if segment.is_still(word) {
                break;
            }
            let after = segment.load();
            if !after.is_there() || after.sequence != word.sequence {
                return Err(Errno::EIDRM);
            }
            word = after;
        }
        let creator = segment.creator.load(SeqCst);
        about.shm_perm.cuid = creator as u32;
        about.shm_perm.cgid = (creator >> 32) as u32;
        let flags = if word.state == State::Removed { SHM_DEST } else { 0 } | if word.locked { SHM_LOCKED } else { 0 };
        about.shm_perm.mode |= flags as libc::c_ushort;
        about.shm_perm.__seq = word.sequence;
        about.shm_segsz = segment.size.load(SeqCst) as usize;
        about.shm_atime = segment.atime.load(SeqCst) as libc::time_t;
        about.shm_dtime = segment.dtime.load(SeqCst) as libc::time_t;
        about.shm_cpid = segment.cpid.load(SeqCst) as libc::pid_t;
        about.shm_lpid = segment.lpid.load(SeqCst) as libc::pid_t;
        about.shm_nattch = nattch as libc::shmatt_t;
        // SAFETY: by the caller's promise.
        unsafe { core::ptr::write_unaligned(buf as *mut libc::shmid_ds, about) };
        Ok(found.id() as u64)
    }

    #[inline(never)]
    fn set(&self, shmid: i32, set: &libc::shmid_ds) -> Result<u64, Errno> {
        let found = self.found(shmid).ok_or(Errno::EINVAL)?;
        if !permission::may_change(found.segment, found.word) {
            return Err(Errno::EPERM);
        }
        if set.shm_perm.uid == u32::MAX || set.shm_perm.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        let life = self.life()?;
        let _writer = self.registry.write(life);
        let mode = u32::from(set.shm_perm.mode) & 0o777;
        loop {
            let word = found.segment.load();
            if !word.is_there() || word.sequence != found.word.sequence {
                return Err(Errno::EIDRM);
            }
            if word.has_file {
                self.registry.change_file(&found, set.shm_perm.uid, set.shm_perm.gid, mode)?;
            }
            let after = Word { second: !word.second, ..word };
            let owner = found.segment.owner(after);
            owner.ids.store(permission::ids(set.shm_perm.uid, set.shm_perm.gid), SeqCst);
            owner.mode.store(mode.into(), SeqCst);
            owner.ctime.store(now(), SeqCst);
            if found.segment.advance(word, after) {
                return Ok(0);
            }
        }
    }

    #[inline(never)]
    pub(super) fn remove(&self, shmid: i32) -> Result<u64, Errno> {
        let found = self.found(shmid).ok_or(Errno::EINVAL)?;
        let segment = found.segment;
        if !permission::may_change(segment, found.word) {
            return Err(Errno::EPERM);
        }
        let life = self.life()?;
        let key = segment.key.load(SeqCst) as i32;
        // One that has no key is in no chain.
        let writer = (key != libc::IPC_PRIVATE).then(|| self.registry.write(life));
        loop {
            let word = segment.load();
            if !word.is_there() || word.sequence != found.word.sequence {
                return Err(Errno::EIDRM);
            }
            if word.state == State::Removed {
                break;
            }
            let mut hidden = false;
            let mut hide = || hidden = segment.advance(word, Word { state: State::Removed, ..word });
            match &writer {
                Some(writer) => writer.unchain(found.index, key, hide),
                None => hide(),
            }
            if hidden {
                segment.key.store(0, SeqCst);
                break;
            }
        }
        if !self.registry.destroy_if_free(&found, life, &mut self.asker()) {
            self.registry.set_aside(shmid);
        }
        Ok(0)
    }

    /// What the caller has locked. The kernel knows who locked a segment; here that is its owner and its creator, who alone may.
    fn locked_pages(&self) -> u64 {
        let locked = self.there().filter(|(_, segment, word)| word.locked && permission::may_lock(segment, *word));
        locked.fold(0, |sum, (_, segment, _)| sum.saturating_add(segment.pages(self.page_size)))
    }

    pub(super) fn lock(&self, shmid: i32, locks: bool) -> Result<u64, Errno> {
        let found = self.found(shmid).ok_or(Errno::EINVAL)?;
        let is_huge = found.segment.is_huge();
        if !permission::may_lock_all() {
            if !permission::may_lock(found.segment, found.word) {
                return Err(Errno::EPERM);
            }
            let limit = sys::memlock_limit();
            if locks && limit == 0 {
                return Err(Errno::EPERM);
            }
            if locks && !is_huge && !found.word.locked {
                let pages = self.locked_pages().saturating_add(found.segment.pages(self.page_size));
                if pages.saturating_mul(self.page_size) > limit {
                    return Err(Errno::ENOMEM);
                }
            }
        }
        if is_huge {
            // Huge pages stay in memory anyway.
            return Ok(0);
        }
        loop {
            let word = found.segment.load();
            if !word.is_there() || word.sequence != found.word.sequence {
                return Err(Errno::EIDRM);
            }
            if word.locked == locks || found.segment.advance(word, Word { locked: locks, ..word }) {
                return Ok(0);
            }
        }
    }
}
