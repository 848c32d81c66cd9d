//! Executables that a test makes, to be started at once.
//!
//! Another process writes them. A file that a test has open for writing is for a moment open in each child that another of its threads
//! starts meanwhile, and to execute it then fails with ETXTBSY (execve(2)).

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable or a script, with this mode. Errors: of starting the shell, of writing, or that it failed (it says why on stderr).
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut shell = Command::new("sh")
        .args(["-ec", "cat >\"$1\"; chmod \"$2\" \"$1\"", "sh"])
        .arg(path)
        .arg(format!("{mode:o}"))
        .stdin(Stdio::piped())
        .spawn()?;
    let written = shell.stdin.take().expect("a pipe was asked for").write_all(content);
    let status = shell.wait()?;
    if status.success() { written } else { Err(io::Error::other(format!("{}: sh: {status}", path.display()))) }
}

/// Copies an executable, for all to execute.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    write(to, &fs::read(from)?, 0o755)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::thread;

    /// While other threads start programs.
    #[test]
    fn what_was_written_can_be_executed() {
        let temp = tempfile::tempdir().expect("temporary directory");
        let path = temp.path().join("script");
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        // Its end is waited for, whatever it is.
                        let _ = Command::new("true").status();
                    }
                });
            }
            let failed = (0..200).find_map(|_| {
                write(&path, b"#!/bin/sh\n", 0o755).expect("sh writes");
                Command::new(&path).status().err()
            });
            done.store(true, Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }
}
