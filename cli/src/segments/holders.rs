//! Who holds a segment, as the memory maps of all processes tell.
//!
//! A mapping of one of the kernel's segments has the name of its key, the segment's id as its inode, and the device of the kernel's own tmpfs (or of its
//! hugetlbfs, which only smaps tells); ids come again in other IPC namespaces, so a holder has to be in ours. A mapping of a userspace
//! segment is one of its file; who holds it the registry knows too, and with it how many of the mappings are attaches.
//!
//! Not seen: processes whose maps the caller may not read, which are counted; those in PID namespaces above ours; and a process
//! that attached a segment and then went to another IPC namespace.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use shmgate_core::backend::userspace::survey;

use super::container::Container;
use super::processes::Stat;
use super::{Place, Segment};
use crate::system;

/// A process that holds a segment.
#[derive(Debug)]
pub struct Holder {
    pub pid: u32,
    /// As it sees itself, in its own PID namespace.
    pub inner_pid: u32,
    pub uid: Option<u32>,
    pub container: Container,
    /// Empty if its maps can't be read.
    pub mappings: Vec<Mapping>,
}

/// A mapping of a segment, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub range: Range<u64>,
    /// Bytes of the segment before it.
    offset: u64,
    pub can_read: bool,
    pub can_write: bool,
    pub can_execute: bool,
}

/// What a search through /proc found.
#[derive(Debug, Default)]
pub struct Search {
    pub holders: Vec<Holder>,
    /// Processes that could not be looked into.
    pub unreadable: usize,
    /// The key by which the segment was created, if a mapping tells; that of a removed one is 0.
    pub first_key: Option<i32>,
}

impl Search {
    /// How many attaches are accounted for.
    pub fn attaches(&self) -> u64 {
        self.holders.iter().map(|holder| holder.mappings.len() as u64).sum()
    }
}

/// Looks for the processes that hold a segment.
pub fn search(segment: &Segment) -> Search {
    let mut search = Search::default();
    let Some(wanted) = Wanted::of(segment) else { return search };
    let Ok(entries) = fs::read_dir("/proc") else { return search };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        // One that ends meanwhile holds nothing.
        let Some(maps) = maps(pid, &mut search.unreadable) else { continue };
        let mappings = wanted.mappings(pid, &maps, &mut search.first_key);
        if mappings.is_empty() || !wanted.shares_namespace(pid) {
            continue;
        }
        let (uid, inner_pid) = identity(pid);
        search.holders.push(Holder { pid, inner_pid: inner_pid.unwrap_or(pid), uid, container: Container::of(pid), mappings });
    }
    if let Place::Userspace { dir, .. } = &*segment.place {
        let registered =
            survey::survey(dir).ok().and_then(|survey| survey.segments.into_iter().find(|one| one.shmid == segment.id));
        search.go_by(&registered.map(|one| one.holders).unwrap_or_default());
    }
    search.holders.sort_by_key(|holder| holder.pid);
    search
}

impl Search {
    /// Leaves out what is mapped and not attached: a process keeps a page of segments that it attaches often. Adds those whose maps can't be read.
    fn go_by(&mut self, registered: &[(u32, u64)]) {
        let mut left: HashMap<u32, u64> = registered.iter().copied().collect();
        for holder in &mut self.holders {
            let attaches = left.remove(&holder.inner_pid).unwrap_or(0);
            if holder.mappings.len() as u64 > attaches {
                let page = shmgate_core::sys::page_size();
                let is_page = |mapping: &Mapping| mapping.offset == 0 && mapping.range.end - mapping.range.start == page;
                if let Some(at) = holder.mappings.iter().position(is_page) {
                    holder.mappings.remove(at);
                }
            }
        }
        self.holders.retain(|holder| !holder.mappings.is_empty());
        for pid in left.into_keys().filter(|&pid| pid != 0 && Stat::of(pid).is_some()) {
            let (uid, _) = identity(pid);
            self.holders.push(Holder { pid, inner_pid: pid, uid, container: Container::of(pid), mappings: Vec::new() });
        }
    }
}

