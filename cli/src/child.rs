//! The command as a child process: it is started with the signals as they were, and signals and stops are passed on.
//!
//! The child stays in our process group and on our terminal. What the terminal sends (Ctrl-C, Ctrl-Z, a new size) reaches it
//! without us; what a process sends to us alone, we send on. All signals are blocked here and taken one by one, so that no handler
//! runs and none is lost. Not supported: telling a signal to us alone from one to our whole group, when a process sent it:
//! the child gets the latter twice.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The SIGPIPE disposition before Rust's runtime changed it.
static SIGPIPE_BEFORE: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);

#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_SIGPIPE: extern "C" fn() = note_sigpipe;

extern "C" fn note_sigpipe() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only asks, and `action` has room for the answer.
    unsafe {
        if libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) == 0 {
            SIGPIPE_BEFORE.store(action.assume_init().sa_sigaction, Relaxed);
        }
    }
}

/// All signals held back, until the process ends.
pub struct Signals {
    before: libc::sigset_t,
    sigchld_before: usize,
}

impl Signals {
    /// Holds them. From here on a signal waits for the child to be there.
    pub fn hold() -> Signals {
        let mut before = MaybeUninit::zeroed();
        // SAFETY: both sets live on this stack. SIGCHLD ignored would mean that nobody can ask for the child's status.
        unsafe {
            libc::sigprocmask(libc::SIG_SETMASK, &all(), before.as_mut_ptr());
            let sigchld_before = libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            Signals { before: before.assume_init(), sigchld_before }
        }
    }

    /// Starts the command, with the mask and the dispositions that we were started with.
    ///
    /// # Errors
    /// execve's, and fork's.
    pub fn start(self, command: &mut Command) -> io::Result<Child> {
        let Signals { before, sigchld_before } = self;
        let restore = move || {
            // SAFETY: these are async-signal-safe, and the values are what the kernel gave.
            unsafe {
                libc::signal(libc::SIGPIPE, SIGPIPE_BEFORE.load(Relaxed));
                libc::signal(libc::SIGCHLD, sigchld_before);
                libc::sigprocmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
            }
            Ok(())
        };
        // SAFETY: `restore` makes system calls only.
        let child = unsafe { command.pre_exec(restore) }.spawn()?;
        Ok(Child { pid: child.id() as i32, was_continued: false, stop_passed_on: false })
    }
}

