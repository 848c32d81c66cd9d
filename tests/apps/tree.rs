//! A command and all that it starts, ended together: whatever becomes of the test, nothing of it stays.
//!
//! The command is made the reaper of its orphans, so that a daemon which left its parent is still found below it.
//! What a process below does to hide from its parents' lists (a new session, a new process group) makes no difference.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at something that has no event to wait for.
const LOOK: Duration = Duration::from_millis(10);
/// What a program gets to take its lock files away after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// A running command. Dropped, it and everything below it ends.
pub struct Tree {
    child: Child,
}

impl Tree {
    /// Starts the command.
    pub fn start(command: &mut Command) -> io::Result<Tree> {
        // SAFETY: prctl is one system call on plain numbers, fit for the moment between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        Ok(Tree { child: command.spawn()? })
    }

    /// Waits for the command's end; None when the time is over first.
    pub fn wait(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + time;
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(LOOK);
        }
    }

    /// Notes the processes below the command, and forgets of those noted before which have ended.
    fn look_below(&self, below: &mut Vec<u32>) {
        let parents = processes();
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while next < found.len() {
            let parent = found[next];
            found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        below.extend(found.split_off(1));
        below.sort_unstable();
        below.dedup();
        below.retain(|pid| parents.iter().any(|(other, _)| other == pid));
    }

    /// Sends a signal to all below until none is left or the time is over.
    fn end(&self, below: &mut Vec<u32>, signal: i32, time: Duration) {
        let deadline = Instant::now() + time;
        let mut told = Vec::new();
        loop {
            self.look_below(below);
            if below.is_empty() || Instant::now() >= deadline {
                return;
            }
            for &pid in &*below {
                // Once is enough, but a process may have forked since the last look.
                if !told.contains(&pid) {
                    // SAFETY: kill takes plain numbers.
                    unsafe { libc::kill(pid as i32, signal) };
                    told.push(pid);
                }
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // The command itself goes last: without it, its orphans would be out of sight. It may end by itself when those do that it waits
        // for, so the rest is known by then.
        let mut below = Vec::new();
        self.end(&mut below, libc::SIGTERM, GRACE);
        self.end(&mut below, libc::SIGKILL, GRACE);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is there and more than a zombie, which only its reaper can take away.
pub fn alive(pid: u32) -> bool {
    processes().iter().any(|(other, _)| *other == pid)
}

/// All processes and their parents, zombies left out.
fn processes() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in parentheses may hold anything, so the fields start behind the last one.
            let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            (state != "Z").then_some((pid, parent))
        })
        .collect()
}
