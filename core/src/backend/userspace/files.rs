//! A segment's file, in which its memory is: made, opened, given to another, moved out of the way, removed.
//!
//! In a private namespace it is made when the segment is first attached; nobody else could open it anyway. In a shared one its creator
//! makes it with the segment and owns it, and an access control list says what the segment's owner and groups may: so the kernel
//! itself keeps out whom the mode keeps out. Only its owner may remove a file from the directory, but whoever detaches last has to:
//! a segment that is removed while it is attached moves to a directory inside, where everybody may.

use core::ffi::CStr;
use core::sync::atomic::Ordering::SeqCst;

use super::holders::Found;
use super::huge;
use super::layout::{HAS_ANCHORS, SEGMENTS, Word, id};
use super::permission::ids;
use super::registry::{PathBuffer, Registry};
use crate::errno::Errno;
use crate::sys::{self, File};

/// Where a shared namespace keeps the files of segments that are removed and attached.
pub const REMOVED: &str = "removed";
/// Sequence numbers that are tried for a new segment: a file of its name may be somebody's.
pub const TRIES: u32 = 16;

impl Registry {
    /// The path of a segment's file.
    ///
    /// # Errors
    /// See [`Registry::path`].
    pub fn segment_path(&self, id: i32) -> Result<PathBuffer, Errno> {
        self.path(format_args!("segment.{id}"))
    }

    /// The path of the file of a segment that is removed from a shared namespace, and attached.
    ///
    /// # Errors
    /// See [`Registry::path`].
    fn removed_path(&self, id: i32) -> Result<PathBuffer, Errno> {
        self.path(format_args!("{REMOVED}/segment.{id}"))
    }

    /// Does something with a segment's file, wherever it is.
    #[inline(never)]
    fn with_file(&self, id: i32, act: &mut dyn FnMut(&CStr) -> Result<(), Errno>) -> Result<(), Errno> {
        match act(self.segment_path(id)?.as_c_str()) {
            Err(Errno::ENOENT) if self.is_shared() => act(self.removed_path(id)?.as_c_str()),
            other => other,
        }
    }

    /// Opens a segment's file, and tells its size; `None` if it is gone, or is no whole one of its creator's.
    ///
    /// # Errors
    /// open's.
    pub fn open_segment(&self, found: &Found<'_>, len: u64, mode: i32) -> Result<Option<(File, u64)>, Errno> {
        let mut file = None;
        let opened = self.with_file(found.segment.file_id(found.index), &mut |path| {
            let follows = found.segment.is_huge() && !self.is_shared();
            file = Some(File::open(path, mode | if follows { 0 } else { libc::O_NOFOLLOW }, 0)?);
            Ok(())
        });
        match opened {
            Err(Errno::ENOENT) => return Ok(None),
            other => other?,
        }
        let Some(file) = file else { return Ok(None) };
        let stat = sys::stat_fd(file.fd())?;
        // Memory beyond the file's end would be a SIGBUS: the books are damaged, or a creator cut its file.
        let is_whole = stat.st_mode & libc::S_IFMT == libc::S_IFREG && stat.st_size as u64 >= len;
        // Everybody may put something into the directory of a shared namespace's removed segments.
        let is_its_own = !self.is_shared() || stat.st_uid == found.segment.creator.load(SeqCst) as u32;
        Ok((is_whole && is_its_own).then_some((file, stat.st_size as u64)))
    }

    /// Makes the file of a segment that is being attached. Whoever finds it without its size gives it that: all give it the same. `None`
    /// if another has made it just now.
    ///
    /// # Errors
    /// open's, ftruncate's.
    #[inline(never)]
    pub fn make_file(&self, found: &Found<'_>, len: u64) -> Result<Option<File>, Errno> {
        let segment = found.segment;
        // Whoever destroys the segment has to look for a file, whatever becomes of us.
        loop {
            let word = segment.load();
            if !word.is_there() || word.sequence != found.word.sequence {
                return Err(Errno::EIDRM);
            }
            if word.may_have_file || segment.advance(word, Word { may_have_file: true, ..word }) {
                break;
            }
        }
        let path = self.segment_path(segment.file_id(found.index))?;
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_NOFOLLOW;
        let (file, size) = match File::open(path.as_c_str(), flags | libc::O_EXCL, 0o600) {
            Ok(file) => (file, 0),
            Err(_) => match File::open(path.as_c_str(), flags, 0o600) {
                // Another made it just now, and its mode shuts us out from writing, as shmat's flags do.
                Err(Errno::EACCES) if segment.load().has_file => return Ok(None),
                other => {
                    let file = other?;
                    let size = file.size()?;
                    (file, size)
                }
            },
        };
        match size {
            0 => set_size(&file, len)?,
            size if size < len => return Err(Errno::EIDRM),
            _ => {}
        }
        loop {
            let word = segment.load();
            if !word.is_there() || word.sequence != found.word.sequence {
                return Err(Errno::EIDRM);
            }
            sys::set_mode(&file, segment.owner(word).mode.load(SeqCst) as u32 & 0o777)?;
            if word.has_file || segment.advance(word, Word { has_file: true, ..word }) {
                return Ok(Some(file));
            }
        }
    }

