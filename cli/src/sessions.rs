//! The session of a run: where it is, and when it can go.
//!
//! Sessions without a name of their own lie in a directory of the user's. A run that was killed left its session behind, which
//! the next run sweeps away once nobody uses it. Lock order: the directory's lock before a journal's.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use shmgate_core::backend::userspace::place::make_private;
use shmgate_core::policy::Policy;
use shmgate_core::session::Session;

use crate::args::RunOptions;
use crate::environment::variable;
use crate::failure::{Failure, quoted, words};
use crate::summary::Counts;
use crate::{log, members, system};

/// Where the session of a run is.
#[derive(Debug)]
pub enum Place {
    /// Made for this run alone, and gone after it.
    Temporary,
    /// What `--session` names: made or joined.
    Named(PathBuf),
    /// What SHMGATE_SESSION names, which is how a run finds itself within another: joined, with its limits.
    Inherited(PathBuf),
}

impl Place {
    /// The option's, or the environment's.
    pub fn of(options: &RunOptions) -> Result<Place, Failure> {
        let absolute = |dir: &Path| {
            std::path::absolute(dir).map_err(|error| Failure::usage(format!("session {}: {}", dir.display(), words(&error))))
        };
        match (&options.session, variable("SHMGATE_SESSION")) {
            (Some(dir), _) => absolute(dir).map(Place::Named),
            (None, Some(dir)) => absolute(Path::new(&dir)).map(Place::Inherited),
            (None, None) => Ok(Place::Temporary),
        }
    }
}

/// The session that this run's own environment names, if another than `dir` and if it has limits: these don't hold in `dir`.
pub fn left_limits(dir: &Path) -> Option<PathBuf> {
    let around = Session::open(Path::new(&variable("SHMGATE_SESSION")?)).ok()?;
    let is_other = fs::canonicalize(around.dir()).ok() != fs::canonicalize(dir).ok();
    (is_other && around.policy().is_ok_and(|policy| policy.is_some())).then(|| around.dir().to_owned())
}

/// A session in use by this run.
#[derive(Debug)]
pub struct Running {
    pub session: Session,
    /// What it had counted before.
    pub before: Counts,
    is_temporary: bool,
    /// False if it was joined.
    is_new: bool,
    /// Says to others that we are there. `None` on a file system without locks.
    lease: Option<File>,
}

impl Running {
    /// Makes or joins the session.
    pub fn start(place: &Place, policy: Option<&Policy>) -> Result<Running, Failure> {
        match place {
            Place::Temporary => Running::temporary(policy),
            Place::Named(dir) => Running::named(dir, policy),
            Place::Inherited(dir) => Running::inherited(dir, policy)
                .map_err(|failure| Failure { message: format!("SHMGATE_SESSION: {}", failure.message), ..failure }),
        }
    }

    fn named(dir: &Path, policy: Option<&Policy>) -> Result<Running, Failure> {
        let is_new = !has_journal(dir);
        let session = Session::create_or_join(dir, policy).map_err(Failure::usage)?;
        let before = if is_new { Counts::default() } else { intact(&session)? };
        Ok(Running { lease: members::lease(&session), session, before, is_temporary: false, is_new })
    }

    fn inherited(dir: &Path, policy: Option<&Policy>) -> Result<Running, Failure> {
        let refused = |what: String| Err(Failure::usage(format!("session {}: {what}", dir.display())));
        if is_none(dir) {
            return refused("there is none; make one with --session, or unset SHMGATE_SESSION to run without it".into());
        }
        let hint = "unset SHMGATE_SESSION to run without it";
        let session = Session::open(dir).map_err(|error| Failure::usage(format!("{error}; or {hint}")))?;
        let theirs = session.policy().map_err(Failure::usage)?.unwrap_or_default();
        if policy.is_some_and(|ours| *ours != theirs) {
            let what = if theirs.is_empty() { "has no policy" } else { "has a policy, which holds for this run too" };
            return refused(format!("{what}; drop the policy options, or take another session with --session DIR"));
        }
        Running::named(dir, policy)
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
        let before = Counts::default();
        Ok(Running { lease: members::lease(&session), session, before, is_temporary: true, is_new: true })
    }

