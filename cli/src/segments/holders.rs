//! Who holds segments, as the memory maps of all processes tell.
//!
//! A mapping of one of the kernel's segments has the name of its key, the segment's id as its inode, and the device of the kernel's own tmpfs (or of its
//! hugetlbfs, which only smaps tells); ids come again in other IPC namespaces, so a holder has to be in ours. A mapping of a userspace
//! segment is one of its file; who holds it the registry knows too, and with it how many of the mappings are attaches.
//!
//! Not seen: processes whose maps the caller may not read, which are counted; those in PID namespaces above ours; and a process
//! that attached a segment and then went to another IPC namespace.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use shmgate_core::backend::userspace::survey;

use super::container::Container;
use super::maps::{self, Line, Mapping};
use super::processes::Stat;
use super::{Place, Segment};

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

impl Holder {
    fn new(pid: u32, mappings: Vec<Mapping>) -> Holder {
        let (uid, inner_pid) = identity(pid);
        Holder { pid, inner_pid: inner_pid.unwrap_or(pid), uid, container: Container::of(pid), mappings }
    }
}

/// What a search through /proc found of a segment.
#[derive(Debug, Default)]
pub struct Search {
    pub holders: Vec<Holder>,
    /// Processes that could not be looked into.
    pub unreadable: usize,
    /// The key by which the segment was created, if a mapping tells; that of a removed one is 0.
    pub first_key: Option<i32>,
}

impl Search {
    /// The key by which the segment was created, 0 for IPC_PRIVATE, or if that is not known any more.
    pub fn key(&self, segment: &Segment) -> i32 {
        if segment.key == 0 { self.first_key.unwrap_or(0) } else { segment.key }
    }

    /// How many attaches are accounted for.
    pub fn attaches(&self) -> u64 {
        self.holders.iter().map(|holder| holder.mappings.len() as u64).sum()
    }
}

/// Looks for the processes that hold a segment.
pub fn search(segment: &Segment) -> Search {
    search_all(&[segment]).pop().unwrap_or_default()
}

/// Looks for the processes that hold segments, in one pass through /proc; a result a segment.
pub fn search_all(segments: &[&Segment]) -> Vec<Search> {
    let mut found: Vec<Search> = segments.iter().map(|_| Search::default()).collect();
    let wanted = Wanted::of(segments);
    let Ok(entries) = fs::read_dir("/proc") else { return found };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut unreadable = 0;
    for pid in pids {
        // One that ends meanwhile holds nothing.
        let Some(maps) = maps::of(pid, &mut unreadable) else { continue };
        for (at, Mapped { mappings, key }) in wanted.mapped(pid, &maps) {
            found[at].first_key = key.or(found[at].first_key);
            found[at].holders.push(Holder::new(pid, mappings));
        }
    }
    let mut surveys: HashMap<&Path, Registered> = HashMap::new();
    for (search, segment) in found.iter_mut().zip(segments) {
        search.unreadable = unreadable;
        if let Place::Userspace { dir, .. } = &*segment.place {
            let registered = surveys.entry(dir).or_insert_with(|| registered(dir));
            search.go_by(registered.get(&segment.id).map_or(&[], Vec::as_slice));
        }
        search.holders.sort_by_key(|holder| holder.pid);
    }
    found
}

/// The holders of a namespace's segments, by id, as its registry has them: pids, and how often.
type Registered = HashMap<i32, Vec<(u32, u64)>>;

