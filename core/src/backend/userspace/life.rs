//! Which processes live.
//!
//! A process that holds segments has a slot in the registry, and the slot's byte in the file of lives locked. The lock belongs to an
//! open file description that only a mapping of the process refers to: no descriptor stays open that the host could close. The
//! mapping is not inherited by fork (MADV_DONTFORK), and goes at exec, exit and SIGKILL with the rest of the address space, before the zombie
//! is reaped: so the lock lives exactly as long as the process's attaches do.
//!
//! Whoever asks about many keeps the file open, at a high number, which the host may close: so only that somebody lives is believed of that
//! descriptor, since nobody but us locks these bytes of any file. What else it says is asked again of the file itself. A process that changes
//! its user keeps it too, and opens it anew by that descriptor when its path is closed to it.
//!
//! A slot has a second byte, which whoever claims it has locked meanwhile: were it the same, somebody stopped while claiming a dead
//! process's slot would keep that one alive.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::claims::Claimed;
use super::layout::{GENERATIONS, HOLDER_SEQUENCES, Holder, Layout, PROCESSES, Process, ProcessWord};
use super::registry::Registry;
use crate::errno::Errno;
use crate::ledger::liveness;
use crate::map::{Mapping, View};
use crate::sys::{self, File, Parked};

/// How many process slots get room at a time: a page's.
const PROCESSES_AT_A_TIME: usize = 4096 / size_of::<Process>();

/// Where process slots have their bytes of the file: where nobody else would lock something, in any file.
const LIVES_AT: u64 = u64::from_be_bytes(*b"\0SHMGATE");
/// How the file is opened to ask; to lock in it takes O_RDWR.
const ASKS: i32 = libc::O_RDONLY;
/// How many are asked about at a time before the file stays open.
const MANY: u32 = 3;

/// The byte of process slot `at` that is locked as long as the process lives.
pub(super) fn life_byte(at: usize) -> u64 {
    LIVES_AT + at as u64
}

/// A process, as others know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub process: u16,
    pub generation: u32,
}

impl Life {
    /// Of no process: generations begin with 1.
    pub const NOBODY: Life = Life { process: 0, generation: 0 };

    /// `None` for 0, and for what is no life's word.
    pub(super) fn from_u64(word: u64) -> Option<Life> {
        let generation = (word >> 16) as u32 & (GENERATIONS - 1);
        let life = Life { process: word as u16 & (PROCESSES - 1) as u16, generation };
        (life.to_u64() == word).then_some(life)
    }

    pub(super) fn to_u64(self) -> u64 {
        1 << 63 | u64::from(self.process) | u64::from(self.generation) << 16
    }

    /// As the holder of `count` attaches of a segment.
    pub fn holds(self, count: u32, sequence: u16) -> Holder {
        let sequence = sequence % HOLDER_SEQUENCES;
        Holder { count, process: self.process, generation: self.generation, sequence }
    }
}

impl Holder {
    /// Whose it is.
    pub fn life(self) -> Life {
        Life { process: self.process, generation: self.generation }
    }
}

/// The calling process's own life and pid, on a page that every kind of fork hands to the child zeroed.
#[derive(Debug)]
pub struct OwnLife(View<Own>);

#[derive(Debug)]
#[repr(C)]
struct Own {
    life: AtomicU64,
    pid: AtomicU64,
    /// When the process began, 0 until it is asked for, and its PID namespace.
    start: AtomicU64,
    pid_ns: AtomicU64,
}

impl OwnLife {
    /// Of a process that has none yet.
    ///
    /// # Errors
    /// mmap's.
    pub fn new() -> Result<OwnLife, Errno> {
        let len = sys::page_size() as usize;
        let page = Mapping::wiped_on_fork(len).or_else(|_| Mapping::private_memory(len))?;
        // SAFETY: atomics alone.
        Ok(OwnLife(unsafe { View::new(page) }))
    }

    /// The life, if the process has one.
    #[inline]
    pub fn get(&self) -> Option<Life> {
        Life::from_u64(self.0.life.load(Relaxed))
    }

    /// Forgets it, in a new child.
    pub fn forget(&self) {
        for word in [&self.0.life, &self.0.pid, &self.0.start] {
            word.store(0, SeqCst);
        }
    }

    /// The caller's process id.
    #[inline]
    pub fn pid(&self) -> u32 {
        match self.0.pid.load(Relaxed) {
            0 => {
                let pid = sys::getpid();
                self.0.pid.store(pid.into(), Relaxed);
                pid
            }
            pid => pid as u32,
        }
    }

    /// True in a new child that has not asked for its pid yet.
    pub fn is_new(&self) -> bool {
        self.0.pid.load(Relaxed) == 0
    }

    /// False in a vfork child, which has this page in common with its parent.
    pub fn is_caller(&self) -> bool {
        [0, sys::getpid().into()].contains(&self.0.pid.load(Relaxed))
    }

