//! A call's one way: policy → ledger → backend → journal and log.
//!
//! A gate is made once a process and never changes, but for its log. It takes no lock and, but for a rule that asks for the
//! executable, allocates nothing: any thread, forked child or signal handler may come through at any moment. A handler's stack may
//! be 8 KiB, of which the kernel takes half: what needs much stack, or comes seldom, is `#[inline(never)]`. So it is small, too: what
//! is inlined into the library's own crate is compiled for speed.

mod decide;
mod quick;
mod record;

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use once_cell::race::OnceBox;

use crate::backend::kernel::Kernel;
use crate::backend::userspace::proc::ProcFile;
use crate::backend::{self, Backend, Served, advice};
use crate::call::{Call, Denial, Reason};
use crate::callers::Callers;
use crate::config::Config;
use crate::errno::Errno;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::ledger::{self, Ledger};
use crate::log::{Format, Log, Target};
use crate::policy::Policy;
use crate::policy::rule::Caller;
use crate::session::{Session, c_path};
use crate::sys;

/// Where calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Nothing is set: straight to the kernel.
    Past,
    /// Nothing is set but the userspace backend: straight to it.
    Direct,
    /// Through the gate.
    Through,
}

/// The gate of a process.
#[derive(Debug)]
pub struct Gate {
    /// A [`Course`].
    course: AtomicU8,
    /// True if only the journal and the ledger have to know of a call that creates nothing.
    quick: AtomicBool,
    backend: Served,
    identity: Identity,
    policy: Policy,
    minds_creation: bool,
    ledger: Option<Ledger>,
    journal: Option<Journal>,
    /// Set if the journal is to have each call's stack.
    callers: Option<Callers>,
    log: Log,
    format: Format,
    /// Set up wrongly: every call is refused.
    refuses: bool,
    /// What is wrong with the set-up: said at the first call, since most programs of a session make none.
    fault: Option<String>,
    fault_said: AtomicBool,
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

impl Gate {
    /// Makes the gate that the environment asks for. A fault is said once on standard error, at the first call; where it leaves limits unknown, the
    /// gate refuses every call.
    #[inline(never)]
    pub fn from_environment(kernel: Kernel) -> Gate {
        let (config, fault) = match Config::from_environment() {
            Ok(config) => (config, None),
            Err(fault) => (Config::default(), Some(fault)),
        };
        let Config { backend, namespace, log, format, policy, session, keep_deepbind, callers } = config;
        let namespace = namespace.as_ref().map(|name| OsStr::from_bytes(name.as_bytes()));
        let (backend, fault) = match Served::chosen(kernel, backend, namespace) {
            Ok(backend) => (backend, fault),
            Err(other) => (Served::by(kernel), fault.or(Some(other))),
        };
        let mut gate = Gate::bare(backend);
        gate.log.set(log);
        gate.format = format;
        gate.keep_deepbind = keep_deepbind;
        if let Some(fault) = fault {
            gate.refuse_all(&fault);
        }
        let has_policy = |dir: &CString| {
            let file = Path::new(OsStr::from_bytes(dir.as_bytes())).join("policy.toml");
            !matches!(sys::stat(&c_path(file.as_os_str()), false), Err(Errno::ENOENT))
        };
        // Of a session that can't be looked into at all, only the other variable can tell whether it has limits.
        let limited = policy.is_some() || session.as_ref().is_some_and(|dir| is_ours(dir) && has_policy(dir));
        match session.map(|dir| Session::open(Path::new(OsStr::from_bytes(dir.as_bytes()))).and_then(|s| s.parts())) {
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
                gate.fault = Some(format!("{fault}; calls are not recorded"));
            }
            None => {
                if let Some(file) = policy {
                    gate.load_policy(&file);
                }
            }
        }
        if callers {
            gate.record_callers();
        }
        if gate.ledger.is_none() && gate.policy.has_quota() {
            match Ledger::unshared() {
                Ok(ledger) => gate.ledger = Some(ledger),
                Err(errno) => gate.refuse_all(&format!("no memory for the quotas' books: {}", errno.text())),
            }
        }
        if gate.format == Format::Json || gate.policy.rules.iter().any(|rule| !rule.exes.is_empty()) {
            // Read now: a call must not allocate.
            let _ = Caller::exe(&gate);
        }
        if let Some(ledger) = &gate.ledger {
            ledger.image_started(&gate.identity);
        }
        gate.settle_on();
        gate
    }

