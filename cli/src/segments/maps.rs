//! Memory maps of processes, and what of them is a segment's.

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;

use super::processes::Stat;
use crate::system;

/// A mapping of a segment, or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub range: Range<u64>,
    /// Bytes of the segment before it.
    pub offset: u64,
    pub can_read: bool,
    pub can_write: bool,
    pub can_execute: bool,
}

impl Mapping {
    /// What may be done with it, as maps write it.
    pub fn access(&self) -> String {
        let letter = |can: bool, letter: char| if can { letter } else { '-' };
        [letter(self.can_read, 'r'), letter(self.can_write, 'w'), letter(self.can_execute, 'x')].iter().collect()
    }
}

/// A process's maps; `None` if it has none, or has ended, or (which counts in `unreadable`) if they are not to be read.
pub fn of(pid: u32, unreadable: &mut usize) -> Option<Vec<u8>> {
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

/// A line of maps.
pub struct Line<'a> {
    pub mapping: Mapping,
    pub device: &'a str,
    pub inode: u64,
    pub path: &'a str,
}

impl Line<'_> {
    pub fn parse(line: &str) -> Option<Line<'_>> {
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
pub fn key_of(path: &str) -> Option<i32> {
    let digits = path.strip_prefix("/SYSV")?.strip_suffix(" (deleted)")?;
    u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 8).map(u32::cast_signed)
}

/// The device of the tmpfs on which the kernel has its segments, and other memory that is shared: ours will do to learn it.
pub fn internal_device() -> Option<String> {
    let maps = system::with_shared_page(|address| (address, fs::read_to_string("/proc/self/maps")));
    let (address, maps) = maps.and_then(|(address, maps)| Some((address, maps.ok()?)))?;
    let ours = |line: Line<'_>| (line.mapping.range.start == address).then(|| line.device.to_owned());
    maps.lines().filter_map(Line::parse).find_map(ours)
}

/// True for a mapping of huge pages. A file of the same name elsewhere would not be one.
pub fn is_huge(pid: u32, mapping: &Mapping) -> bool {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let mut lines = smaps.lines().skip_while(|line| Line::parse(line).is_none_or(|line| line.mapping != *mapping));
    let flags = lines.find_map(|line| line.strip_prefix("VmFlags:"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "ht"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_device_is_found() {
        assert!(internal_device().is_some_and(|device| device.starts_with("00:")));
    }
}