fn registered(dir: &Path) -> Registered {
    let segments = survey::survey(dir).unwrap_or_default().segments;
    segments.into_iter().map(|segment| (segment.shmid, segment.holders)).collect()
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
        let unseen = left.into_keys().filter(|&pid| pid != 0 && Stat::of(pid).is_some());
        self.holders.extend(unseen.map(|pid| Holder { inner_pid: pid, ..Holder::new(pid, Vec::new()) }));
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

/// How to know the mappings of some segments, each known by its place in the list.
#[derive(Debug, Default)]
struct Wanted {
    /// The kernel's, by their inodes, which are their ids.
    kernel: HashMap<u64, usize>,
    /// Of the kernel's own tmpfs, as maps write it.
    device: Option<String>,
    /// Our IPC namespace.
    namespace: Option<(u64, u64)>,
    /// Those in user space, by their files' inodes and devices.
    files: HashMap<(u64, String), File>,
}

#[derive(Debug)]
struct File {
    at: usize,
    /// Its last part is the same in all mount namespaces.
    name: String,
}

/// What a process has mapped of a segment.
#[derive(Debug, Default)]
struct Mapped {
    mappings: Vec<Mapping>,
    key: Option<i32>,
}

impl Wanted {
    fn of(segments: &[&Segment]) -> Wanted {
        let mut wanted = Wanted::default();
        for (at, segment) in segments.iter().enumerate() {
            match &*segment.place {
                Place::Kernel => {
                    wanted.kernel.insert(u64::from(segment.id.cast_unsigned()), at);
                }
                Place::Userspace { dir, .. } => {
                    // Without a file nobody can have it mapped.
                    let Some(meta) = survey::file(dir, segment.file).and_then(|path| fs::metadata(path).ok()) else { continue };
                    let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
                    let name = format!("/segment.{}", segment.file);
                    wanted.files.insert((meta.ino(), format!("{major:02x}:{minor:02x}")), File { at, name });
                }
            }
        }
        if !wanted.kernel.is_empty() {
            (wanted.device, wanted.namespace) = (maps::internal_device(), ipc_namespace("self"));
        }
        wanted
    }

    /// What a process has mapped, by segment.
    fn mapped(&self, pid: u32, maps: &[u8]) -> BTreeMap<usize, Mapped> {
        let mut mapped = BTreeMap::<usize, Mapped>::new();
        // Few processes have any: most are done after this.
        let has = |mark: &str| maps.windows(mark.len()).any(|window| window == mark.as_bytes());
        let may_have_files = !self.files.is_empty() && has("/segment.");
        if !may_have_files && (self.kernel.is_empty() || !has("/SYSV")) {
            return mapped;
        }
        let mut shares_namespace = None;
        for line in String::from_utf8_lossy(maps).lines() {
            let Some(Line { mapping, device, inode, path }) = Line::parse(line) else { continue };
            if let Some(key) = maps::key_of(path)
                && let Some(&at) = self.kernel.get(&inode)
                && (self.device.as_deref() == Some(device) || maps::is_huge(pid, &mapping))
                && *shares_namespace.get_or_insert_with(|| ipc_namespace(&pid.to_string()) == self.namespace)
            {
                let of_segment = mapped.entry(at).or_default();
                of_segment.mappings.push(mapping);
                of_segment.key = Some(key);
            } else if path.contains("/segment.")
                && let Some(File { at, name }) = self.files.get(&(inode, device.to_owned()))
                && path.strip_suffix(" (deleted)").unwrap_or(path).ends_with(name.as_str())
            {
                mapped.entry(*at).or_default().mappings.push(mapping);
            }
        }
        mapped
    }
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
            7f11-7f12 rw-s 00000000 00:19 5                          /dev/shm/n/segment.7\n\
            7f13-7f14 rw-s 00000000 00:19 5                          /dev/shm/n/segment.7 (deleted)\n\
            7f15-7f16 rw-s 00000000 00:1a 5                          /dev/shm/n/segment.7\n\
            7f17-7f18 rw-s 00000000 00:19 5                          /dev/shm/n/segment.77\n\
            7f0f-7f10 rw-p 00000000 00:00 0 \nbroken\n\n";
        let files = HashMap::from([((5, "00:19".to_owned()), File { at: 1, name: "/segment.7".into() })]);
        // This process is in its own IPC namespace.
        let wanted =
            Wanted { kernel: HashMap::from([(3, 0)]), device: Some("00:01".into()), namespace: ipc_namespace("self"), files };
        let mapped = wanted.mapped(std::process::id(), maps);
        let found = |at: usize| -> Vec<_> {
            mapped[&at].mappings.iter().map(|one| (one.range.start, one.offset, one.access())).collect()
        };
        assert_eq!(mapped[&0].key, Some(77));
        assert_eq!(found(0), [(0x7f00, 0, "rw-".into()), (0x7f03, 0x1000, "r--".into())]);
        assert_eq!(found(1), [(0x7f11, 0, "rw-".into()), (0x7f13, 0, "rw-".into())]);
    }
}
