//! Where a segment and its attaches come from, as far as sessions' journals know: who created it, since when it is attached, and which paths gave ftok
//! its key. And which files of a directory would.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shmgate_core::call::Call;
use shmgate_core::journal::Timeline;
use shmgate_core::session::Session;

use super::holders::Search;
use super::{Place, Segment};
use crate::environment::variable;
use crate::failure::Failure;
use crate::progress::{Progress, over_if};

/// What journals know.
#[derive(Debug, Default)]
pub struct Origin {
    /// When the segment was created, in nanoseconds since the epoch, and by which executable.
    pub created: Option<(u64, Option<String>)>,
    /// Paths, with the project, from which ftok made the key.
    pub paths: BTreeSet<(String, i32)>,
    /// When a process, by its own pid, attached it at an address.
    attached: HashMap<(u32, u64), u64>,
}

impl Origin {
    /// From the sessions in `asked`, that of the environment, and those in which the creator and the holders run. A person may be to see
    /// that it goes on.
    ///
    /// # Errors
    /// A [`Failure`] for a session in `asked` that can't be read. Another is left out.
    pub fn of(segment: &Segment, search: &Search, asked: &[PathBuf], shows_progress: bool) -> Result<Origin, Failure> {
        let key = search.key(segment);
        let mut origin = Origin::default();
        for dir in asked {
            let session = Session::open(dir).map_err(Failure::usage)?;
            let reader = session.reader().map_err(Failure::usage)?;
            origin.read(Timeline::new(reader), segment, key, shows_progress);
        }
        let pids = search.holders.iter().map(|holder| holder.pid).chain([segment.cpid]);
        let found: BTreeSet<PathBuf> =
            pids.filter_map(session_of).chain(variable("SHMGATE_SESSION").map(PathBuf::from)).collect();
        for dir in found.iter().filter(|dir| !asked.contains(dir)) {
            if let Ok(session) = Session::open(dir)
                && let Ok(reader) = session.reader()
            {
                origin.read(Timeline::new(reader), segment, key, shows_progress);
            }
        }
        Ok(origin)
    }

    fn read(&mut self, mut timeline: Timeline, segment: &Segment, key: i32, shows_progress: bool) {
        let backend = if *segment.place == Place::Kernel { "kernel" } else { "userspace" };
        for slot in over_if(shows_progress, "reading the journal", timeline.poll()) {
            let Some(event) = timeline.event(slot, None) else { continue };
            let Ok(result) = event.outcome.result else { continue };
            match event.call {
                // Whoever else was given its id has found it, and the creator may find it again. But pids and ids come again, too.
                Call::Shmget { key, size, flags }
                    if (self.created.is_none() || is_new(key, flags))
                        && event.backend == backend
                        && (event.pid, size, result) == (segment.cpid, segment.size, segment.id as u64) =>
                {
                    let exe = event.exe.map(|exe| String::from_utf8_lossy(exe).into_owned());
                    self.created = Some((event.time_ns, exe));
                }
                Call::Shmat { shmid, .. } if shmid == segment.id && event.backend == backend => {
                    self.attached.insert((event.pid, result), event.time_ns);
                }
                Call::Ftok { path, proj } if key != 0 && result as i32 == key => {
                    self.paths.insert((String::from_utf8_lossy(path).into_owned(), proj & 0xff));
                }
                _ => {}
            }
        }
    }

    /// Notes since when a process, by its own pid, has something attached at `address`.
    pub fn note(&mut self, pid: u32, address: u64, time: u64) {
        self.attached.insert((pid, address), time);
    }

    /// Since when a process, by its own pid, has something attached at `address`: nanoseconds since the epoch.
    pub fn since(&self, pid: u32, address: u64) -> Option<u64> {
        self.attached.get(&(pid, address)).copied()
    }
}

/// True if shmget can only have created what it gave.
fn is_new(key: i32, flags: i32) -> bool {
    const NEW: i32 = libc::IPC_CREAT | libc::IPC_EXCL;
    key == libc::IPC_PRIVATE || flags & NEW == NEW
}

/// The session that a process was started in.
fn session_of(pid: u32) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environment.split(|&byte| byte == 0).find_map(|entry| entry.strip_prefix(b"SHMGATE_SESSION="))?;
    Some(PathBuf::from(OsStr::from_bytes(value)))
}

/// Files of which ftok makes `key`, with the project that does it.
#[derive(Debug, Default)]
pub struct Found {
    pub paths: Vec<(PathBuf, u8)>,
    /// Directories that could not be read.
    pub unreadable: usize,
}

/// Looks through a directory and what lies below, without following links to directories.
pub fn find(directory: &Path, key: i32, found: &mut Found) {
    let mut left = vec![directory.to_owned()];
    let mut progress = Progress::of("looking for files that give the key", None);
    while let Some(path) = left.pop() {
        progress.step();
        // ftok follows links.
        if fs::metadata(&path).is_ok_and(|meta| ftok(&meta) == key as u32 & 0xff_ffff) {
            found.paths.push((path.clone(), (key as u32 >> 24) as u8));
        }
        if !fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        match fs::read_dir(&path) {
            Ok(entries) => left.extend(entries.flatten().map(|entry| entry.path())),
            Err(_) => found.unreadable += 1,
        }
    }
    found.paths.sort();
}

/// What ftok takes of a file: all but the project.
fn ftok(meta: &fs::Metadata) -> u32 {
    (meta.dev() as u32 & 0xff) << 16 | meta.ino() as u32 & 0xffff
}
