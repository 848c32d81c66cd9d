//! Deciding: the rules, then the quotas, then the call itself.

use super::Gate;
use crate::backend::Backend;
use crate::call::{Call, Denial, Outcome, PermSet, Reason, Verdict};
use crate::errno::Errno;
use crate::policy::Rule;
use crate::policy::rule::{Action, Caller, new_mode};
use crate::sys;

/// How often a creation starts again because others create and remove the key in between.
const MOST_RETRIES: u32 = 1000;

impl Gate {
    /// Makes a shared memory call; returns what the caller gets.
    ///
    /// # Errors
    /// The call's own, or the refusal's.
    ///
    /// # Safety
    /// The call is the host's own, and the host answers for its addresses as it does when it calls libc.
    pub unsafe fn call(&self, call: &Call<'_>) -> Result<u64, Errno> {
        let start = self.now();
        let outcome = match self.refusal(call) {
            Some(denial) => Outcome::denied(denial),
            // SAFETY: by the caller's promise.
            None => unsafe { self.decide(call) },
        };
        self.record(start, &self.described(call), outcome)
    }

    /// shmdt, noted by the ledger.
    unsafe fn detach(&self, addr: u64) -> Result<u64, Errno> {
        // SAFETY: by the caller's promise.
        let shmdt = || unsafe { self.backend.shmdt(addr) };
        let Some(ledger) = &self.ledger else { return shmdt() };
        let me = self.identity.me();
        let held = ledger.begin_detach(&self.identity, me, &self.backend);
        let result = shmdt();
        if let Some(slot) = held {
            ledger.end_detach(&self.identity, me, slot, result.is_ok());
        }
        result
    }

    /// shmctl, noted by the ledger.
    #[inline]
    pub(super) unsafe fn control(&self, shmid: i32, cmd: i32, buf: u64) -> Result<u64, Errno> {
        // SAFETY: by the caller's promise.
        let result = unsafe { self.backend.shmctl(shmid, cmd, buf) };
        if let (Ok(_), libc::IPC_RMID, Some(ledger)) = (result, cmd, &self.ledger) {
            ledger.removed(shmid, &self.backend);
        }
        result
    }

    /// True if a shmget may make a segment, and policy or ledger want to know.
    #[inline]
    pub(super) fn tells_creation(&self, key: i32, flags: i32) -> bool {
        (key == libc::IPC_PRIVATE || flags & libc::IPC_CREAT != 0) && (self.minds_creation || self.ledger.is_some())
    }

