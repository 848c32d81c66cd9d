//! A started process, its deadline, and what it left.
//!
//! The process leads a group. When it has ended, when its deadline has passed, or when the value is dropped, the whole group
//! is killed and waited for: nothing that a test started outlives it.

use std::fmt;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::Instant;

use crate::Namespace;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

impl From<ExitStatus> for Status {
    fn from(status: ExitStatus) -> Status {
        match status.code() {
            Some(code) => Status::Exited(code),
            None => Status::Signalled(status.signal().unwrap_or(0)),
        }
    }
}

/// What a finished process left.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Outcome {
    /// The same outcome, if the process exited with 0.
    #[track_caller]
    pub fn success(self) -> Outcome {
        assert_eq!(self.status, Status::Exited(0), "{self}");
        self
    }

    /// The same outcome, if it was a success and nothing stands on stderr.
    #[track_caller]
    pub fn silent(self) -> Outcome {
        let outcome = self.success();
        assert_eq!(outcome.stderr, "", "something on stderr");
        outcome
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}\n--- stdout\n{}--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

/// A started process; it does not outlive this value.
pub struct Process {
    pub(crate) child: Child,
    pub(crate) pidfd: OwnedFd,
    pub(crate) name: String,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
    pub(crate) deadline: Instant,
    pub(crate) ended: Option<Status>,
    /// Kept as long as it runs.
    pub(crate) _namespace: Option<Namespace>,
}

impl Process {
    /// Its pid, which is its group's number too.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The moment after which a wait fails the test.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What it wrote to stderr up to now.
    pub fn stderr(&mut self) -> String {
        text(&self.stderr)
    }

    /// SIGKILL to this process alone, and its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.ended();
    }

    /// A signal to this process alone.
    pub fn signal(&self, number: i32) {
        // SAFETY: not yet waited for (or else `ended` is set and callers have what they want), so the pid is ours.
        unsafe { libc::kill(self.pid(), number) };
    }

    /// Waits for the end, at most until the deadline.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        let Some(status) = self.ended() else {
            self.end();
            panic!("{} did not end in time\n{}{}", self.name, text(&self.stdout), text(&self.stderr));
        };
        Outcome { status, stdout: text(&self.stdout), stderr: text(&self.stderr) }
    }

    /// The status, once it has ended; `None` when the deadline came first.
    fn ended(&mut self) -> Option<Status> {
        if self.ended.is_none() && readable(self.pidfd.as_raw_fd(), self.deadline) {
            self.end();
        }
        self.ended
    }

    /// Kills what is left of the group and reaps the leader, in this order: until then its pid is nobody else's. Then the
    /// rest: orphans of the group have become ours, and are gone when this returns.
    fn end(&mut self) {
        // SAFETY: the group's number is the pid of a child that is not reaped yet.
        unsafe { libc::kill(-self.pid(), libc::SIGKILL) };
        self.ended = self.child.wait().ok().map(Status::from);
        // SAFETY: waits for killed children of this group only; a NULL status is allowed.
        while unsafe { libc::waitpid(-self.pid(), std::ptr::null_mut(), 0) } > 0 {}
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.end();
        }
    }
}

/// Waits until `descriptor` can be read, at most until `deadline`.
pub fn readable(descriptor: i32, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut poll = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
        let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid pollfd.
        match unsafe { libc::poll(&mut poll, 1, milliseconds) } {
            1.. => return true,
            _ if left.is_zero() => return false,
            _ => {}
        }
    }
}

/// All of it. The child has the file's offset too, and may be writing: it stays where it is.
fn text(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 1 << 16];
    while let Ok(read @ 1..) = file.read_at(&mut piece, bytes.len() as u64) {
        bytes.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
