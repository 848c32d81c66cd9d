//! A call's one way: policy → ledger → backend → journal and log.
//!
//! A gate is made once a process and never changes, but for its log. It takes no lock and, but for a rule that asks for the
//! executable, allocates nothing: any thread, forked child or signal handler may come through at any moment.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use once_cell::race::OnceBox;

use crate::backend::{self, Backend};
use crate::call::{Call, Denial, Outcome, PermSet, Reason, Verdict};
use crate::clock;
use crate::config::Config;
use crate::errno::Errno;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::journal::record::{self, Owner, Record};
use crate::ledger::{self, Ledger};
use crate::log::{Format, Log, Target};
use crate::policy::rule::{Action, Caller, new_mode};
use crate::policy::{Policy, Rule};
use crate::session::Session;
use crate::text::json::Json;
use crate::text::{Event, Line};
use crate::{errno, sys};

/// How often a creation starts again because others create and remove the key in between.
const MOST_RETRIES: u32 = 1000;

/// The gate of a process.
#[derive(Debug)]
pub struct Gate<B> {
    /// False if calls may go straight to the backend.
    on: AtomicBool,
    backend: B,
    identity: Identity,
    policy: Policy,
    minds_creation: bool,
    ledger: Option<Ledger>,
    journal: Option<Journal>,
    log: Log,
    format: Format,
    /// Set up wrongly: every call is refused.
    refuses: bool,
    keep_deepbind: bool,
    exe: OnceBox<Vec<u8>>,
}

/// What a process or a session did and has in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub calls: u64,
    pub denials: u64,
    /// Zeros where neither a session nor quotas keep books.
    pub in_use: ledger::Counters,
}

thread_local! {
    // No destructor, no allocation: see `identity`.
    static LAST_DENIAL: Cell<Option<Denial>> = const { Cell::new(None) };
}

impl<B: Backend> Gate<B> {
    /// Makes the gate that the environment asks for. A fault is said once on standard error; where it leaves limits unknown, the
    /// gate refuses every call.
    pub fn from_environment(backend: B) -> Gate<B> {
        let (config, fault) = match Config::from_environment() {
            Ok(config) => (config, None),
            Err(fault) => (Config::default(), Some(fault)),
        };
        let Config { log, format, policy, session, keep_deepbind } = config;
        let mut gate = Gate::bare(backend);
        gate.log.set(log);
        gate.format = format;
        gate.keep_deepbind = keep_deepbind;
        if let Some(fault) = fault {
            gate.refuse_all(&fault);
        }
        let limited = policy.is_some();
        match session.map(|dir| Session::open(Path::new(std::ffi::OsStr::from_bytes(dir.as_bytes()))).and_then(|s| s.parts())) {
            Some(Ok(parts)) => {
                gate.journal = Some(parts.journal);
                gate.ledger = Some(parts.ledger);
                match (parts.policy, policy) {
                    (Some(resolved), _) => gate.set_policy(resolved),
                    (None, Some(file)) => gate.load_policy(&file),
                    (None, None) => {}
                }
            }
            // Limits are set, and without the session nobody can tell whether they hold.
            Some(Err(fault)) if limited => gate.refuse_all(&fault.to_string()),
            Some(Err(fault)) => {
                gate.log.say(format!("{fault}; calls are not recorded").as_bytes());
            }
            None => {
                if let Some(file) = policy {
                    gate.load_policy(&file);
                }
            }
        }
        if gate.ledger.is_none() && gate.policy.has_quota() {
            match Ledger::unshared() {
                Ok(ledger) => gate.ledger = Some(ledger),
                Err(errno) => gate.refuse_all(&format!("no memory for the quotas' books: {}", errno.text())),
            }
        }
        gate.settle_on();
        gate
    }

    /// A gate that refuses every call: the one to take where making another failed.
    pub fn refusing(backend: B) -> Gate<B> {
        let mut gate = Gate::bare(backend);
        gate.refuse_all("internal error at the start, please report it");
        gate.settle_on();
        gate
    }

