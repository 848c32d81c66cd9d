//! The session of a run: where it is, and when it can go.
//!
//! Sessions without a name of their own lie in a directory of the user's. A run that was killed left its session behind, which
//! the next run sweeps away once nobody uses it. Lock order: the directory's lock before a journal's.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use shmgate_core::policy::Policy;
use shmgate_core::session::Session;

use crate::failure::{Failure, words};
use crate::{members, system};

/// A session in use by this run.
#[derive(Debug)]
pub struct Running {
    pub session: Session,
    is_temporary: bool,
    /// Says to others that we are there. `None` on a file system without locks.
    lease: Option<File>,
}

impl Running {
    /// Makes or joins the session in `dir`, or makes one for this run alone.
    pub fn start(dir: Option<&Path>, policy: Option<&Policy>) -> Result<Running, Failure> {
        let Some(dir) = dir else { return Running::temporary(policy) };
        let dir = std::path::absolute(dir)
            .map_err(|error| Failure::usage(format!("session {}: {}", dir.display(), words(&error))))?;
        let session = Session::create_or_join(&dir, policy).map_err(Failure::usage)?;
        Ok(Running { lease: members::lease(&session), session, is_temporary: false })
    }

    fn temporary(policy: Option<&Policy>) -> Result<Running, Failure> {
        let base = base()?;
        // Shared by those who make sessions: a sweeper must not meet one that is half made.
        let lock = File::open(&base).ok();
        if let Some(lock) = &lock {
            if lock.try_lock().is_ok() {
                sweep(&base);
            }
            let _ = lock.lock_shared();
        }
        let fault = |error: io::Error| {
            Failure::usage(format!("{}: {}; name a session's place with --session", base.display(), words(&error)))
        };
        let dir = new_directory(&base).map_err(fault)?;
        let session = Session::create_or_join(&dir, policy).map_err(|error| {
            let _ = fs::remove_dir(&dir);
            Failure::usage(error)
        })?;
        Ok(Running { lease: members::lease(&session), session, is_temporary: true })
    }

    /// True if the session stays after the run in any case.
    pub fn is_kept(&self) -> bool {
        !self.is_temporary
    }

    /// Ends the run. A temporary session goes, unless a process of it lives.
    ///
    /// # Returns
    /// True if the session is still there although it is temporary.
    pub fn finish(self) -> bool {
        drop(self.lease);
        if !self.is_temporary {
            return false;
        }
        if members::is_in_use(&self.session) {
            return true;
        }
        // The command's own files in there, if it made any, stay.
        let _ = self.session.remove();
        false
    }
}

/// The user's directory for temporary sessions, made if need be.
fn base() -> Result<PathBuf, Failure> {
    let euid = system::ids().euid;
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    // Another user's, after su, is none.
    let runtime =
        runtime.filter(|dir| dir.is_absolute() && fs::metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == euid));
    if let Some(base) = runtime.map(|dir| dir.join("shmgate"))
        && make_private(&base, euid).is_ok()
    {
        return Ok(base);
    }
    let base = PathBuf::from(format!("/tmp/shmgate-{euid}"));
    match make_private(&base, euid) {
        Ok(()) => Ok(base),
        Err(why) => {
            Err(Failure::usage(format!("{}: {why}; remove it, or name a session's place with --session", base.display())))
        }
    }
}

/// Makes a directory that nobody else can look into, or checks that the one that is there is such.
fn make_private(dir: &Path, euid: u32) -> Result<(), String> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(words(&error)),
        _ => {}
    }
    match fs::symlink_metadata(dir) {
        Err(error) => Err(words(&error)),
        Ok(meta) if meta.is_symlink() => Err("is a symbolic link".into()),
        Ok(meta) if !meta.is_dir() => Err("is not a directory".into()),
        Ok(meta) if meta.uid() != euid => Err(format!("belongs to user {}, not to you", meta.uid())),
        Ok(meta) if meta.mode() & 0o077 != 0 => Err(format!("is open to others (mode {:04o})", meta.mode() & 0o777)),
        Ok(_) => Ok(()),
    }
}

fn new_directory(base: &Path) -> io::Result<PathBuf> {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let dir = base.join(format!("{}-{:x}", std::process::id(), now.as_nanos()));
        match DirBuilder::new().mode(0o700).create(&dir) {
            // Another process of this pid in another namespace: the time goes on.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| dir),
        }
    }
}

/// Removes what killed runs left. Called while no session is being made here.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if let Ok(session) = Session::open(&entry.path())
            && !members::is_in_use(&session)
        {
            let _ = session.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_directory_that_others_made_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        let euid = system::ids().euid;
        assert_eq!(make_private(&at("new"), euid), Ok(()));
        assert_eq!(make_private(&at("new"), euid), Ok(()));
        assert!(make_private(&at("new"), euid + 1).unwrap_err().contains("belongs to user"));
        symlink(at("new"), at("link")).unwrap();
        assert!(make_private(&at("link"), euid).unwrap_err().contains("symbolic link"));
        fs::set_permissions(at("new"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_private(&at("new"), euid).unwrap_err().contains("open to others"));
        fs::write(at("file"), "").unwrap();
        assert!(make_private(&at("file"), euid).unwrap_err().contains("not a directory"));
    }

    #[test]
    fn a_sweep_leaves_what_is_in_use() {
        let temp = tempfile::tempdir().unwrap();
        let make = |name: &str| Running::start(Some(&temp.path().join(name)), None).unwrap();
        let (used, left) = (make("used"), make("left"));
        let gone = left.session.dir().to_owned();
        drop(left);
        sweep(temp.path());
        assert!(used.session.dir().exists() && !gone.exists());
    }
}
