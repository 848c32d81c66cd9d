//! The session directory: journal, ledger and resolved policy of all processes under one `shmgate run`.
//!
//! It belongs to one user, and nobody else can look into it: a directory that is another user's, open to others, or a symbolic
//! link that somebody put into the way, is refused.

#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::Relaxed;
use std::ffi::{CString, OsStr};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use crate::backend::userspace::place::make_private;
use crate::errno::Errno;
use crate::journal::{Journal, OpenError, Reader};
use crate::ledger::Ledger;
use crate::policy::Policy;
use crate::{clock, sys};

/// Why a session can't be used: one line, with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionError(String);

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SessionError {}

/// A session directory that is there and ours.
#[derive(Clone, Debug)]
pub struct Session {
    dir: PathBuf,
}

/// A session's parts, open for a process that is gated.
#[derive(Debug)]
pub struct Parts {
    pub journal: Journal,
    pub ledger: Ledger,
    /// `None` if the session has no policy.
    pub policy: Option<Policy>,
}

impl Session {
    /// Opens the session in `dir`.
    ///
    /// # Errors
    /// [`SessionError`]: not a session directory, or not ours alone.
    pub fn open(dir: &Path) -> Result<Session, SessionError> {
        Session::look(dir, ["use it as that user", "close it to them with chmod 700"])
    }

