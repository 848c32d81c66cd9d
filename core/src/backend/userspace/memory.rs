//! Mappings of a segment's file in the host.

use crate::backend::advice;
use crate::errno::Errno;
use crate::names::SHM_ADVICE;
use crate::sys::{self, File};

use super::holders::Found;
use super::layout::{HAS_ANCHORS, WAS_MAPPED};
use super::registry::Registry;
use core::sync::atomic::Ordering::SeqCst;

/// Where an attach is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Anywhere,
    /// At this address, where nothing is yet.
    Free(u64),
    /// At this address, in place of whatever is there.
    Over(u64),
}

/// What an attach may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub write: bool,
    pub execute: bool,
}

impl Registry {
    /// Maps a segment into the host.
    ///
    /// # Errors
    /// open's and mmap's, as shmat has them: ENOMEM, EPERM, EINVAL; EIDRM when the segment has just been destroyed.
    pub fn attach(&self, found: &Found<'_>, len: u64, place: Place, access: Access) -> Result<u64, Errno> {
        let is_common = place == Place::Anywhere && access == Access { write: true, execute: false };
        let file_id = found.segment.file_id(found.index);
        found.segment.note(WAS_MAPPED);
        if is_common && let Some(address) = self.anchors.attach(file_id, len) {
            return Ok(address);
        }
        let advice = found.segment.flags.load(SeqCst) as i32 & SHM_ADVICE;
        if !found.segment.load().has_file {
            let file = self.make_file(found, len)?;
            // A mapping of it could be made writable by mprotect.
            if let Some(file) = file.filter(|_| access.write) {
                return map_advised(&file, len, place, access, advice);
            }
        }
        let mode = if access.write { libc::O_RDWR } else { libc::O_RDONLY };
        let (file, size) = self.open_segment(found, len, mode)?.ok_or(Errno::EIDRM)?;
        // What is made of an anchor lies anywhere.
        if is_common && advice == 0 && !found.segment.is_huge() {
            // Noted first: whoever destroys the segment has to know.
            found.segment.note(HAS_ANCHORS);
            self.anchors.offer(file_id, size, &file);
        }
        map_advised(&file, len, place, access, advice)
    }
}

/// As [`map`], as AIX's flags wished it when the segment was created.
#[inline(never)]
fn map_advised(file: &File, len: u64, place: Place, access: Access, wished: i32) -> Result<u64, Errno> {
    let aligned = match place {
        Place::Anywhere => advice::attach_aligned(wished, len, &mut |address| map(file, len, Place::Free(address), access)),
        _ => None,
    };
    let address = aligned.map_or_else(|| map(file, len, place, access), Ok)?;
    advice::advise(wished, address, len);
    Ok(address)
}

fn map(file: &File, len: u64, place: Place, access: Access) -> Result<u64, Errno> {
    let mut protection = libc::PROT_READ;
    if access.write {
        protection |= libc::PROT_WRITE;
    }
    if access.execute {
        protection |= libc::PROT_EXEC;
    }
    let (address, flags) = match place {
        Place::Anywhere => (0, 0),
        Place::Free(address) => (address, libc::MAP_FIXED_NOREPLACE),
        Place::Over(address) => (address, libc::MAP_FIXED),
    };
    let flags = libc::MAP_SHARED | flags;
    // SAFETY: a new mapping. What MAP_FIXED replaces, the host asked to have replaced, by SHM_REMAP.
    let base = unsafe { sys::mmap(address as usize, len as usize, protection, flags, file.fd(), 0) };
    let base = base.map_err(|errno| match errno {
        Errno::EEXIST => Errno::EINVAL,
        // What shmat says where execution is not granted. Nothing makes such a file's memory executable, mprotect neither.
        Errno::EPERM if access.execute && sys::is_noexec(file) => Errno::EACCES,
        other => other,
    })? as u64;
    // Kernels before 4.17 take the flag for a wish.
    if let Place::Free(wanted) = place
        && base != wanted
    {
        unmap(base, len);
        return Err(Errno::EINVAL);
    }
    Ok(base)
}

/// Maps a page of a segment, from which [`duplicate`] makes others.
///
/// # Errors
/// mmap's.
pub fn map_anchor(file: &File) -> Result<u64, Errno> {
    map(file, sys::page_size(), Place::Anywhere, Access { write: true, execute: false })
}

/// Maps what is mapped at `from` once more, `len` bytes of it.
///
/// # Errors
/// mremap's: ENOMEM; EFAULT when nothing is mapped there.
pub fn duplicate(from: u64, len: u64) -> Result<u64, Errno> {
    // SAFETY: with an old size of 0 the shared mapping stays, and a new one is made where nothing is.
    unsafe { sys::mremap(from as usize, 0, len as usize, libc::MREMAP_MAYMOVE, 0) }.map(|address| address as u64)
}

/// Takes the memory of what is mapped from its file; false if it can't be done, as where pages are locked.
pub fn give_back(address: u64, len: u64) -> bool {
    // SAFETY: a mapping of a segment that nobody has any more, nor any of its bytes.
    unsafe { libc::madvise(address as *mut libc::c_void, len as usize, libc::MADV_REMOVE) == 0 }
}

/// Unmaps an attach.
pub fn unmap(address: u64, len: u64) {
    // SAFETY: the host asked for it by shmdt, or it has just been mapped and nobody knows it.
    let _ = unsafe { sys::munmap(address as usize, len as usize) };
}