    /// A gate that refuses every call: the one to take where making another failed.
    #[inline(never)]
    pub fn refusing(kernel: Kernel) -> Gate {
        let mut gate = Gate::bare(Served::by(kernel));
        gate.refuse_all("internal error at the start, please report it");
        gate.settle_on();
        gate
    }

    fn bare(backend: Served) -> Gate {
        Gate {
            course: AtomicU8::new(Course::Past as u8),
            quick: AtomicBool::new(false),
            backend,
            identity: Identity::new(),
            policy: Policy::default(),
            minds_creation: false,
            ledger: None,
            journal: None,
            callers: None,
            log: Log::new(),
            format: Format::Text,
            refuses: false,
            fault: None,
            fault_said: AtomicBool::new(false),
            keep_deepbind: false,
            exe: OnceBox::new(),
        }
    }

    /// Has each call's stack in the journal, if there is one.
    fn record_callers(&mut self) {
        let Some(journal) = &self.journal else { return };
        match Callers::new() {
            Ok(callers) => {
                journal.header().has_stacks();
                self.callers = Some(callers);
            }
            Err(missing) if self.fault.is_none() => self.fault = Some(format!("{missing}; calls are recorded without")),
            Err(_) => {}
        }
    }

    fn load_policy(&mut self, file: &CString) {
        let path = Path::new(OsStr::from_bytes(file.as_bytes()));
        // A pipe might keep the host waiting for ever.
        if sys::stat(file, true).is_ok_and(|stat| stat.st_mode & libc::S_IFMT != libc::S_IFREG) {
            return self.refuse_all(&format!("policy {}: not a regular file", path.display()));
        }
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
        self.fault = Some(format!("{fault}; shared memory calls are refused"));
    }

    /// Where calls go.
    #[inline]
    pub fn course(&self) -> Course {
        match self.course.load(Relaxed) {
            course if course == Course::Past as u8 => Course::Past,
            course if course == Course::Direct as u8 => Course::Direct,
            _ => Course::Through,
        }
    }

