//! `shmgate ls`, `show`, `rm` and `gc`: the segments of the kernel's IPC namespace and of the user's userspace namespaces, alike.
//!
//! | module | holds |
//! | --- | --- |
//! | `options` | the options, and their help |
//! | `survey` | finding the segments, wherever they are, with `kernel` |
//! | `processes`, `users` | what numbers stand for |
//! | `filter` | choosing among them |
//! | `columns`, `table`, `json` | showing them |
//! | `target` | naming one |
//! | `holders`, `maps`, `container` | who has it attached |
//! | `origin` | what journals and directories tell of it |
//! | `keep` | what `gc` leaves alone |
//! | `ls`, `show`, `remove` | the subcommands |
//!
//! Segments of other IPC namespaces than the command's own are not seen.

pub mod columns;
mod container;
mod filter;
pub mod holders;
pub mod json;
mod keep;
mod kernel;
pub mod ls;
pub mod maps;
pub mod options;
pub mod origin;
pub mod processes;
mod remove;
pub mod show;
pub mod survey;
pub mod table;
mod target;
mod users;

use std::path::PathBuf;
use std::rc::Rc;

pub use ls::ls;
use processes::Who;
pub use remove::{gc, rm};
pub use show::show;

use crate::failure::quoted;

/// In a segment's mode: it goes with its last attach.
const SHM_DEST: u32 = 0o1000;
/// In a segment's mode: it stays in memory.
const SHM_LOCKED: u32 = 0o2000;

/// Where a segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the IPC namespace of this process.
    Kernel,
    Userspace {
        name: String,
        dir: PathBuf,
    },
}

impl Place {
    /// The option that names it on a command line.
    fn option(&self) -> String {
        match self {
            Place::Kernel => "--kernel".into(),
            Place::Userspace { name, .. } => format!("--namespace {}", quoted(name)),
        }
    }
}

/// A segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub place: Rc<Place>,
    pub id: i32,
    /// 0 for IPC_PRIVATE, and once it is removed.
    pub key: i32,
    /// With the two flags above.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// In bytes, as asked for.
    pub size: u64,
    /// In user space, the number of its file.
    pub file: i32,
    /// Bytes in memory, and swapped out; `None` if that can't be known.
    pub rss: Option<u64>,
    pub swap: Option<u64>,
    pub nattch: u64,
    /// 0 if nobody, or somebody outside of our PID namespace.
    pub cpid: u32,
    pub lpid: u32,
    /// In seconds since the epoch, 0 for never.
    pub atime: u64,
    pub dtime: u64,
    pub ctime: u64,
    pub creator: Who,
    /// Who attached or detached it last.
    pub last: Who,
}

impl Segment {
    /// True if it was removed, and only its attaches keep it.
    pub fn is_removed(&self) -> bool {
        self.mode & SHM_DEST != 0
    }

    pub fn is_locked(&self) -> bool {
        self.mode & SHM_LOCKED != 0
    }

    /// Nobody has it attached, and its creator is known to be gone.
    pub fn is_orphan(&self) -> bool {
        self.nattch == 0 && matches!(self.creator, Who::Gone)
    }

    /// Others than its owner and group may read or write it.
    pub fn is_open_to_all(&self) -> bool {
        self.mode & 0o006 != 0
    }

    /// Seconds since it was created, or changed by IPC_SET: the kernel does not tell these apart.
    pub fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.ctime)
    }

    /// Seconds since it was last created, changed, attached or detached.
    pub fn idle(&self, now: u64) -> u64 {
        now.saturating_sub(self.ctime.max(self.atime).max(self.dtime))
    }
}
