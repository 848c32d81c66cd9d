//! `shmgate run --isolate`: a userspace namespace for one run, gone with its memory when nobody is left in it.
//!
//! Whoever is to remove it (the run, and a watcher for when the run is killed or processes outlive its command) holds a lock on its
//! directory. If both were killed, the next `run --isolate` or `namespace list` finds it without a lock and without processes. Lock
//! order: the lock on the directory of all namespaces, shared by those who make one, before that on a namespace's.

use std::fs::{self, File, TryLockError};
use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shmgate_core::backend::userspace::check::{self, Limits};
use shmgate_core::backend::userspace::place::{directory, make_private};

use crate::failure::{FAILED, Failure, words};
use crate::{members, system};

/// What the names of isolated namespaces begin with.
const PREFIX: &str = "isolated.";
/// How often a watcher looks, at first and later.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The namespace of this run.
#[derive(Debug)]
pub struct Isolated {
    dir: PathBuf,
    /// Says to others that we are there.
    _lease: File,
    /// Without it, what a killed run leaves is removed by the next one.
    watcher: Option<(Child, PipeWriter)>,
}

impl Isolated {
    /// Makes it, after removing what killed runs left.
    pub fn start() -> Result<Isolated, Failure> {
        let base = base()?;
        let hint = "isolated namespaces are made there; elsewhere one can be that stays: --backend userspace --namespace /some/directory";
        let fault = |error: &io::Error| Failure::usage(format!("{}: {}; {hint}", base.display(), words(error)));
        make_private(&base).map_err(|error| fault(&error))?;
        let lock = File::open(&base).map_err(|error| fault(&error))?;
        if lock.try_lock().is_ok() {
            remove_unused(&base);
        }
        lock.lock_shared().map_err(|error| fault(&error))?;
        let dir = new_directory(&base).map_err(|error| fault(&error))?;
        let leased = File::open(&dir).and_then(|lease| lease.lock_shared().map(|()| lease));
        let made = leased
            .map_err(|error| fault(&error))
            .and_then(|lease| check::create(&dir, &Limits::default(), false).map_err(Failure::usage).map(|()| lease));
        match made {
            Ok(lease) => Ok(Isolated { watcher: start_watcher(&dir).ok(), dir, _lease: lease }),
            Err(failure) => {
                let _ = check::remove(&dir);
                Err(failure)
            }
        }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes it if nobody is left in it; else the watcher will.
    ///
    /// # Returns
    /// Its directory, if it is still there.
    pub fn finish(self) -> Option<PathBuf> {
        if is_in_use(&self.dir) {
            return Some(self.dir);
        }
        // The command's own files in there, if it made any, stay.
        let _ = check::remove(&self.dir);
        if let Some((mut watcher, ours)) = self.watcher {
            drop(ours);
            let _ = watcher.wait();
        }
        None
    }
}

/// Starts a watcher, which waits for our end of the pipe to go: with us, however that happens. Its environment is not ours, by which
/// one of a run within an isolated one would count among the processes there; and not empty, as it is in the middle of an exec.
fn start_watcher(dir: &Path) -> io::Result<(Child, PipeWriter)> {
    let (its, ours) = io::pipe()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["namespace", "watch"]).arg(dir).env_clear().env("PWD", "/").current_dir("/");
    command.stdin(its).stdout(Stdio::null()).stderr(Stdio::null());
    system::detach(&mut command);
    command.spawn().map(|watcher| (watcher, ours))
}

/// `shmgate namespace watch`: waits for its standard input to end, and then until nobody is left, and removes the namespace.
pub fn watch(dir: &Path) -> Result<u8, Failure> {
    let _lease = File::open(dir).and_then(|lease| lease.lock_shared().map(|()| lease));
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    let mut pause = POLL.0;
    while dir.exists() && is_in_use(dir) {
        sleep(pause);
        pause = (pause * 2).min(POLL.1);
    }
    check::remove(dir).map_err(|error| Failure::new(FAILED, error))?;
    Ok(0)
}

/// Twice: a process that forked and ended while the first look went on had a child behind the look's back.
fn is_in_use(dir: &Path) -> bool {
    (0..2).any(|_| members::is_namespace_in_use(dir))
}

/// The directory of the user's namespaces.
pub fn base() -> Result<PathBuf, Failure> {
    let dir = directory("default").map_err(Failure::usage)?;
    Ok(dir.parent().map_or_else(|| dir.clone(), Path::to_owned))
}

fn new_directory(base: &Path) -> io::Result<PathBuf> {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let dir = base.join(format!("{PREFIX}{}.{:04x}", std::process::id(), now.subsec_micros() & 0xffff));
        // If not, another process of this pid in another namespace has: the time goes on.
        if make_private(&dir)? {
            return Ok(dir);
        }
    }
}

/// Removes the isolated namespaces that killed runs left, unless one is being made just now.
pub fn sweep() {
    if let Ok(base) = base()
        && let Ok(lock) = File::open(&base)
        && lock.try_lock().is_ok()
    {
        remove_unused(&base);
    }
}

/// Called while no isolated namespace is being made here.
fn remove_unused(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
        let dir = entry.path();
        let Ok(lease) = File::open(&dir) else { continue };
        if !matches!(lease.try_lock(), Err(TryLockError::WouldBlock)) && !is_in_use(&dir) {
            let _ = check::remove(&dir);
        }
    }
}