/// A process's maps; `None` if it has none, or has ended, or (which counts in `unreadable`) if they are not to be read.
fn maps(pid: u32, unreadable: &mut usize) -> Option<Vec<u8>> {
    match fs::read(format!("/proc/{pid}/maps")) {
        Ok(maps) if !maps.is_empty() => Some(maps),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            // The kernel's own processes and zombies have no memory to be looked at.
            *unreadable += usize::from(Stat::of(pid).is_some_and(|stat| !stat.is_kernels && !stat.is_over));
            None
        }
        Err(_) => None,
        // The first thread has ended, and others may go on.
        Ok(_) => fs::read_dir(format!("/proc/{pid}/task"))
            .ok()?
            .flatten()
            .filter_map(|thread| fs::read(thread.path().join("maps")).ok())
            .find(|maps| !maps.is_empty()),
    }
}

/// Real user, and pid as the process itself has it.
fn identity(pid: u32) -> (Option<u32>, Option<u32>) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let uid = field("Uid:").and_then(|ids| ids.split_whitespace().nth(1)?.parse().ok());
    let inner = field("NSpid:").and_then(|pids| pids.split_whitespace().last()?.parse().ok());
    (uid, inner)
}

/// How to know a segment's mappings.
#[derive(Debug)]
enum Wanted {
    Kernel {
        inode: u64,
        /// Of the kernel's own tmpfs, as maps write it.
        device: Option<String>,
        /// Our IPC namespace.
        namespace: Option<(u64, u64)>,
    },
    File {
        inode: u64,
        device: String,
        /// Its last part is the same in all mount namespaces.
        name: String,
    },
}

impl Wanted {
    /// `None` for a segment without a file, which nobody can have mapped.
    fn of(segment: &Segment) -> Option<Wanted> {
        match &*segment.place {
            Place::Kernel => {
                let inode = u64::from(segment.id.cast_unsigned());
                Some(Wanted::Kernel { inode, device: internal_device(), namespace: ipc_namespace("self") })
            }
            Place::Userspace { dir, .. } => {
                let path = survey::file(dir, segment.id)?;
                let meta = fs::metadata(&path).ok()?;
                let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
                let name = format!("/segment.{}", segment.id);
                Some(Wanted::File { inode: meta.ino(), device: format!("{major:02x}:{minor:02x}"), name })
            }
        }
    }

    fn shares_namespace(&self, pid: u32) -> bool {
        match self {
            Wanted::Kernel { namespace, .. } => ipc_namespace(&pid.to_string()) == *namespace,
            Wanted::File { .. } => true,
        }
    }

    fn mappings(&self, pid: u32, maps: &[u8], first_key: &mut Option<i32>) -> Vec<Mapping> {
        let mark = match self {
            Wanted::Kernel { .. } => "/SYSV",
            Wanted::File { name, .. } => name,
        };
        // Few processes have any: most are done after this.
        if !maps.windows(mark.len()).any(|window| window == mark.as_bytes()) {
            return Vec::new();
        }
        let mut mappings = Vec::new();
        for line in String::from_utf8_lossy(maps).lines() {
            let Some(Line { mapping, device, inode, path }) = Line::parse(line) else { continue };
            let is_it = match self {
                Wanted::Kernel { inode: wanted, device: internal, .. } => {
                    let Some(key) = key_of(path).filter(|_| inode == *wanted) else { continue };
                    let is_it = internal.as_deref() == Some(device) || is_huge(pid, &mapping);
                    if is_it {
                        *first_key = Some(key);
                    }
                    is_it
                }
                Wanted::File { inode: wanted, device: of_file, name } => {
                    path.strip_suffix(" (deleted)").unwrap_or(path).ends_with(name.as_str())
                        && inode == *wanted
                        && device == of_file
                }
            };
            if is_it {
                mappings.push(mapping);
            }
        }
        mappings
    }
}