    /// When the process began, and its PID namespace, as /proc tells; 0 for what it does not.
    pub fn origin(&self) -> (u64, u64) {
        if self.0.start.load(SeqCst) == 0 {
            let ns = liveness::namespace_of(self.pid());
            // Another's /proc tells of another process.
            self.0.pid_ns.store(if ns == liveness::own_namespace() { ns } else { 0 }, SeqCst);
            self.0.start.store(liveness::start_time(self.pid()), SeqCst);
        }
        (self.0.start.load(SeqCst), self.0.pid_ns.load(SeqCst))
    }

    /// Makes `claimed` the process's life, unless another thread was faster; gives the one it has.
    pub fn set(&self, claimed: Claimed<'_>) -> Life {
        let life = claimed.life;
        match self.0.life.compare_exchange(0, life.to_u64(), SeqCst, SeqCst) {
            Ok(_) => {
                claimed.live();
                life
            }
            Err(theirs) => Life::from_u64(theirs).unwrap_or(life),
        }
    }
}

impl Registry {
    /// Opens the file of lives: to claim one if `claims`, else to ask. For the former it is made in a private namespace if need be; in a shared
    /// one it is there from the start.
    fn lives(&self, claims: bool) -> Result<File, Errno> {
        let path = self.path(format_args!("lives"));
        let access = if claims { libc::O_RDWR } else { ASKS };
        let open =
            |flags| File::open(path.as_ref().map_err(|errno| *errno)?.as_c_str(), flags | access | libc::O_NOFOLLOW, 0o600);
        let file = match open(0) {
            // Only what is made by O_EXCL has this mode whatever the umask.
            Err(Errno::ENOENT) if claims && !self.is_shared() => open(libc::O_CREAT | libc::O_EXCL).or_else(|_| open(0)),
            other => other,
        };
        file.or_else(|errno| self.kept_lives.open_again(access).ok_or(errno))
    }

    /// Keeps the file of lives within reach of a process that is about to become another user, who could not open it: its children are
    /// to be counted all the same.
    pub fn keep_lives(&self) {
        if !self.is_shared()
            && self.kept_lives.get().is_none()
            && let Ok(file) = self.lives(false)
        {
            // By its path nobody comes to it who may not look into the directory.
            let _ = sys::set_mode(&file, 0o666);
            self.kept_lives.park(&file);
        }
    }

    /// Claims a life for the process `pid`; 0 for one that is not known yet.
    ///
    /// # Errors
    /// ENOSPC when all slots are taken; open's, mmap's and fallocate's.
    #[inline(never)]
    pub fn claim_life(&self, pid: u32) -> Result<Claimed<'_>, Errno> {
        let _under_way = self.claims.begin();
        let file = self.lives(true)?;
        let header = &self.layout().header;
        loop {
            let ready = (header.processes_ready.load(SeqCst) as usize).min(PROCESSES);
            // Slots that were given back first. Of one that was not, only the lock tells whether its process still lives, and that takes
            // longer, the more have one: it is asked of all when none is left whose process is not to be seen.
            let is_free: [&dyn Fn(ProcessWord) -> bool; 3] =
                [&|slot| !slot.taken, &|slot| slot.taken && slot.pid != 0 && !sys::has_process(slot.pid), &|slot| slot.taken];
            let last = self.claims.last.load(Relaxed);
            for is_free in is_free {
                for at in (last..ready).chain(0..ready.min(last)) {
                    if let Some(claimed) = self.try_claim(&file, at, is_free, pid)? {
                        self.claims.last.store(at, Relaxed);
                        return Ok(claimed);
                    }
                }
            }
            if ready == PROCESSES {
                return Err(Errno::ENOSPC);
            }
            let start = core::mem::offset_of!(Layout, processes) + ready * size_of::<Process>();
            let end = (ready + PROCESSES_AT_A_TIME).min(PROCESSES);
            self.make_room(start, start + (end - ready) * size_of::<Process>())?;
            header.processes_ready.fetch_max(end as u64, SeqCst);
        }
    }

    fn try_claim(
        &self,
        file: &File,
        at: usize,
        is_free: &dyn Fn(ProcessWord) -> bool,
        pid: u32,
    ) -> Result<Option<Claimed<'_>>, Errno> {
        let slot = &self.layout().processes[at];
        let word = slot.word.load(SeqCst);
        let before = ProcessWord::from_u64(word);
        let claim = life_byte(PROCESSES + at);
        let is_lived = || file.is_byte_locked(life_byte(at)).unwrap_or(true);
        if !is_free(before) || is_lived() || !file.lock_byte(claim) {
            return Ok(None);
        }
        let generation = ((before.generation + 1) % GENERATIONS).max(1);
        let after = ProcessWord { taken: true, generation, pid };
        // The generation first: until then the slot's former life is asked about.
        let claimed = !is_lived()
            && slot.word.compare_exchange(word, after.to_u64(), SeqCst, SeqCst).is_ok()
            && file.lock_byte(life_byte(at));
        file.unlock_byte(claim);
        if !claimed {
            return Ok(None);
        }
        self.claims.keep(Life { process: at as u16, generation }, file).map(Some)
    }

    /// The calling process, a forked child, has the life that was claimed for it: puts its pid there.
    pub fn live_on(&self, life: Life) {
        if let Some(slot) = self.processes().get(usize::from(life.process)) {
            let word = ProcessWord { taken: true, generation: life.generation, pid: sys::getpid() };
            slot.word.store(word.to_u64(), SeqCst);
        }
    }

    /// Closes what descriptors of the file of lives the calling process has from claims. One that asks may be in use: by what a signal
    /// handler has interrupted, whose child goes on there.
    #[cold]
    pub fn close_lives(&self) {
        let lives = self.path(format_args!("lives")).and_then(|path| sys::stat(path.as_c_str(), false));
        let Ok(lives) = lives.map(|stat| Parked::place(&stat)) else { return };
        File::close_where(&|fd| lives.is_of(fd) && sys::access(fd) == libc::O_RDWR);
    }

    /// Gives back the slot of a life that holds nothing.
    pub fn give_back(&self, life: Life) {
        if let Some(slot) = self.processes().get(usize::from(life.process)) {
            let word = slot.word.load(SeqCst);
            let before = ProcessWord::from_u64(word);
            if before.taken && before.generation == life.generation {
                let _ = slot.word.compare_exchange(word, ProcessWord { taken: false, ..before }.to_u64(), SeqCst, SeqCst);
            }
        }
    }

    /// The lives that processes with this pid have claimed.
    pub fn lives_of(&self, pid: u32) -> impl Iterator<Item = Life> {
        self.processes().iter().enumerate().filter_map(move |(at, slot)| {
            let word = ProcessWord::from_u64(slot.word.load(SeqCst));
            (word.taken && word.pid == pid).then_some(Life { process: at as u16, generation: word.generation })
        })
    }

    /// What the registry says about a life: its pid, `None` if the slot is another's by now. One that was given back is lived to its
    /// end all the same: other threads may still be in the middle of a call.
    pub fn pid_of(&self, life: Life) -> Option<u32> {
        let word = ProcessWord::from_u64(self.processes().get(usize::from(life.process))?.word.load(SeqCst));
        (word.generation == life.generation).then_some(word.pid)
    }
}

