//! Hidden mappings of segments that the process attaches again and again: a further mapping is made from one of them by mremap,
//! which costs half of opening the file anew, and needs no descriptor that the host could close.
//!
//! An anchor is a page of address space, and keeps its file's memory after the segment is destroyed: so whoever destroys a segment that
//! has anchors gives its pages back first. A segment that gets the file of another ([`super::kept`]) gets its anchors with it. fork copies
//! anchors and table alike.
//!
//! No lock. Whoever replaces an anchor says so before it unmaps it; whoever has used one looks whether anybody has meanwhile: where it was, there
//! may have been something else, and it be back by then.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use super::memory;
use crate::errno::Errno;
use crate::map::{Mapping, View};
use crate::sys::{self, File};

/// Files that have an anchor at a time.
const ANCHORS: usize = 64;

#[derive(Debug)]
#[repr(C)]
struct Anchor {
    /// The id that names the file, 0 for none.
    id: AtomicU64,
    address: AtomicU64,
    /// The file that was attached here last: a second time makes it worth an anchor.
    seen: AtomicU64,
    /// Somebody replaces the anchor, or empties its file.
    busy: AtomicU64,
    /// The file's size, which never changes.
    size: AtomicU64,
    /// How often it was replaced.
    changes: AtomicU64,
}

/// The process's anchors.
#[derive(Debug)]
pub struct Anchors(View<[Anchor; ANCHORS]>);

impl Anchors {
    /// None yet.
    ///
    /// # Errors
    /// mmap's.
    pub fn new() -> Result<Anchors, Errno> {
        // SAFETY: atomics alone.
        Ok(Anchors(unsafe { View::new(Mapping::private_memory(sys::page_size() as usize)?) }))
    }

    fn of(&self, id: i32) -> &Anchor {
        // By the slot: those in use lie side by side.
        &self.0[id as u32 as usize & (ANCHORS - 1)]
    }

    /// A new mapping of `len` bytes of a file that has an anchor.
    pub fn attach(&self, id: i32, len: u64) -> Option<u64> {
        let anchor = self.of(id);
        let changes = anchor.changes.load(SeqCst);
        if anchor.id.load(SeqCst) != id as u64 || len > anchor.size.load(SeqCst) {
            return None;
        }
        let address = memory::duplicate(anchor.address.load(SeqCst), len).ok()?;
        if anchor.changes.load(SeqCst) == changes {
            return Some(address);
        }
        // This may be another's.
        memory::unmap(address, len);
        None
    }

    /// Gives back the memory of a file of a page, if it has an anchor; false if that can't be done here.
    #[inline(never)]
    pub fn empty(&self, id: i32, len: u64) -> bool {
        let anchor = self.of(id);
        if len > sys::page_size() || anchor.busy.swap(1, SeqCst) != 0 {
            return false;
        }
        // It is not replaced meanwhile.
        let is_empty = anchor.id.load(SeqCst) == id as u64 && memory::give_back(anchor.address.load(SeqCst), len);
        anchor.busy.store(0, SeqCst);
        is_empty
    }

    /// A file is being attached: the second time it gets an anchor.
    #[inline(never)]
    pub fn offer(&self, id: i32, size: u64, file: &File) {
        let anchor = self.of(id);
        let has_it = anchor.id.load(SeqCst) == id as u64;
        if has_it || anchor.seen.swap(id as u64, Relaxed) != id as u64 || anchor.busy.swap(1, SeqCst) != 0 {
            return;
        }
        // In this order: who has read the number and then found the id is told by the number.
        let had = anchor.id.swap(0, SeqCst) != 0;
        anchor.changes.fetch_add(1, SeqCst);
        if had {
            memory::unmap(anchor.address.load(SeqCst), sys::page_size());
        }
        if let Ok(address) = memory::map_anchor(file) {
            anchor.address.store(address, SeqCst);
            anchor.size.store(size, SeqCst);
            anchor.id.store(id as u64, SeqCst);
        }
        anchor.busy.store(0, SeqCst);
    }
}