/// A line of maps.
struct Line<'a> {
    mapping: Mapping,
    device: &'a str,
    inode: u64,
    path: &'a str,
}

impl Line<'_> {
    fn parse(line: &str) -> Option<Line<'_>> {
        // proc_pid_maps(5): address, permissions, offset, device, inode, path.
        let (range, rest) = line.split_once(' ')?;
        let (permissions, rest) = rest.split_once(' ')?;
        let (offset, rest) = rest.split_once(' ')?;
        let (device, rest) = rest.split_once(' ')?;
        let (inode, path) = rest.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let can = |letter: char| permissions.contains(letter);
        let mapping = Mapping {
            range: hex(start)?..hex(end)?,
            offset: hex(offset)?,
            can_read: can('r'),
            can_write: can('w'),
            can_execute: can('x'),
        };
        Some(Line { mapping, device, inode: inode.parse().ok()?, path: path.trim_start() })
    }
}

/// The key in the name that the kernel gives a segment's file.
fn key_of(path: &str) -> Option<i32> {
    let digits = path.strip_prefix("/SYSV")?.strip_suffix(" (deleted)")?;
    u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8).map(u32::cast_signed)
}

/// The device of the tmpfs on which the kernel has its segments, and other memory that is shared: ours will do to learn it.
fn internal_device() -> Option<String> {
    let maps = system::with_shared_page(|address| (address, fs::read_to_string("/proc/self/maps")));
    let (address, maps) = maps.and_then(|(address, maps)| Some((address, maps.ok()?)))?;
    let ours = |line: Line<'_>| (line.mapping.range.start == address).then(|| line.device.to_owned());
    maps.lines().filter_map(Line::parse).find_map(ours)
}

/// True for a mapping of huge pages. A file of the same name elsewhere would not be one.
fn is_huge(pid: u32, mapping: &Mapping) -> bool {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let mut lines = smaps.lines().skip_while(|line| Line::parse(line).is_none_or(|line| line.mapping != *mapping));
    let flags = lines.find_map(|line| line.strip_prefix("VmFlags:"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "ht"))
}

fn ipc_namespace(process: &str) -> Option<(u64, u64)> {
    fs::metadata(format!("/proc/{process}/ns/ipc")).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_segments_own_mappings_are_its() {
        let maps = b"7f00-7f02 rw-s 00000000 00:01 3                          /SYSV0000004d (deleted)\n\
            7f03-7f04 r--s 00001000 00:01 3                          /SYSV0000004d (deleted)\n\
            7f05-7f06 rw-s 00000000 00:01 4                          /SYSV0000004d (deleted)\n\
            7f07-7f08 rw-s 00000000 08:01 3                          /SYSV0000004d (deleted)\n\
            7f09-7f0a rw-s 00000000 00:01 3                          /memfd:SYSV0000004d (deleted)\n\
            7f0b-7f0c rw-s 00000000 00:01 3                          /SYSV0000004d\n\
            7f0d-7f0e rw-s 00000000 00:01 3                          /SYSV04d (deleted)\n\
            7f0f-7f10 rw-p 00000000 00:00 0 \nbroken\n\n";
        let wanted = Wanted::Kernel { inode: 3, device: Some("00:01".into()), namespace: None };
        let mut key = None;
        let mappings = wanted.mappings(0, maps, &mut key);
        assert_eq!(key, Some(77));
        let found: Vec<_> = mappings.iter().map(|one| (one.range.start, one.offset, one.can_read, one.can_write)).collect();
        assert_eq!(found, [(0x7f00, 0, true, true), (0x7f03, 0x1000, true, false)]);
    }

    #[test]
    fn the_kernels_device_is_found() {
        assert!(internal_device().is_some_and(|device| device.starts_with("00:")));
    }
}