    /// Makes the file of a new segment in slot `index` of a shared namespace; returns the segment's sequence number, which is
    /// `sequence` or one behind it. Under the lock.
    ///
    /// # Errors
    /// ENOMEM.
    #[inline(never)]
    pub fn make_shared_file(&self, index: usize, mut sequence: u16, len: u64, mode: u32) -> Result<u16, Errno> {
        debug_assert!(index < SEGMENTS);
        for _ in 0..TRIES {
            let Ok(path) = self.segment_path(id(index, sequence)) else { break };
            let path = path.as_c_str();
            // Somebody was killed before the segment was there, or is in the way.
            let _ = sys::unlink(path);
            if let Ok(file) = File::open(path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600) {
                let filled = set_size(&file, len).and_then(|()| sys::set_mode(&file, mode));
                return filled.map(|()| sequence).map_err(|_| {
                    let _ = sys::unlink(path);
                    Errno::ENOMEM
                });
            }
            sequence = next_sequence(sequence);
        }
        Err(Errno::ENOMEM)
    }

    /// Gives a segment's file to another owner, with another mode.
    ///
    /// # Errors
    /// EPERM for who is neither its creator nor root, in a shared namespace; what the file system says.
    #[inline(never)]
    pub fn change_file(&self, found: &Found<'_>, uid: u32, gid: u32, mode: u32) -> Result<(), Errno> {
        let creator = found.segment.creator.load(SeqCst);
        self.with_file(found.segment.file_id(found.index), &mut |path| {
            // In a private namespace there is nobody else to let in.
            if !self.is_shared() || ids(uid, gid) == creator {
                sys::drop_access_list(path);
                return sys::change_mode(path, mode);
            }
            let set = sys::set_access_list(path, (creator as u32, (creator >> 32) as u32), (uid, gid), mode);
            set.map_err(|errno| if errno == Errno::EOPNOTSUPP { Errno::EPERM } else { errno })
        })
    }

    /// How many bytes of a segment are in memory.
    #[inline(never)]
    pub fn resident(&self, id: i32) -> u64 {
        let mut bytes = 0;
        let _ = self.with_file(id, &mut |path| {
            bytes = sys::stat(path, !self.is_shared())?.st_blocks as u64 * 512;
            Ok(())
        });
        bytes
    }

    /// A segment has been removed and is attached: others must be able to remove its file.
    pub fn set_aside(&self, id: i32) {
        if self.is_shared()
            && let (Ok(from), Ok(to)) = (self.segment_path(id), self.removed_path(id))
        {
            // If it can't be moved, its creator or root has to come by.
            sys::rename(from.as_c_str(), to.as_c_str());
        }
    }

    /// Removes the file of a segment that the caller owns; what hidden mappings would keep of it is given back first. False if the caller
    /// may not.
    pub fn remove_file(&self, found: &Found<'_>) -> bool {
        let segment = found.segment;
        let removed = self.with_file(segment.file_id(found.index), &mut |path| {
            if segment.flags.load(SeqCst) & HAS_ANCHORS != 0 {
                let _ = empty(path, found);
            }
            if segment.is_huge() && !self.is_shared() { huge::unlink(path) } else { sys::unlink(path) }
        });
        matches!(removed, Ok(()) | Err(Errno::ENOENT))
    }

    /// Empties the file of a segment that the caller owns; false if it can't be done.
    #[inline(never)]
    pub fn empty_file(&self, found: &Found<'_>) -> bool {
        let id = found.segment.file_id(found.index);
        // Without a look for the file it takes half as long.
        self.anchors.empty(id, len(found)) || self.with_file(id, &mut |path| empty(path, found)).is_ok()
    }
}

/// What a segment's pages come to, in bytes.
fn len(found: &Found<'_>) -> u64 {
    found.segment.pages(sys::page_size()).saturating_mul(sys::page_size())
}

fn empty(path: &CStr, found: &Found<'_>) -> Result<(), Errno> {
    sys::free_pages(&File::open(path, libc::O_RDWR | libc::O_NOFOLLOW, 0)?, len(found))
}

/// The sequence number after this one; never 0.
pub fn next_sequence(sequence: u16) -> u16 {
    if sequence == u16::MAX { 1 } else { sequence + 1 }
}

fn set_size(file: &File, len: u64) -> Result<(), Errno> {
    sys::truncate(file, len).map_err(|errno| if errno == Errno::EFBIG { Errno::ENOMEM } else { errno })
}