    /// False if nothing is set.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.course.load(Relaxed) != Course::Past as u8
    }

    /// Sends the log to `target` from now on, or nowhere.
    pub fn set_log(&self, target: Option<Target>) {
        self.log.set(target);
        self.settle_on();
    }

    fn settle_on(&self) {
        let limits = self.fault.is_some() || self.ledger.is_some() || !self.policy.is_empty();
        let serves = self.backend.userspace().is_some();
        // Only the backend as a whole knows of AIX's wishes.
        let advised = advice::is_any();
        let quick = self.fault.is_none() && self.policy.rules.is_empty() && !self.log.is_on() && !advised;
        self.quick.store(quick && !serves && self.callers.is_none() && !cfg!(feature = "test-panic"), Relaxed);
        let through = limits || advised || self.journal.is_some() || self.log.is_on() || serves && cfg!(feature = "test-panic");
        let course = if through {
            Course::Through
        } else if serves {
            Course::Direct
        } else {
            Course::Past
        };
        self.course.store(course as u8, Relaxed);
    }

    /// True if `RTLD_DEEPBIND` is to be taken out of dlopen's flags.
    pub fn drops_deepbind(&self) -> bool {
        self.is_on() && !self.keep_deepbind
    }

    /// True if a file of /proc may have to be another than the kernel's.
    #[inline]
    pub fn minds_proc(&self) -> bool {
        self.refuses || self.backend.may_be_userspace()
    }

    /// As [`Served::open_proc`]; refused where the calls are.
    ///
    /// # Errors
    /// As there, and EPERM.
    pub fn open_proc(&self, fd: i32, dirfd: i32, path: &[u8], flags: i32) -> Option<Result<i32, Errno>> {
        if self.refuses {
            ProcFile::named(dirfd, path)?;
            self.say_fault();
            return Some(Err(Errno::EPERM));
        }
        self.backend.open_proc(fd, dirfd, path, flags)
    }

    /// A word about a wrong set-up, once.
    fn say_fault(&self) {
        if let Some(fault) = &self.fault
            && !self.fault_said.swap(true, Relaxed)
        {
            self.log.say(fault.as_bytes());
        }
    }

    /// What serves the calls.
    pub fn backend(&self) -> &Served {
        &self.backend
    }

    /// Makes a call where nothing is set, and counts it: a thread's first, or one that can't be made quickly. The kernel may turn out not to
    /// serve it.
    ///
    /// # Errors
    /// The call's.
    ///
    /// # Safety
    /// The call is the host's own.
    #[inline(always)]
    pub unsafe fn pass(&self, call: &Call<'_>) -> Result<u64, Errno> {
        if !self.count_passed_quickly() {
            self.count_passed();
        }
        // SAFETY: by the caller's promise.
        let result = unsafe { self.backend.call(call) };
        if self.course() == Course::Past && self.backend.userspace().is_some() {
            self.settle_on();
        }
        result
    }

    /// Makes a shmget with some of [`crate::names::SHM_ADVICE`] in its flags, whatever is set.
    ///
    /// # Errors
    /// The call's own, or the refusal's.
    #[inline(never)]
    pub fn advised(&self, call: &Call<'_>) -> Result<u64, Errno> {
        // SAFETY: shmget touches no memory of the caller.
        let result = unsafe { if self.is_on() { self.call(call) } else { self.pass(call) } };
        if advice::is_any() {
            self.settle_on();
        }
        result
    }

    /// Counts a call that went straight to the backend.
    pub fn count_passed(&self) {
        self.identity.me().count_call();
    }

    /// As [`Gate::count_passed`], if that takes no more than an addition; false if it was not counted.
    #[inline]
    pub fn count_passed_quickly(&self) -> bool {
        self.identity.count_quickly()
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
    #[inline(never)]
    pub fn process_counters(&self) -> Counters {
        let (calls, denials) = self.identity.counts();
        let in_use = self.ledger.as_ref().map(|ledger| ledger.process_counters(&self.identity, &self.backend));
        Counters { calls, denials, in_use: in_use.unwrap_or_default() }
    }

    /// What the session did and has in use; `None` outside of a session. Reads the journal: 20 ms for a million calls.
    #[inline(never)]
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
        self.backend.uid_changes();
        if let Some(journal) = &self.journal {
            journal.keep_open();
        }
    }

    /// The effective uid of the calling process may have changed.
    pub fn uid_changed(&self) {
        self.identity.forget_uid();
    }

    /// The calling process is about to fork.
    #[inline(never)]
    pub fn fork_begins(&self) {
        self.backend.fork_begins();
        if let Some(ledger) = &self.ledger {
            ledger.fork_begins(&self.identity);
        }
    }

    /// fork has returned in the calling process.
    pub fn fork_ended(&self) {
        self.backend.fork_ended();
    }

    /// A fork made the calling process.
    #[inline(never)]
    pub fn forked(&self) {
        self.identity.forget();
        self.backend.forked();
        if let Some(ledger) = &self.ledger {
            ledger.forked(&self.identity, &self.backend);
        }
    }

    /// The calling process ends.
    #[inline(never)]
    pub fn leave(&self) {
        self.backend.leave();
        if let Some(ledger) = &self.ledger {
            ledger.leave(&self.identity);
        }
    }
}

/// True for a directory of the calling user's, which can be looked into.
fn is_ours(dir: &CString) -> bool {
    sys::stat(dir, false).is_ok_and(|stat| stat.st_uid == sys::geteuid())
}

fn describe(error: &std::io::Error) -> &'static str {
    error.raw_os_error().map_or("not readable as text", |errno| Errno(errno).text())
}
