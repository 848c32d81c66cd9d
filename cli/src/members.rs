//! Who is in a session or a userspace namespace.
//!
//! In a session: a run, which holds a lock on the journal while it lasts; processes that made calls, which the ledger knows;
//! and processes that have not made any yet, but have the session in their environment.
//!
//! Not seen: a process without a call that has cleared its environment, and one that another user's process has become.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use shmgate_core::backend::userspace::check;
use shmgate_core::backend::userspace::place::directory;
use shmgate_core::session::Session;

/// How long, and how often, a process is looked at that seems to be at an exec.
const EXEC: (u32, Duration) = (20, Duration::from_millis(1));

/// Says to others that a run is there. `None` on a file system without locks.
pub fn lease(session: &Session) -> Option<File> {
    let journal = File::open(session.dir().join("journal")).ok()?;
    journal.lock_shared().ok().map(|()| journal)
}

/// True if a run lasts in this session, or a process of it lives.
pub fn is_in_use(session: &Session) -> bool {
    is_leased(session) || has_processes(session)
}

/// True if a process of this session lives, a run left out that has not begun its command.
pub fn has_processes(session: &Session) -> bool {
    let in_environment = || is_in_an_environment(session.dir(), b"SHMGATE_SESSION=", |value| Some(value.into()));
    session.ledger().is_ok_and(|ledger| ledger.has_processes()) || in_environment()
}

fn is_leased(session: &Session) -> bool {
    let journal = File::open(session.dir().join("journal"));
    journal.is_ok_and(|journal| matches!(journal.try_lock(), Err(TryLockError::WouldBlock)))
}

/// True if a process lives that has called in the userspace namespace in `dir`, or may yet do so.
pub fn is_namespace_in_use(dir: &Path) -> bool {
    let directory = |value: &OsStr| directory(value.to_str()?).ok();
    check::is_lived_in(dir) || is_in_an_environment(dir, b"SHMGATE_NAMESPACE=", directory)
}

/// What a process's environment says of the session or namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Member,
    Stranger,
    /// The environment is empty, as it is for a moment in an exec.
    Unknown,
}

/// True if another process has `variable` in its environment, with a value that means `dir`.
fn is_in_an_environment(dir: &Path, variable: &[u8], meant: impl Fn(&OsStr) -> Option<PathBuf>) -> bool {
    let Some(wanted) = identity(dir) else { return false };
    let names = |value: &OsStr| meant(value).and_then(|dir| identity(&dir)) == Some(wanted);
    let me = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    let is_other_process = |name: &OsStr| name.as_bytes()[0].is_ascii_digit() && *name != *me;
    let mut processes: Vec<PathBuf> =
        entries.flatten().filter(|entry| is_other_process(&entry.file_name())).map(|entry| entry.path()).collect();
    for _ in 0..EXEC.0 {
        let mut unknown = Vec::new();
        for process in processes {
            match membership(&process, variable, names) {
                Membership::Member => return true,
                Membership::Stranger => {}
                Membership::Unknown => unknown.push(process),
            }
        }
        if unknown.is_empty() {
            return false;
        }
        processes = unknown;
        sleep(EXEC.1);
    }
    false
}

fn membership(process: &Path, variable: &[u8], names: impl Fn(&OsStr) -> bool) -> Membership {
    let Ok(environment) = fs::read(process.join("environ")) else { return Membership::Stranger };
    if environment.is_empty() && fs::read_link(process.join("exe")).is_ok() {
        return Membership::Unknown;
    }
    let value = environment.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(variable));
    match value {
        Some(value) if names(OsStr::from_bytes(value)) => Membership::Member,
        _ => Membership::Stranger,
    }
}

/// The file or directory itself, whatever its name.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    /// Waits until nobody has what this one gave up: what another test starts has our locks, too, until it is executed.
    #[track_caller]
    pub fn until(is_free: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_free() {
            assert!(Instant::now() < deadline, "it stays in use");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_process_with_the_session_in_its_environment_is_a_member() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("s");
        let session = Session::create_or_join(&dir, None).unwrap();
        assert!(!is_in_use(&session));
        let mut cat = Command::new("cat").env("SHMGATE_SESSION", &dir).stdin(Stdio::piped()).spawn().unwrap();
        assert!(is_in_use(&session));
        drop(cat.stdin.take());
        cat.wait().unwrap();
        assert!(!is_in_use(&session));
        let lease = lease(&session);
        assert!(is_in_use(&session));
        drop(lease);
        until(|| !is_in_use(&session));
    }
}