fn all() -> libc::sigset_t {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: sigfillset initialises the set.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// The running command.
pub struct Child {
    pid: i32,
    /// It was continued, and we have not met the signal that would tell us of it.
    was_continued: bool,
    /// The stop that comes is one that we passed on.
    stop_passed_on: bool,
}

/// A change of the child's.
enum Change {
    Ended(u8),
    Stopped(i32),
    Continued,
}

impl Child {
    /// Passes signals on until the command ends.
    ///
    /// # Returns
    /// Its exit status, 128 + n if signal n ended it.
    pub fn wait(mut self) -> u8 {
        loop {
            let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
            // SAFETY: the set and `info` live on this stack; `info` is plain data.
            let (signal, info) = unsafe { (libc::sigwaitinfo(&all(), info.as_mut_ptr()), info.assume_init()) };
            if signal == libc::SIGCHLD || signal == libc::SIGCONT {
                while let Some(change) = self.change() {
                    match change {
                        Change::Ended(status) => return status,
                        Change::Stopped(by) => {
                            self.was_continued = false;
                            self.stop_too(by);
                        }
                        Change::Continued => self.was_continued = true,
                    }
                }
            }
            if signal > 0 && signal != libc::SIGCHLD && self.is_for_child(signal, &info) {
                self.pass_on(signal, &info);
            }
        }
    }

    fn change(&self) -> Option<Change> {
        let mut status = 0;
        // SAFETY: the child is ours, and `status` outlives the call.
        let pid = unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED) };
        if pid != self.pid {
            return None;
        }
        Some(if libc::WIFEXITED(status) {
            Change::Ended(libc::WEXITSTATUS(status) as u8)
        } else if libc::WIFSIGNALED(status) {
            Change::Ended(128 + libc::WTERMSIG(status) as u8)
        } else if libc::WIFSTOPPED(status) {
            Change::Stopped(libc::WSTOPSIG(status))
        } else {
            Change::Continued
        })
    }

    fn is_for_child(&mut self, signal: i32, info: &libc::siginfo_t) -> bool {
        // SAFETY: plain system calls.
        let (me, is_leader) = unsafe { (libc::getpid(), libc::getsid(0) == libc::getpid()) };
        if info.si_code > 0 {
            return match signal {
                // A terminal that hangs up tells the session's leader alone.
                libc::SIGHUP | libc::SIGCONT => is_leader,
                // The child has got what the terminal sends to the group.
                libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGWINCH => false,
                libc::SIGPIPE => false,
                // The end of an alarm, say, that was set before we were executed.
                _ => true,
            };
        }
        // SAFETY: a signal that a process sent has its sender's pid.
        let sender = unsafe { info.si_pid() };
        // A shell continues the whole group, and the child with it.
        let has_it = signal == libc::SIGCONT && std::mem::take(&mut self.was_continued);
        // `kill 0` in the command means the group too, and no parent.
        !has_it && sender != me && !self.is_ancestor_of(sender)
    }

    fn pass_on(&mut self, signal: i32, info: &libc::siginfo_t) {
        self.stop_passed_on = matches!(signal, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
        // SAFETY: the child is not reaped yet, so that its pid is its own; a queued signal has a value.
        unsafe {
            if info.si_code == libc::SI_QUEUE {
                libc::sigqueue(self.pid, signal, info.si_value());
            } else {
                libc::kill(self.pid, signal);
            }
        }
    }

    /// True if `pid` is the child or descends from it.
    fn is_ancestor_of(&self, mut pid: i32) -> bool {
        const MOST_GENERATIONS: usize = 64;
        for _ in 0..MOST_GENERATIONS {
            if pid == self.pid {
                return true;
            }
            match parent(pid) {
                Some(parent) if parent > 1 => pid = parent,
                _ => return false,
            }
        }
        false
    }

    /// The child was stopped: if a shell has to see that, stop likewise, until somebody continues us.
    ///
    /// Where no terminal is, somebody may stop and continue the child alone, and would find us stopped for ever.
    fn stop_too(&mut self, signal: i32) {
        let passed_on = std::mem::take(&mut self.stop_passed_on);
        let stop = match (signal, foreground()) {
            (libc::SIGSTOP, terminal) => terminal == Some(true),
            (_, terminal) => passed_on || terminal.is_some(),
        };
        if stop && !is_pending(libc::SIGCONT) {
            // SAFETY: sets on this stack; the stop's default action takes place in the unblocking call or in kill.
            unsafe {
                let mut one = MaybeUninit::zeroed();
                libc::sigemptyset(one.as_mut_ptr());
                libc::sigaddset(one.as_mut_ptr(), signal);
                let disposition = (signal != libc::SIGSTOP).then(|| libc::signal(signal, libc::SIG_DFL));
                libc::kill(libc::getpid(), signal);
                libc::sigprocmask(libc::SIG_UNBLOCK, one.as_ptr(), std::ptr::null_mut());
                libc::sigprocmask(libc::SIG_BLOCK, one.as_ptr(), std::ptr::null_mut());
                if let Some(disposition) = disposition {
                    libc::signal(signal, disposition);
                }
            }
        }
    }
}

/// Whether our group is the terminal's foreground; `None` without a terminal.
fn foreground() -> Option<bool> {
    let terminal = File::open("/dev/tty").ok()?;
    // SAFETY: plain system calls on a descriptor of ours.
    Some(unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() })
}

fn is_pending(signal: i32) -> bool {
    let mut pending = MaybeUninit::zeroed();
    // SAFETY: sigpending fills the set.
    unsafe { libc::sigpending(pending.as_mut_ptr()) == 0 && libc::sigismember(pending.as_ptr(), signal) == 1 }
}

/// The parent of a process, as /proc tells.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_parent_is_known() {
        assert_eq!(parent(std::process::id() as i32), Some(std::os::unix::process::parent_id() as i32));
        assert_eq!(parent(0x3fff_ffff), None);
    }
}