    /// Makes an ftok call; returns the key. `real` makes it; `path` gives the path, if it could be read.
    ///
    /// # Errors
    /// ftok's, or the refusal's.
    #[inline(never)]
    pub fn ftok<'a>(
        &self,
        proj: i32,
        real: &dyn Fn() -> Result<u64, Errno>,
        path: &dyn Fn(Option<Errno>) -> &'a [u8],
    ) -> Result<u64, Errno> {
        let start = self.now();
        let call = Call::Ftok { path: b"", proj };
        let outcome = match self.refusal(&call) {
            Some(denial) => Outcome::denied(denial),
            None => self.ruled(&call, false, |_, _| real()),
        };
        // A path that nothing has tried to read may be no path at all.
        let tried = !matches!(outcome.verdict, Verdict::Denied(_));
        let path = if tried { path(outcome.result.err()) } else { b"" };
        self.record(start, &Call::Ftok { path, proj }, outcome)
    }

    /// A call in which shmgate itself failed: it is refused, so that no limit is bypassed, and recorded as far as that goes.
    ///
    /// # Errors
    /// EPERM, always.
    pub fn failed(&self, call: &Call<'_>) -> Result<u64, Errno> {
        self.record(self.now(), call, Outcome::denied(Denial::plain(Reason::Internal, Errno::EPERM)))
    }

    /// The refusal that a wrong set-up means, and a word about it.
    fn refusal(&self, call: &Call<'_>) -> Option<Denial> {
        #[cfg(feature = "test-panic")]
        if sys::environment(c"SHMGATE_TEST_PANIC").is_some_and(|name| name.to_bytes() == call.kind().name().as_bytes()) {
            panic!("asked for by SHMGATE_TEST_PANIC");
        }
        let _ = call;
        self.say_fault();
        self.refuses.then(|| Denial::plain(Reason::Config, Errno::EPERM))
    }

    /// The call with what can only be read from the host's memory.
    fn described<'a>(&self, call: &Call<'a>) -> Call<'a> {
        match *call {
            Call::Shmctl { shmid, cmd: libc::IPC_SET, buf, set: None } => {
                let set = sys::read_host::<libc::shmid_ds>(buf).map(|segment| perm_set(&segment));
                Call::Shmctl { shmid, cmd: libc::IPC_SET, buf, set }
            }
            other => other,
        }
    }

    #[inline(never)]
    unsafe fn decide(&self, call: &Call<'_>) -> Outcome {
        match *call {
            Call::Shmget { key, size, flags } => self.shmget(key, size, flags),
            Call::Shmat { shmid, addr, flags } => self.ruled(call, false, |_, verdict| {
                let Some(ledger) = &self.ledger else {
                    // SAFETY: by the caller's promise.
                    return unsafe { self.backend.shmat(shmid, addr, flags) };
                };
                let me = self.identity.me();
                let (slot, denial) = ledger
                    .reserve_attach(&self.identity, me, &self.backend, &self.policy)
                    .map_err(|denial| refuse(verdict, denial))?;
                note_dry_run(verdict, denial);
                // SAFETY: by the caller's promise.
                let result = unsafe { self.backend.shmat(shmid, addr, flags) };
                if let Some(slot) = slot {
                    ledger.settle(&self.identity, me, &self.backend, slot, result.is_ok());
                }
                result
            }),
            // SAFETY: by the caller's promise.
            Call::Shmdt { addr } => self.ruled(call, false, |_, _| unsafe { self.detach(addr) }),
            Call::Shmctl { shmid, cmd: libc::IPC_SET, buf, .. } if self.minds_creation => {
                // SAFETY: by the caller's promise.
                unsafe { self.ipc_set(shmid, buf) }
            }
            Call::Shmctl { shmid, cmd, buf, .. } => {
                // SAFETY: by the caller's promise.
                self.ruled(call, false, |_, _| unsafe { self.control(shmid, cmd, buf) })
            }
            Call::Ftok { .. } => Outcome::of(Err(Errno::ENOSYS)),
        }
    }

    /// shmget. Where creation matters to the policy, it is told from a look-up first: the system's own call says only afterwards
    /// that there is an id, not whether it is new.
    #[inline(never)]
    fn shmget(&self, key: i32, size: u64, flags: i32) -> Outcome {
        let call = Call::Shmget { key, size, flags };
        if !self.tells_creation(key, flags) {
            return self.ruled(&call, false, |_, _| self.backend.shmget(key, size, flags));
        }
        let exclusive = key == libc::IPC_PRIVATE || flags & libc::IPC_EXCL != 0;
        for _ in 0..MOST_RETRIES {
            if !exclusive {
                let found = self.ruled(&call, false, |_, _| self.backend.shmget(key, size, flags & !libc::IPC_CREAT));
                if found.result != Err(Errno::ENOENT) {
                    return found;
                }
            }
            let made = self.ruled(&call, true, |mask, verdict| {
                let flags = flags & !i32::from(mask) | if exclusive { 0 } else { libc::IPC_EXCL };
                self.create(key, size, flags, verdict)
            });
            // A rule may refuse by that errno, too.
            if exclusive || made.result != Err(Errno::EEXIST) || matches!(made.verdict, Verdict::Denied(_)) {
                return made;
            }
        }
        // Somebody makes and removes the key as fast as we ask: to this caller it is absent, as it was a moment ago.
        Outcome::of(Err(Errno::ENOENT))
    }

    /// Creates a segment, if size, mode and quotas are within limits.
    #[inline(never)]
    fn create(&self, key: i32, size: u64, flags: i32, verdict: &mut Verdict) -> Result<u64, Errno> {
        // A limit is refused as the kernel refuses its own: after it has seen that the key is free.
        let refuse = |verdict: &mut Verdict, denial: Denial| {
            let taken = key != libc::IPC_PRIVATE && self.backend.shmget(key, 0, 0).is_ok();
            if taken { Errno::EEXIST } else { refuse(verdict, denial) }
        };
        for denial in [self.too_large(size), self.too_open((flags & 0o777) as u16)].into_iter().flatten() {
            if !self.policy.dry_run {
                return Err(refuse(verdict, denial));
            }
            *verdict = Verdict::WouldDeny(denial);
        }
        let Some(ledger) = &self.ledger else { return self.backend.shmget(key, size, flags) };
        // A segment of no bytes, or more than an address can count, is the kernel's to refuse: EINVAL, not a quota's ENOSPC.
        if size == 0 || i64::try_from(size).is_err() {
            return self.backend.shmget(key, size, flags);
        }
        let pages = ledger.pages(size, flags);
        let (reservation, denial) = ledger
            .reserve_segment(&self.identity, &self.backend, &self.policy, (key, size, pages))
            .map_err(|denial| refuse(verdict, denial))?;
        note_dry_run(verdict, denial);
        let result = self.backend.shmget(key, size, flags);
        if let Some(reservation) = reservation {
            match result {
                Ok(shmid) => ledger.commit(reservation, shmid as i32),
                Err(_) => ledger.cancel(reservation),
            }
        }
        result
    }

    /// IPC_SET, from a copy of the host's buffer: what was checked is what is set.
    #[inline(never)]
    unsafe fn ipc_set(&self, shmid: i32, buf: u64) -> Outcome {
        let cmd = libc::IPC_SET;
        let Some(mut segment) = sys::read_host::<libc::shmid_ds>(buf) else {
            // SAFETY: by the caller's promise; the backend answers EFAULT.
            return Outcome::of(unsafe { self.backend.shmctl(shmid, cmd, buf) });
        };
        let call = Call::Shmctl { shmid, cmd, buf, set: Some(perm_set(&segment)) };
        self.ruled(&call, false, |mask, verdict| {
            segment.shm_perm.mode &= !(mask as libc::c_ushort);
            if let Some(denial) = self.too_open(perm_set(&segment).mode & 0o777) {
                if !self.policy.dry_run {
                    return Err(refuse(verdict, denial));
                }
                *verdict = Verdict::WouldDeny(denial);
            }
            // SAFETY: `segment` outlives the call.
            unsafe { self.backend.shmctl(shmid, cmd, &raw const segment as u64) }
        })
    }

    fn too_large(&self, size: u64) -> Option<Denial> {
        let limit = self.policy.segment_size.filter(|&limit| size > limit)?;
        Some(Denial { asked: size, limit, ..Denial::plain(Reason::SegmentSize, Errno::EINVAL) })
    }

    fn too_open(&self, mode: u16) -> Option<Denial> {
        let open = self.policy.forbid_world_access && mode & 0o006 != 0;
        open.then(|| Denial { asked: mode.into(), ..Denial::plain(Reason::WorldAccess, Errno::EACCES) })
    }

    /// Asks the rules, and makes the call if they let it through. `make` gets the mode bits to take away, and the verdict to add to.
    fn ruled(&self, call: &Call<'_>, creates: bool, make: impl FnOnce(u16, &mut Verdict) -> Result<u64, Errno>) -> Outcome {
        let mut verdict = Verdict::Allowed;
        let mut mask = 0;
        if !self.policy.rules.is_empty()
            && let Some((rule, Rule { action, .. })) = self.policy.first_match(call, creates, self)
        {
            match *action {
                Action::Allow => {}
                Action::Log => verdict = Verdict::Logged { rule },
                Action::Mask(bits) => {
                    if new_mode(call, creates).is_some_and(|mode| mode & bits != 0) {
                        // A dry run changes nothing.
                        (mask, verdict) =
                            if self.policy.dry_run { (0, Verdict::Logged { rule }) } else { (bits, Verdict::Masked { rule }) };
                    }
                }
                Action::Deny(errno) => {
                    let denial = Denial::plain(Reason::Rule(rule), errno);
                    if !self.policy.dry_run {
                        return Outcome::denied(denial);
                    }
                    verdict = Verdict::WouldDeny(denial);
                }
            }
        }
        let result = make(mask, &mut verdict);
        Outcome { result, verdict }
    }
}

impl Caller for Gate {
    fn uid(&self) -> u32 {
        // A rule is a limit: it does not go by what is remembered.
        sys::geteuid()
    }

    fn exe(&self) -> Option<&[u8]> {
        let exe = self.exe.get_or_init(|| {
            let mut buffer = [0; 1024];
            Box::new(sys::read_link(c"/proc/self/exe", &mut buffer).map(<[u8]>::to_vec).unwrap_or_default())
        });
        (!exe.is_empty()).then_some(exe)
    }
}

fn perm_set(segment: &libc::shmid_ds) -> PermSet {
    let perm = &segment.shm_perm;
    PermSet { uid: perm.uid, gid: perm.gid, mode: perm.mode }
}

/// Turns a verdict into a refusal; returns what the caller gets.
fn refuse(verdict: &mut Verdict, denial: Denial) -> Errno {
    *verdict = Verdict::Denied(denial);
    denial.errno
}

fn note_dry_run(verdict: &mut Verdict, denial: Option<Denial>) {
    if let Some(denial) = denial {
        *verdict = Verdict::WouldDeny(denial);
    }
}