    /// True if the session stays after the run in any case.
    pub fn is_kept(&self) -> bool {
        !self.is_temporary
    }

    /// True if another run lasts in the session.
    pub fn has_others(&self) -> bool {
        let Some(lease) = &self.lease else { return false };
        // Ours alone only if nobody else has it; then it is shared again, for those who come.
        let others = matches!(lease.try_lock(), Err(TryLockError::WouldBlock));
        let _ = lease.lock_shared();
        others
    }

    /// Ends a run whose command did not start. What was made for it goes, unless others have come.
    pub fn abandon(self) {
        drop(self.lease);
        if self.is_new && !members::is_in_use(&self.session) {
            let _ = self.session.remove();
        }
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

fn has_journal(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join("journal")).is_ok()
}

/// True for a directory that is no session's, whoever may own it.
fn is_none(dir: &Path) -> bool {
    let missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    dir.is_dir() && fs::symlink_metadata(dir.join("journal")).is_err_and(missing)
}

/// The session in `dir`, to read what it recorded.
pub fn open(dir: &Path) -> Result<Session, Failure> {
    if is_none(dir) {
        let hint = "name the directory that was given to shmgate run --session";
        return Err(Failure::usage(format!("session {}: no journal is there; {hint}", dir.display())));
    }
    Session::open(dir).map_err(Failure::usage)
}

/// What a session that is joined has counted.
///
/// # Errors
/// A [`Failure`] if its journal is damaged: new records over what was cut off would hide that.
fn intact(session: &Session) -> Result<Counts, Failure> {
    let counts = Counts::of(session);
    let (reader, path) = (session.reader().map_err(Failure::usage)?, session.dir().join("journal"));
    match log::damage(&reader, &path, counts.damaged) {
        None => Ok(counts),
        Some(what) => {
            let hint = format!("use a new directory, and read this one with: shmgate log {}", quoted(session.dir()));
            Err(Failure::usage(format!("journal {}: {what}; {hint}", path.display())))
        }
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
        && make_own(&base, euid).is_ok()
    {
        return Ok(base);
    }
    let base = PathBuf::from(format!("/tmp/shmgate-{euid}"));
    match make_own(&base, euid) {
        Ok(()) => Ok(base),
        Err(why) => {
            Err(Failure::usage(format!("{}: {why}; remove it, or name a session's place with --session", base.display())))
        }
    }
}

/// Makes a directory that nobody else can look into, or checks that the one that is there is such.
fn make_own(dir: &Path, euid: u32) -> Result<(), String> {
    make_private(dir).map_err(|error| words(&error))?;
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
        // If not, another process of this pid in another namespace has: the time goes on.
        if make_private(&dir)? {
            return Ok(dir);
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
        assert_eq!(make_own(&at("new"), euid), Ok(()));
        assert_eq!(make_own(&at("new"), euid), Ok(()));
        assert!(make_own(&at("new"), euid + 1).unwrap_err().contains("belongs to user"));
        symlink(at("new"), at("link")).unwrap();
        assert!(make_own(&at("link"), euid).unwrap_err().contains("symbolic link"));
        fs::set_permissions(at("new"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_own(&at("new"), euid).unwrap_err().contains("open to others"));
        fs::write(at("file"), "").unwrap();
        assert!(make_own(&at("file"), euid).unwrap_err().contains("not a directory"));
    }

    #[test]
    fn a_sweep_leaves_what_is_in_use() {
        let temp = tempfile::tempdir().unwrap();
        let make = |name: &str| Running::start(&Place::Named(temp.path().join(name)), None).unwrap();
        let (used, left) = (make("used"), make("left"));
        let gone = left.session.dir().to_owned();
        drop(left);
        members::tests::until(|| {
            sweep(temp.path());
            !gone.exists()
        });
        assert!(used.session.dir().exists());
    }
}