    fn look(dir: &Path, [if_not_ours, if_open]: [&str; 2]) -> Result<Session, SessionError> {
        // Without slashes and dots at the end: behind those the kernel follows a link.
        let mut bytes = dir.as_os_str().as_bytes();
        while let [.., _, b'/'] | [.., b'/', b'.'] = bytes {
            bytes = &bytes[..bytes.len() - 1];
        }
        let dir = Path::new(OsStr::from_bytes(bytes));
        let stat = match sys::stat(&c_path(dir.as_os_str()), false) {
            Err(Errno::ENOENT) => {
                return fault(dir, format_args!("no such directory; `shmgate run --session DIR -- COMMAND` makes one"));
            }
            Err(errno) => return fault(dir, format_args!("{}", errno.text())),
            Ok(stat) => stat,
        };
        if stat.st_mode & libc::S_IFMT == libc::S_IFLNK {
            return fault(dir, format_args!("is a symbolic link; name the directory itself"));
        }
        if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
            return fault(dir, format_args!("is not a directory; name the session's"));
        }
        if stat.st_uid != sys::geteuid() {
            return fault(dir, format_args!("belongs to user {}, not to you; {if_not_ours}", stat.st_uid));
        }
        if stat.st_mode & 0o077 != 0 {
            let mode = stat.st_mode & 0o777;
            return fault(dir, format_args!("is open to others (mode {mode:04o}); {if_open}"));
        }
        Ok(Session { dir: dir.to_owned() })
    }

    /// Makes a session in `dir`, which may exist if it is empty, or joins the one that is there.
    ///
    /// `policy` is `None` to leave the policy of a session that is there as it is.
    ///
    /// # Errors
    /// [`SessionError`]: as for [`Session::open`], and for a session that has another policy, or files that can't be made.
    pub fn create_or_join(dir: &Path, policy: Option<&Policy>) -> Result<Session, SessionError> {
        let fault = |what: &str| SessionError(format!("session {}: {what}", dir.display()));
        let is_made = make_private(dir).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "; the directory above it has to be there",
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "; use a place where you can write",
                _ => "",
            };
            fault(&format!("{}{hint}", describe(&error)))
        })?;
        let session = Session::look(dir, ["use a directory of your own", "use a directory of mode 0700"])?;
        // What could not be filled goes again; it is another's if it is not empty.
        session.fill_or_join(policy).inspect_err(|_| drop(is_made.then(|| fs::remove_dir(dir))))?;
        Ok(session)
    }

    fn fill_or_join(&self, policy: Option<&Policy>) -> Result<(), SessionError> {
        let Session { dir } = self;
        let fault = |what: &str| SessionError(format!("session {}: {what}", dir.display()));
        let lock = fs::File::open(dir).map_err(|error| fault(describe(&error)))?;
        lock.lock().map_err(|error| fault(describe(&error)))?;
        if self.file("journal").exists() {
            let unusable = |SessionError(what)| SessionError(what + "; use a new directory");
            let boot = self.parts().map_err(unusable)?.journal.header().boot.load(Relaxed);
            if boot != 0 && boot != clock::this_boot() {
                return Err(fault("was made before the machine's last boot, its clock does not go on; use a new directory"));
            }
            let theirs = self.policy()?.unwrap_or_default();
            match policy {
                Some(ours) if *ours != theirs => {
                    return Err(fault(
                        "has another policy already; drop the policy options and SHMGATE_POLICY to join it, or use another directory",
                    ));
                }
                _ => return Ok(()),
            }
        }
        if fs::read_dir(dir).map_err(|error| fault(describe(&error)))?.next().is_some() {
            return Err(fault("is not empty and not a session; use a new directory"));
        }
        self.create_files(policy).inspect_err(|_| self.remove_files())
    }

    fn create_files(&self, policy: Option<&Policy>) -> Result<(), SessionError> {
        let fault = |what: &str| SessionError(format!("session {}: {what}", self.dir.display()));
        let refused = |errno: Errno| match errno {
            Errno::EOPNOTSUPP => {
                fault("its file system can't reserve room for files; use a directory on another, such as /tmp")
            }
            Errno::ENOSPC | Errno::EDQUOT => {
                fault("no room there for the session (5 MiB); use a directory on another file system")
            }
            other => fault(other.text()),
        };
        if let Some(policy) = policy.filter(|policy| !policy.is_empty()) {
            let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.file("policy.toml"));
            options
                .and_then(|mut file| file.write_all(policy.to_toml().as_bytes()))
                .map_err(|error| fault(describe(&error)))?;
        }
        Ledger::create(&self.c_file("ledger")).map_err(refused)?;
        // The journal last: its presence is what makes the directory a session.
        Journal::create(&self.c_file("journal")).map_err(refused)
    }

    fn remove_files(&self) {
        for name in ["journal", "ledger", "policy.toml", "libshmgate.so"] {
            let _ = fs::remove_file(self.file(name));
        }
    }

    /// Removes the session and all it knows.
    ///
    /// # Errors
    /// When something else is in the directory, or it can't be removed.
    pub fn remove(self) -> io::Result<()> {
        self.remove_files();
        fs::remove_dir(&self.dir)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn c_file(&self, name: &str) -> CString {
        c_path(self.file(name).as_os_str())
    }

    /// The resolved policy, `None` if there is none.
    ///
    /// # Errors
    /// [`SessionError`] if the file can't be read or is damaged.
    pub fn policy(&self) -> Result<Option<Policy>, SessionError> {
        let path = self.file("policy.toml");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SessionError(format!("{}: {}", path.display(), describe(&error)))),
            Ok(text) => match Policy::parse(&text) {
                Ok(policy) => Ok(Some(policy)),
                Err(error) => Err(SessionError(format!("{}:{error}", path.display()))),
            },
        }
    }

    /// Opens everything for a gated process.
    ///
    /// # Errors
    /// [`SessionError`] naming the file that can't be used.
    pub fn parts(&self) -> Result<Parts, SessionError> {
        let fault = |name: &str, errno: Errno| {
            let what = if errno == Errno::EINVAL { "damaged, or of another version of shmgate" } else { errno.text() };
            SessionError(format!("{}: {what}", self.file(name).display()))
        };
        Ok(Parts {
            journal: Journal::open(&self.c_file("journal")).map_err(|errno| fault("journal", errno))?,
            ledger: self.ledger()?,
            policy: self.policy()?,
        })
    }

    /// Opens the ledger alone.
    ///
    /// # Errors
    /// [`SessionError`] if it can't be used.
    pub fn ledger(&self) -> Result<Ledger, SessionError> {
        Ledger::open(&self.c_file("ledger")).map_err(|errno| {
            let what = if errno == Errno::EINVAL { "damaged, or of another version of shmgate" } else { errno.text() };
            SessionError(format!("{}: {what}", self.file("ledger").display()))
        })
    }

    /// Opens the journal for reading.
    ///
    /// # Errors
    /// [`SessionError`] if it can't be read.
    pub fn reader(&self) -> Result<Reader, SessionError> {
        Reader::open(&self.c_file("journal")).map_err(|error| {
            let hint = if error == OpenError::Errno(Errno::ENOENT) { "; is this a session's directory?" } else { "" };
            SessionError(format!("{}: {error}{hint}", self.file("journal").display()))
        })
    }
}