/// Asks which lives are still lived.
#[derive(Debug)]
pub struct Asker<'a> {
    registry: &'a Registry,
    own: Option<Life>,
    file: Option<File>,
    /// The file is this namespace's for certain.
    is_sure: bool,
    asked: u32,
}

impl<'a> Asker<'a> {
    /// Asks on behalf of a process with the life `own`.
    pub fn new(registry: &'a Registry, own: Option<Life>) -> Asker<'a> {
        Asker { registry, own, file: None, is_sure: false, asked: 0 }
    }

    /// Who asks, if it has a life.
    pub fn own(&self) -> Option<Life> {
        self.own
    }

    /// True if the process lives. What can't be found out counts as alive: nothing is taken from anybody by mistake.
    pub fn is_alive(&mut self, life: Life) -> bool {
        if self.own == Some(life) {
            return true;
        }
        if self.registry.pid_of(life).is_none() {
            return false;
        }
        // Another life may have begun meanwhile.
        self.is_lived(life_byte(life.process.into())) && self.registry.pid_of(life).is_some()
    }

    fn is_lived(&mut self, byte: u64) -> bool {
        self.asked += 1;
        self.registry.kept_lives.knows_locked(byte) || self.is_locked(byte)
    }

    /// A namespace's directory may have become another's, but that costs half as much to find out as all the rest: that somebody lives is
    /// believed without.
    #[inline(never)]
    fn is_locked(&mut self, byte: u64) -> bool {
        let registry = self.registry;
        let asked = |file: &File| file.is_byte_locked(byte).unwrap_or(true);
        if !self.is_sure {
            if self.file.is_none() {
                let path = registry.path_there(format_args!("lives"));
                self.file = path.and_then(|path| File::open(path.as_c_str(), ASKS | libc::O_NOFOLLOW, 0)).ok();
            }
            if self.file.as_ref().is_some_and(asked) {
                return true;
            }
            (self.file, self.is_sure) = (registry.lives(false).ok(), true);
        }
        self.file.as_ref().is_none_or(asked)
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        if self.asked >= MANY
            && let Some(file) = &self.file
            && (self.is_sure || self.registry.path(format_args!("lives")).is_ok())
        {
            self.registry.kept_lives.park(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_child_closes_what_claims_have_open_and_nothing_else() {
        let place = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
        let registry = Registry::open_or_create(place.path()).unwrap();
        let [claims, asks] = [true, false].map(|claims| registry.lives(claims).unwrap().into_fd());
        let lives = Parked::place(&sys::stat_fd(asks).unwrap());
        registry.close_lives();
        assert_eq!([claims, asks].map(|fd| lives.is_of(fd)), [false, true]);
        drop(File::from_fd(asks));
    }
}