    fn bare(backend: B) -> Gate<B> {
        Gate {
            on: AtomicBool::new(false),
            backend,
            identity: Identity::new(),
            policy: Policy::default(),
            minds_creation: false,
            ledger: None,
            journal: None,
            log: Log::new(),
            format: Format::Text,
            refuses: false,
            keep_deepbind: false,
            exe: OnceBox::new(),
        }
    }

    fn load_policy(&mut self, file: &CString) {
        let path = Path::new(std::ffi::OsStr::from_bytes(file.as_bytes()));
        match fs::read_to_string(path).map_err(|error| format!("{}: {}", path.display(), describe(&error))) {
            Err(fault) => self.refuse_all(&format!("policy {fault}")),
            Ok(text) => match Policy::parse(&text) {
                Err(error) => self.refuse_all(&format!("policy {}:{error}", path.display())),
                Ok(policy) => self.set_policy(policy),
            },
        }
    }

    fn set_policy(&mut self, policy: Policy) {
        self.minds_creation = policy.minds_creation();
        self.policy = policy;
    }

    fn refuse_all(&mut self, fault: &str) {
        self.refuses = true;
        self.log.say(format!("{fault}; shared memory calls are refused").as_bytes());
    }

    /// False if calls may go straight to the backend: nothing is set.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Sends the log to `target` from now on, or nowhere.
    pub fn set_log(&self, target: Option<Target>) {
        self.log.set(target);
        self.settle_on();
    }

    fn settle_on(&self) {
        let limits = self.refuses || self.ledger.is_some() || !self.policy.is_empty();
        self.on.store(limits || self.journal.is_some() || self.log.is_on(), Relaxed);
    }

    /// True if `RTLD_DEEPBIND` is to be taken out of dlopen's flags.
    pub fn drops_deepbind(&self) -> bool {
        self.is_on() && !self.keep_deepbind
    }

    /// What serves the calls.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Counts a call that went straight to the backend.
    #[inline]
    pub fn count_passed(&self) {
        self.identity.me().count_call();
    }

    /// Makes a shared memory call.
    ///
    /// # Safety
    /// The call is the host's own, and the host answers for its addresses as it does when it calls libc.
    pub unsafe fn call(&self, call: &Call<'_>) -> Outcome {
        self.recorded(|| {
            let outcome = match self.refusal(call) {
                Some(denial) => Outcome::denied(denial),
                // SAFETY: by the caller's promise.
                None => unsafe { self.decide(call) },
            };
            (self.described(call), outcome)
        })
    }

