//! Segments of huge pages, as SHM_HUGETLB asks for them. Their files lie in a mounted hugetlbfs that the caller may write to, which alone has pages
//! of the machine's pool; the namespace's directory has a symbolic link to each, made first, so that nothing is left that nobody
//! knows of.
//!
//! Not supported: shared namespaces, since hugetlbfs has no access control lists. There, and where no hugetlbfs is mounted, it is as if the
//! pool were empty.

use core::ffi::CStr;
use core::fmt::Write;
use core::sync::atomic::Ordering::SeqCst;

use super::files::{TRIES, next_sequence};
use super::layout::{Segment, id};
use super::permission;
use super::registry::{PathBuffer, Registry};
use crate::errno::Errno;
use crate::map::Mapping;
use crate::names::huge_page_log2;
use crate::sys::{self, File};

/// What the names of the files begin with.
const NAME: &str = "shmgate-segment-";
/// The system's own size, for who asks for none.
const DEFAULT: u32 = 21;
/// Sizes that a damaged registry may not go beyond.
const SIZES: core::ops::RangeInclusive<u32> = 14..=40;

/// The size of the pages that shmget's flags ask for, as a power of two; `None` for ordinary ones.
fn asked(flags: i32) -> Option<u32> {
    (flags & libc::SHM_HUGETLB != 0).then(|| match huge_page_log2(flags) {
        0 => DEFAULT,
        log2 => log2,
    })
}

impl Segment {
    /// True for one of huge pages.
    pub fn is_huge(&self) -> bool {
        self.flags.load(SeqCst) & libc::SHM_HUGETLB as u32 != 0
    }

    /// The size of its file, and of each attach: whole pages, which are `page_size` bytes if they are ordinary ones. `None` for a size that
    /// none can have.
    pub fn mapped_size(&self, page_size: u64) -> Option<u64> {
        let log2 = asked(self.flags.load(SeqCst) as i32).filter(|log2| SIZES.contains(log2));
        self.size.load(SeqCst).checked_next_multiple_of(log2.map_or(page_size, |log2| 1 << log2))
    }
}

/// True if shmget's flags ask for huge pages, and the caller may have them.
///
/// # Errors
/// EINVAL for a size that the machine has not, EPERM.
pub fn may_have(flags: i32) -> Result<bool, Errno> {
    let Some(log2) = asked(flags) else { return Ok(false) };
    if !SIZES.contains(&log2) || !sys::has_huge_pages(log2) {
        return Err(Errno::EINVAL);
    }
    // Older kernels also let others have what RLIMIT_MEMLOCK let them lock.
    if permission::may_lock_all() || is_in_group() { Ok(true) } else { Err(Errno::EPERM) }
}

/// True if the caller is in the group that may have huge pages.
fn is_in_group() -> bool {
    let file = File::open(c"/proc/sys/vm/hugetlb_shm_group", libc::O_RDONLY, 0);
    let mut buffer = [0; 16];
    let group = file.ok().and_then(|file| str::from_utf8(file.read(&mut buffer, 0).ok()?).ok()?.trim_end().parse().ok());
    group.is_some_and(|group: u32| group == sys::getegid() || sys::is_in_group(group))
}

impl Registry {
    /// Makes the file of a new segment of huge pages, and takes them from the pool unless `flags` ask for no reserve. Returns the segment's
    /// sequence number, which is `sequence` or one behind it. Under the lock.
    ///
    /// # Errors
    /// ENOMEM.
    #[inline(never)]
    pub fn make_huge_file(&self, index: usize, mut sequence: u16, size: u64, flags: i32) -> Result<u16, Errno> {
        let page = 1_u64 << asked(flags).filter(|log2| SIZES.contains(log2)).ok_or(Errno::EINVAL)?;
        let size = size.checked_next_multiple_of(page).ok_or(Errno::ENOMEM)?;
        if self.is_shared() {
            return Err(Errno::ENOMEM);
        }
        let home = sys::stat(self.path(format_args!(""))?.as_c_str(), true)?;
        let mut made = Err(Errno::ENOMEM);
        each_hugetlbfs(&mut |mount| {
            if sys::block_size(mount) != Ok(page) {
                return false;
            }
            for _ in 0..TRIES {
                let mut target = PathBuffer::default();
                let Ok(mount) = mount.to_str() else { break };
                let id = id(index, sequence);
                if write!(target, "{mount}/{NAME}{:x}-{:x}-{id}", home.st_dev, home.st_ino).is_err() {
                    break;
                }
                let Ok(link) = self.segment_path(id) else { break };
                match fill(link.as_c_str(), target.as_c_str(), size, flags) {
                    Ok(()) => {
                        made = Ok(sequence);
                        return true;
                    }
                    Err(Errno::EEXIST) => sequence = next_sequence(sequence),
                    Err(_) => break,
                }
            }
            false
        });
        made
    }
}

fn fill(link: &CStr, target: &CStr, size: u64, flags: i32) -> Result<(), Errno> {
    // Somebody was killed before the segment was there.
    let _ = unlink(link);
    sys::symlink(target, link)?;
    let filled = File::open(target, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW, 0o600).and_then(|file| {
        sys::truncate(&file, size)?;
        if flags & libc::SHM_NORESERVE == 0 {
            // To map it reserves its pages, which stay the file's.
            drop(Mapping::file(&file, 0, size as usize, true)?);
        }
        sys::set_mode(&file, flags as u32 & 0o777)
    });
    if filled == Err(Errno::EEXIST) {
        let _ = sys::unlink(link);
    } else if filled.is_err() {
        let _ = unlink(link);
    }
    filled
}

/// Removes a symbolic link of a namespace's, and the file it leads to, if that is one of these.
///
/// # Errors
/// unlink's.
pub fn unlink(link: &CStr) -> Result<(), Errno> {
    let mut target = PathBuffer::default();
    if let Ok(path) = sys::read_link(link, &mut [0; 255])
        && let Ok(path) = str::from_utf8(path)
        && path.rsplit('/').next().is_some_and(|name| name.starts_with(NAME))
        && target.write_str(path).is_ok()
    {
        match sys::unlink(target.as_c_str()) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    sys::unlink(link)
}

/// Shows `found` the places where a hugetlbfs is mounted, until it returns true.
fn each_hugetlbfs(found: &mut dyn FnMut(&CStr) -> bool) {
    let Ok(file) = File::open(c"/proc/self/mounts", libc::O_RDONLY, 0) else { return };
    let mut line = crate::text::Line::<512>::new();
    let mut buffer = [0; 512];
    let mut at = 0;
    while let Ok(chunk @ [_, ..]) = file.read(&mut buffer, at) {
        at += chunk.len() as u64;
        for &byte in chunk {
            if byte != b'\n' {
                let _ = line.write_char(byte.into());
                continue;
            }
            let mut fields = line.as_bytes().split(|byte| *byte == b' ').skip(1);
            let (place, kind) = (fields.next().unwrap_or_default(), fields.next());
            // What has a blank in it stands there in another way.
            if kind == Some(b"hugetlbfs") && !place.contains(&b'\\') {
                let mut path = PathBuffer::default();
                if path.write_str(str::from_utf8(place).unwrap_or_default()).is_ok() && found(path.as_c_str()) {
                    return;
                }
            }
            line = crate::text::Line::new();
        }
    }
}
