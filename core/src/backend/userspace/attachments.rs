//! What the calling process has attached, and where: memory of its own, which fork copies with the attaches themselves.
//!
//! A table of atomics, in which an attach is found by its address. No lock: an entry is claimed by its address word.

use core::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use crate::errno::Errno;
use crate::map::{Mapping, View};

/// As many attaches as a process can have mappings, by the kernel's default, and some more.
const ENTRIES: usize = 1 << 17;
/// An entry that was used, so that the search goes on behind it.
const GONE: u64 = 1;
/// An entry that is being filled.
const BUSY: u64 = 2;

/// Marks an entry's address, which may be 0.
const TAG: u64 = 4;

/// An attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub address: u64,
    /// In bytes, whole pages.
    pub len: u64,
    pub shmid: i32,
}

#[derive(Debug)]
#[repr(C)]
struct Entry {
    address: AtomicU64,
    len: AtomicU64,
    shmid: AtomicU64,
}

#[derive(Debug)]
#[repr(C)]
struct Table {
    count: AtomicU64,
    entries: [Entry; ENTRIES],
}

/// The table. Pages of it that were never used cost nothing.
#[derive(Debug)]
pub struct Attachments(View<Table>);

fn start_of(address: u64) -> usize {
    ((address >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 47) as usize
}

impl Attachments {
    /// An empty one.
    ///
    /// # Errors
    /// mmap's.
    pub fn new() -> Result<Attachments, Errno> {
        // SAFETY: atomics alone.
        Ok(Attachments(unsafe { View::new(Mapping::private_memory(size_of::<Table>().next_multiple_of(4096))?) }))
    }

    fn entries(&self, address: u64) -> impl Iterator<Item = &Entry> {
        let start = start_of(address);
        (0..ENTRIES).map(move |step| &self.0.entries[(start + step) % ENTRIES])
    }

    /// Notes an attach.
    ///
    /// # Errors
    /// ENOMEM when the table is full.
    pub fn insert(&self, attachment: Attachment) -> Result<(), Errno> {
        for entry in self.entries(attachment.address) {
            let word = entry.address.load(Relaxed);
            if matches!(word, 0 | GONE) && entry.address.compare_exchange(word, BUSY, Acquire, Relaxed).is_ok() {
                entry.len.store(attachment.len, Relaxed);
                entry.shmid.store(attachment.shmid as u32 as u64, Relaxed);
                entry.address.store(attachment.address | TAG, Release);
                self.0.count.fetch_add(1, Relaxed);
                return Ok(());
            }
        }
        Err(Errno::ENOMEM)
    }

    /// Takes out the attach that starts at `address`, a page's.
    pub fn take(&self, address: u64) -> Option<Attachment> {
        for entry in self.entries(address) {
            match entry.address.load(Acquire) {
                0 => return None,
                word if word == address | TAG => {
                    let attachment = entry.read(address);
                    if entry.address.compare_exchange(word, GONE, Acquire, Relaxed).is_ok() {
                        self.0.count.fetch_sub(1, Relaxed);
                        return Some(attachment);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.count.load(Relaxed)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Attachment> {
        let count = if self.count() == 0 { 0 } else { ENTRIES };
        self.0.entries[..count].iter().filter_map(|entry| match entry.address.load(Acquire) {
            0..=BUSY => None,
            word => Some(entry.read(word & !TAG)),
        })
    }
}

impl Entry {
    fn read(&self, address: u64) -> Attachment {
        Attachment { address, len: self.len.load(Relaxed), shmid: self.shmid.load(Relaxed) as u32 as i32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_found_once() {
        let table = Attachments::new().unwrap();
        let made: Vec<_> = (1..5000).map(|n| Attachment { address: n << 16, len: n << 12, shmid: n as i32 }).collect();
        for attachment in &made {
            table.insert(*attachment).unwrap();
        }
        assert_eq!(table.count(), 4999);
        assert_eq!(table.all().count(), 4999);
        assert_eq!(table.take(0x1234), None);
        for attachment in &made {
            assert_eq!(table.take(attachment.address), Some(*attachment));
            assert_eq!(table.take(attachment.address), None);
        }
        assert_eq!(table.all().count(), 0);
    }
}