    /// Makes an ftok call. `real` makes it; `path` gives the path if it could be read.
    pub fn ftok<'a>(&self, proj: i32, real: impl FnOnce() -> Result<u64, Errno>, path: impl Fn(Option<Errno>) -> &'a [u8]) -> Outcome {
        self.recorded(|| {
            let call = Call::Ftok { path: b"", proj };
            let outcome = match self.refusal(&call) {
                Some(denial) => Outcome::denied(denial),
                None => self.ruled(&call, false, |_, _| real()),
            };
            (Call::Ftok { path: path(outcome.result.err()), proj }, outcome)
        })
    }

    /// A call in which shmgate itself failed: it is refused, so that no limit is bypassed, and recorded as far as that goes.
    pub fn failed(&self, call: &Call<'_>) -> Outcome {
        self.recorded(|| (*call, Outcome::denied(Denial::plain(Reason::Internal, Errno::EPERM))))
    }

    /// The refusal that a wrong set-up means.
    fn refusal(&self, call: &Call<'_>) -> Option<Denial> {
        #[cfg(feature = "test-panic")]
        if sys::environment(c"SHMGATE_TEST_PANIC").is_some_and(|name| name.to_bytes() == call.kind().name().as_bytes()) {
            panic!("asked for by SHMGATE_TEST_PANIC");
        }
        let _ = call;
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

    #[inline]
    unsafe fn decide(&self, call: &Call<'_>) -> Outcome {
        match *call {
            Call::Shmget { key, size, flags } => self.shmget(key, size, flags),
            Call::Shmat { shmid, addr, flags } => self.ruled(call, false, |_, verdict| {
                let Some(ledger) = &self.ledger else {
                    // SAFETY: by the caller's promise.
                    return unsafe { self.backend.shmat(shmid, addr, flags) };
                };
                let me = self.identity.me();
                let (attaching, denial) = ledger.reserve_attach(&self.identity, me, &self.policy).map_err(|denial| refuse(verdict, denial))?;
                note_dry_run(verdict, denial);
                // SAFETY: by the caller's promise.
                let result = unsafe { self.backend.shmat(shmid, addr, flags) };
                if let Some(attaching) = attaching {
                    ledger.settle(me, attaching, result.is_ok());
                }
                result
            }),
            Call::Shmdt { addr } => self.ruled(call, false, |_, _| {
                // SAFETY: by the caller's promise.
                let result = unsafe { self.backend.shmdt(addr) };
                if let (Ok(_), Some(ledger)) = (result, &self.ledger) {
                    ledger.detached(&self.identity);
                }
                result
            }),
            Call::Shmctl { shmid, cmd: libc::IPC_SET, buf, .. } if self.minds_creation => {
                // SAFETY: by the caller's promise.
                unsafe { self.ipc_set(shmid, buf) }
            }
            Call::Shmctl { shmid, cmd, buf, .. } => self.ruled(call, false, |_, _| {
                // SAFETY: by the caller's promise.
                let result = unsafe { self.backend.shmctl(shmid, cmd, buf) };
                if let (Ok(_), libc::IPC_RMID, Some(ledger)) = (result, cmd, &self.ledger) {
                    ledger.removed(shmid);
                }
                result
            }),
            Call::Ftok { .. } => Outcome::of(Err(Errno::ENOSYS)),
        }
    }

    /// shmget. Where creation matters to the policy, it is told from a look-up first: the system's own call says only afterwards
    /// that there is an id, not whether it is new.
    fn shmget(&self, key: i32, size: u64, flags: i32) -> Outcome {
        let call = Call::Shmget { key, size, flags };
        let may_create = key == libc::IPC_PRIVATE || flags & libc::IPC_CREAT != 0;
        if !may_create || !(self.minds_creation || self.ledger.is_some()) {
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
            if exclusive || made.result != Err(Errno::EEXIST) {
                return made;
            }
        }
        // Somebody makes and removes the key as fast as we ask: to this caller it is absent, as it was a moment ago.
        Outcome::of(Err(Errno::ENOENT))
    }

    /// Creates a segment, if size, mode and quotas are within limits.
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
    #[inline]
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

    /// Runs `work`, which gives a call and its outcome, and records them.
    #[inline]
    fn recorded<'a>(&self, work: impl FnOnce() -> (Call<'a>, Outcome)) -> Outcome {
        let start = self.now();
        let (call, outcome) = work();
        let duration = self.now().saturating_sub(start);
        let me = self.identity.me();
        me.count_call();
        if let Verdict::Denied(denial) | Verdict::WouldDeny(denial) = outcome.verdict {
            LAST_DENIAL.set(Some(denial));
            if matches!(outcome.verdict, Verdict::Denied(_)) {
                me.count_denial();
            }
        }
        let backend = self.backend.number();
        let owner = Owner { pid: self.identity.pid(), tid: me.tid(), uid: self.identity.uid() };
        let Owner { pid, tid, uid } = owner;
        let full = || Record { ticks: start, duration, pid, tid, uid, call, backend, outcome };
        if let Some(journal) = &self.journal {
            let compact = record::compact(start, duration, backend, &call, &outcome);
            journal.append((&self.identity, me, owner), compact, full);
        }
        if self.log.is_on() {
            self.write_line(&full());
        }
        outcome
    }

    #[inline]
    fn now(&self) -> u64 {
        self.journal.as_ref().map_or_else(clock::monotonic_ns, Journal::now)
    }

    #[cold]
    #[inline(never)]
    fn write_line(&self, record: &Record<'_>) {
        use core::fmt::Write;
        let (time_ns, duration_ns) = match &self.journal {
            Some(journal) => {
                let scale = &journal.header().scale;
                (scale.realtime_ns(record.ticks), scale.duration_ns(record.duration))
            }
            None => {
                let ago = clock::monotonic_ns().saturating_sub(record.ticks);
                (clock::realtime_ns().saturating_sub(ago), record.duration)
            }
        };
        let rule = match record.outcome.verdict {
            Verdict::Denied(denial) | Verdict::WouldDeny(denial) => match denial.reason {
                Reason::Rule(rule) => Some(rule),
                _ => None,
            },
            Verdict::Masked { rule } | Verdict::Logged { rule } => Some(rule),
            Verdict::Allowed => None,
        };
        let event = Event {
            time_ns,
            duration_ns,
            pid: record.pid,
            tid: record.tid,
            uid: record.uid,
            exe: if self.format == Format::Json { self.exe() } else { None },
            call: record.call,
            backend: backend::NAMES[usize::from(record.backend)],
            outcome: record.outcome,
            rule: rule.and_then(|rule| self.policy.rule_name(rule)),
        };
        let mut line = Line::<1024>::new();
        let _ = match self.format {
            Format::Text => write!(line, "{event}"),
            Format::Json => write!(line, "{}", Json(event)),
        };
        if line.is_full() {
            // Only long paths come here, and functions that take paths are not for signal handlers: it may allocate.
            let long = match self.format {
                Format::Text => format!("{event}\n"),
                Format::Json => format!("{}\n", Json(event)),
            };
            return self.log.write(long.as_bytes());
        }
        line.end();
        self.log.write(line.as_bytes());
    }

    /// The log, to turn it on and off.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The name of the backend.
    pub fn backend_name(&self) -> &'static str {
        backend::NAMES[usize::from(self.backend.number())]
    }

    /// What the calling process did and has in use.
    pub fn process_counters(&self) -> Counters {
        let (calls, denials) = self.identity.counts();
        let in_use = self.ledger.as_ref().map(|ledger| ledger.process_counters(&self.identity, &self.backend));
        Counters { calls, denials, in_use: in_use.unwrap_or_default() }
    }

    /// What the session did and has in use; `None` outside of a session. Reads the journal: 20 ms for a million calls.
    pub fn session_counters(&self) -> Option<Counters> {
        let (calls, denials) = self.journal.as_ref()?.count();
        let in_use = self.ledger.as_ref()?.session_counters(&self.backend);
        Some(Counters { calls, denials, in_use })
    }

    /// The calling thread's last denial, and the name of the rule it speaks of.
    pub fn last_denial(&self) -> Option<(Denial, Option<&str>)> {
        let denial = LAST_DENIAL.get()?;
        let rule = if let Reason::Rule(rule) = denial.reason { self.policy.rule_name(rule) } else { None };
        Some((denial, rule))
    }

    /// The effective uid of the calling process is about to change.
    pub fn uid_changes(&self) {
        if let Some(journal) = &self.journal {
            journal.keep_open();
        }
    }

    /// The effective uid of the calling process may have changed.
    pub fn uid_changed(&self) {
        self.identity.forget_uid();
    }

    /// A program begins in the calling process.
    pub fn started(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.image_started(&self.identity);
        }
    }

    /// A fork made the calling process.
    pub fn forked(&self) {
        self.identity.forget();
        if let Some(ledger) = &self.ledger {
            ledger.forked(&self.identity);
        }
    }

    /// The calling process ends.
    pub fn leave(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.leave(&self.identity);
        }
    }
}

impl<B> Caller for Gate<B> {
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
    PermSet { uid: perm.uid, gid: perm.gid, mode: perm.mode as u16 }
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

fn describe(error: &std::io::Error) -> &'static str {
    error.raw_os_error().map_or("not readable as text", |errno| Errno(errno).text())
}

/// Restores the host's errno when dropped, unless told what the call's own is.
#[derive(Debug)]
pub struct HostErrno {
    place: *mut i32,
    value: i32,
}

impl HostErrno {
    /// Saves errno.
    #[inline]
    pub fn save() -> HostErrno {
        let place = errno::place();
        // SAFETY: it is this thread's errno, and this value stays in the thread.
        HostErrno { place, value: unsafe { place.read() } }
    }

    /// What the call failed with.
    #[inline]
    pub fn fail(&mut self, errno: Errno) {
        self.value = errno.0;
    }
}

impl Drop for HostErrno {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `save`.
        unsafe { self.place.write(self.value) };
    }
}
