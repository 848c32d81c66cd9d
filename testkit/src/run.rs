//! What is to be started: native or gated, in which namespace, with what environment.
//!
//! Output goes to unnamed files and not to pipes, so a grandchild that keeps a descriptor open cannot hold the test up.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};
use std::{env, io};

use crate::compile::program;
use crate::{Namespace, Outcome, Process, Session, Userspace, library};

/// How long a process may take unless it is told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A process to be started.
pub struct Run {
    command: Command,
    name: String,
    own_stderr: bool,
    fresh: Option<Namespace>,
    enter: Vec<i32>,
    timeout: Duration,
    actions: Vec<Action>,
}

/// Something a child does between fork and exec.
type Action = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

impl Run {
    /// A native run of `program` in a fresh namespace, with an environment free of ours.
    pub fn new(program: impl AsRef<OsStr>) -> Run {
        let program = program.as_ref();
        Run {
            command: new_command(program),
            name: name_of(program),
            own_stderr: false,
            fresh: None,
            enter: Vec::new(),
            timeout: TIMEOUT,
            actions: Vec::new(),
        }
    }

    /// A run of `executable` on the userspace backend, where the kernel has no System V shared memory: no call slips through to it.
    /// Arguments and whatever else is asked for are the program's.
    pub fn on_userspace(executable: impl AsRef<OsStr>, userspace: &Userspace) -> Run {
        Run::new(executable).behind_filter(userspace)
    }

    /// The same command, started by `without_shm`. The command itself, `shmgate`, is told of the backend and not gated.
    fn behind_filter(mut self, userspace: &Userspace) -> Run {
        let set = |name: &str, value: &Path| {
            let mut text = OsString::from(format!("{name}="));
            text.push(value);
            text
        };
        let mut launcher = new_command(program("without_shm"));
        // Arguments of the launcher and not its environment: it is to run without a gate.
        if self.command.get_program() != crate::command() {
            launcher.arg(set("LD_PRELOAD", library()));
        }
        launcher.arg(set("SHMGATE_BACKEND", Path::new("userspace")));
        launcher.arg(set("SHMGATE_NAMESPACE", userspace.directory()));
        launcher.arg("--").arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => launcher.env(name, value),
                None => launcher.env_remove(name),
            };
        }
        if let Some(directory) = self.command.get_current_dir() {
            launcher.current_dir(directory);
        }
        assert!(!self.own_stderr, "a file for standard error is named after the namespace");
        self.command = launcher;
        self
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Run {
        self.command.arg(argument);
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.command.args(arguments);
        self
    }

    /// A variable for it.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// Its working directory.
    pub fn directory(mut self, path: &Path) -> Run {
        self.command.current_dir(path);
        self
    }

    /// Standard error to a file of the test's choice; `Outcome::stderr` is then empty.
    pub fn stderr(mut self, file: File) -> Run {
        self.command.stderr(file);
        self.own_stderr = true;
        self
    }

    /// Another deadline than `TIMEOUT`.
    pub fn timeout(mut self, timeout: Duration) -> Run {
        self.timeout = timeout;
        self
    }

    /// Through the gate: the library preloaded.
    pub fn gated(self) -> Run {
        self.env("LD_PRELOAD", library())
    }

    /// Through the gate and in `session`, with the environment that `shmgate run` gives its command.
    pub fn session(mut self, session: &Session) -> Run {
        self.command.envs(session.environment());
        self
    }

    /// In this namespace instead of a fresh one.
    pub fn namespace(mut self, namespace: &Namespace) -> Run {
        self.enter = namespace.descriptors();
        self.fresh = None;
        match namespace.userspace() {
            Some(userspace) => self.behind_filter(userspace),
            None => self,
        }
    }

    /// Something the child does after the fork, in its namespace, before exec: system calls only.
    ///
    /// # Safety
    /// As `CommandExt::pre_exec`: no allocation, no lock.
    pub unsafe fn prepare(mut self, action: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Run {
        self.actions.push(Box::new(action));
        self
    }

    /// Starts it with stdin from /dev/null and output to files.
    #[track_caller]
    pub fn spawn(mut self) -> Process {
        let stdout = tempfile::tempfile().expect("temporary file");
        let stderr = tempfile::tempfile().expect("temporary file");
        self.command.stdout(stdout.try_clone().expect("dup"));
        if !self.own_stderr {
            self.command.stderr(stderr.try_clone().expect("dup"));
        }
        self.start(stdout, stderr)
    }

    /// Starts it with pipes for stdin and stdout.
    #[track_caller]
    pub fn interactive(mut self) -> (Process, ChildStdin, ChildStdout) {
        let stderr = tempfile::tempfile().expect("temporary file");
        let stdout = tempfile::tempfile().expect("temporary file");
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped());
        self.command.stderr(stderr.try_clone().expect("dup"));
        let mut process = self.start(stdout, stderr);
        let stdin = process.child.stdin.take().expect("a pipe was asked for");
        let answers = process.child.stdout.take().expect("a pipe was asked for");
        (process, stdin, answers)
    }

    /// Starts it and waits for its end.
    #[track_caller]
    pub fn output(self) -> Outcome {
        self.spawn().wait()
    }

    #[track_caller]
    fn start(mut self, stdout: File, stderr: File) -> Process {
        adopt_orphans();
        if self.enter.is_empty() {
            let fresh = Namespace::fresh();
            self.enter = fresh.descriptors();
            self.fresh = Some(fresh);
        }
        let enter = std::mem::take(&mut self.enter);
        let join = move || {
            heed_signals();
            for descriptor in &enter {
                // SAFETY: setns takes a descriptor that is open until exec and touches no memory.
                if unsafe { libc::setns(*descriptor, 0) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `join` makes system calls only.
        unsafe { self.command.pre_exec(join) };
        for action in self.actions {
            // SAFETY: by the promise of who called `prepare`.
            unsafe { self.command.pre_exec(action) };
        }
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        // SAFETY: the child is ours and not yet waited for, so its pid is its own; the result is checked.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) } as i32;
        assert!(pidfd >= 0, "pidfd_open: {}", io::Error::last_os_error());
        // SAFETY: a new descriptor that nobody else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Process {
            child,
            pidfd,
            name: self.name,
            stdout,
            stderr,
            deadline: Instant::now() + self.timeout,
            ended: None,
            _namespace: self.fresh,
        }
    }
}

/// With an environment free of ours and of the user's wishes, nothing to read, and a process group of its own.
fn new_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    // LANGUAGE counts in all locales but C. In XDG_CONFIG_HOME, or at home if it is not set, may be a list of what is to be kept.
    let ours = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("SHMGATE_") || name.starts_with("LD_") || ["LANGUAGE", "NO_COLOR"].contains(&&*name)
    };
    for name in env::vars_os().map(|(name, _)| name).filter(ours) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").env("SHELL", "/bin/sh").env("XDG_CONFIG_HOME", "/dev/null");
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Takes all signals as they come, for between fork and exec: what the tests were started to ignore, in the background or under nohup, is not
/// what the programs are to meet.
pub fn heed_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: a system call, which refuses the signals that have no other way.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn name_of(program: &OsStr) -> String {
    Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
}

/// Makes orphans of what we start our children, so that they can be waited for.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    // SAFETY: no memory is passed.
    ONCE.call_once(|| unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    });
}