/// What is wrong with the session in `dir`.
#[cold]
#[inline(never)]
fn fault<T>(dir: &Path, what: fmt::Arguments<'_>) -> Result<T, SessionError> {
    Err(SessionError(format!("session {}: {what}", dir.display())))
}

/// An I/O error in libc's words, without Rust's "(os error 2)".
fn describe(error: &io::Error) -> &str {
    error.raw_os_error().map_or("input/output error", |errno| Errno(errno).text())
}

/// A path for a system call. A path with a NUL byte in it can't come from C or a command line.
pub fn c_path(path: &OsStr) -> CString {
    CString::new(path.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn error<T>(result: Result<T, SessionError>) -> String {
        result.err().expect("must be refused").to_string()
    }

    #[test]
    fn a_session_is_made_joined_and_removed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("s");
        let policy = Policy { forbid_world_access: true, ..Policy::default() };
        let session = Session::create_or_join(&dir, Some(&policy)).unwrap();
        assert_eq!(session.parts().unwrap().policy, Some(policy.clone()));
        Session::create_or_join(&dir, Some(&policy)).unwrap();
        Session::create_or_join(&dir, None).unwrap();
        assert!(error(Session::create_or_join(&dir, Some(&Policy::default()))).contains("another policy"));
        session.remove().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn what_is_not_ours_alone_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        assert!(error(Session::open(&at("none"))).contains("no such directory"));
        fs::create_dir(at("open")).unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(error(Session::open(&at("open"))).contains("open to others"));
        symlink(at("open"), at("link")).unwrap();
        for link in ["link", "link/", "link//", "link/."] {
            assert!(error(Session::create_or_join(&at(link), None)).contains("symbolic link"), "{link}");
            assert!(error(Session::open(&at(link))).contains("symbolic link"), "{link}");
        }
        assert!(error(Session::create_or_join(&at("no/parent"), None)).contains("above it"));
        fs::write(at("file"), "x").unwrap();
        assert!(error(Session::create_or_join(&at("file"), None)).contains("not a directory"));
        if sys::geteuid() != 0 {
            assert!(error(Session::open(Path::new("/"))).contains("belongs to user 0"));
        }
    }

    #[test]
    fn a_directory_with_something_else_in_it_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("thesis.txt"), "x").unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(error(Session::create_or_join(temp.path(), None)).contains("not empty"));
        assert!(temp.path().join("thesis.txt").exists());
    }

    #[test]
    fn a_session_of_an_earlier_boot_is_not_joined() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("s");
        let session = Session::create_or_join(&dir, None).unwrap();
        session.parts().unwrap().journal.header().boot.fetch_xor(1, Relaxed);
        assert!(error(Session::create_or_join(&dir, None)).contains("last boot"));
        assert!(session.reader().is_ok());
    }

    #[test]
    fn damaged_parts_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("s");
        let session = Session::create_or_join(&dir, None).unwrap();
        fs::write(dir.join("ledger"), "short").unwrap();
        assert!(error(session.parts()).contains("ledger: damaged"));
        fs::write(dir.join("journal"), vec![7; 8192]).unwrap();
        assert!(error(session.reader()).contains("not a shmgate journal"));
    }
}
