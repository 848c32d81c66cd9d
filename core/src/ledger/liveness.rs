//! Whether a process is alive and what it has attached, as /proc tells.
//!
//! Asked only when a quota is reached or a table full, never on the way of an ordinary call. No allocation.

use core::fmt::{Display, Write};

use crate::sys::{self, File};
use crate::text::Line;

/// What /proc/PID/stat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    threads: u64,
    start: u64,
    /// Bytes of address space.
    size: u64,
}

impl Stat {
    /// Dead: before that its memory is no more its own, but may not be taken down yet, with what was attached.
    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Without memory a thread has ended, but for its last steps.
    fn has_ended(&self) -> bool {
        self.size == 0 || self.is_dead()
    }
}

fn open(pid: u32, name: core::fmt::Arguments<'_>) -> Option<File> {
    let mut path = Line::<64>::new();
    write!(path, "/proc/{pid}/{name}\0").ok()?;
    let path = core::ffi::CStr::from_bytes_with_nul(path.as_bytes()).ok()?;
    File::open(path, libc::O_RDONLY, 0).ok()
}

fn stat(pid: u32) -> Option<Stat> {
    read_stat(&open(pid, format_args!("stat"))?)
}

fn read_stat(file: &File) -> Option<Stat> {
    parse_stat(file.read(&mut [0; 512], 0).ok()?)
}

/// The name, in parentheses, may hold anything: fields are counted from its last closing one.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let after = text.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = text[after..].split(|&byte| byte == b' ').filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    let mut number = |skip: usize| core::str::from_utf8(fields.nth(skip)?).ok()?.trim().parse().ok();
    // proc_pid_stat(5): state is field 3, num_threads 20, starttime 22, vsize 23.
    let threads = number(16)?;
    let start = number(1)?;
    let size = number(0)?;
    Some(Stat { state, threads, start, size })
}

/// When process `pid` began, 0 if that can't be known.
#[inline(never)]
pub fn start_time(pid: u32) -> u64 {
    stat(pid).map_or(0, |stat| stat.start)
}

/// False only if it is sure that process `pid`, begun at `start` (0: unknown), holds nothing any more.
#[inline(never)]
pub fn is_alive(pid: u32, start: u64) -> bool {
    match stat(pid) {
        Some(stat) if start != 0 && stat.start != start => false,
        // Unless it is only the first thread.
        Some(stat) => !(stat.is_dead() && stat.threads <= 1),
        // No /proc, or one that hides others' processes.
        None => {
            // SAFETY: signal 0 is only a question.
            let answer = unsafe { libc::kill(pid as i32, 0) };
            answer == 0 || crate::errno::Errno::last() != crate::errno::Errno(libc::ESRCH)
        }
    }
}

/// Whether thread `tid` of the living process `pid` has not ended. `None` if it is not to be seen.
#[inline(never)]
pub fn is_running(pid: u32, tid: u32) -> Option<bool> {
    read_stat(&open(pid, format_args!("task/{tid}/stat"))?).map(|stat| !stat.has_ended())
}

/// How many mappings of System V segments process `pid` has: an attach has at least one. `None` if that can't be seen.
#[inline(never)]
pub fn attached(pid: u32) -> Option<u64> {
    let mut counter = MapsCounter::default();
    read_maps(pid, |byte| counter.push(byte))?;
    Some(counter.count)
}

/// True if process `pid` has a file with this inode mapped. `None` if that can't be seen.
#[inline(never)]
pub fn maps_inode(pid: u32, inode: u64) -> Option<bool> {
    // The inode is a line's fifth field.
    let (mut field, mut number, mut found) = (0, 0_u64, false);
    read_maps(pid, |byte| match byte {
        b'\n' => (field, number) = (0, 0),
        b' ' => {
            found |= field == 4 && number == inode;
            (field, number) = (field + 1, 0);
        }
        b'0'..=b'9' if field == 4 => number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
        _ => {}
    })?;
    Some(found)
}

fn read_maps(pid: u32, mut each: impl FnMut(u8)) -> Option<()> {
    let file = open(pid, format_args!("maps"))?;
    let mut buffer = [0; 512];
    let mut at = 0;
    loop {
        match file.read(&mut buffer, at).ok()? {
            // A zombie's map is empty, and so is one that must not be seen; that of who dies meanwhile has no end.
            [] => return (at > 0 && stat(pid)?.size > 0).then_some(()),
            piece => {
                piece.iter().for_each(|&byte| each(byte));
                at += piece.len() as u64;
            }
        }
    }
}

/// Counts the lines whose path begins with `/SYSV`, the kernel's name for a segment's file, byte by byte.
#[derive(Default)]
struct MapsCounter {
    count: u64,
    /// How much of the name the last bytes of the line are, from the line's first slash on; `None` once that can't be it.
    seen: usize,
    failed: bool,
}

impl MapsCounter {
    fn push(&mut self, byte: u8) {
        const NAME: &[u8] = b"/SYSV";
        match byte {
            b'\n' => *self = MapsCounter { count: self.count, ..MapsCounter::default() },
            _ if self.failed || self.seen == NAME.len() => {}
            _ if byte == NAME[self.seen] => {
                self.seen += 1;
                self.count += u64::from(self.seen == NAME.len());
            }
            _ => self.failed = self.seen > 0,
        }
    }
}

/// The inode of one of the caller's namespaces, 0 if it can't be known.
pub fn namespace(path: &core::ffi::CStr) -> u64 {
    sys::stat(path, true).map_or(0, |stat| stat.st_ino)
}

/// The PID namespace in which /proc knows a process as `pid`, 0 if it does not. Another than the caller's for the caller's own pid: it is
/// another namespace's /proc.
pub fn namespace_of(pid: u32) -> u64 {
    pid_namespace(&pid)
}

/// The caller's PID namespace, 0 if it can't be known.
pub fn own_namespace() -> u64 {
    pid_namespace(&"self")
}

/// That of a time namespace is one by itself: it has other times at which the same processes began.
#[inline(never)]
fn pid_namespace(process: &dyn Display) -> u64 {
    let [pids, times] = ["pid", "time"].map(|kind| {
        let mut path = Line::<64>::new();
        let _ = write!(path, "/proc/{process}/ns/{kind}\0");
        core::ffi::CStr::from_bytes_with_nul(path.as_bytes()).map_or(0, namespace)
    });
    if pids == 0 { 0 } else { pids + (times << 16) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_past_any_name() {
        let line = b"12 (a) b) (c) Z 1 12 12 0 -1 4 0 0 0 0 0 0 0 0 20 0 3 0 98765 4096 0";
        assert_eq!(parse_stat(line), Some(Stat { state: b'Z', threads: 3, start: 98765, size: 4096 }));
        let ends = parse_stat(b"12 (a) R 1 12 12 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0").unwrap();
        assert!(ends.has_ended() && !ends.is_dead(), "it may have its attaches yet");
        assert_eq!(parse_stat(b"12 (x"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn we_are_alive_and_another_start_is_another_process() {
        let me = std::process::id();
        let start = start_time(me);
        assert!(start != 0 && is_alive(me, start) && is_alive(me, 0));
        assert!(!is_alive(me, start + 1));
        assert!(!is_alive(0x3fff_ffff, 0));
    }

    #[test]
    fn only_segments_count_in_maps() {
        let mut counter = MapsCounter::default();
        let maps = b"7f00-7f01 rw-s 00000000 00:01 3    /SYSV0000162e (deleted)\n\
            7f01-7f02 rw-s 00000000 00:01 3    /dev/shm/SYSV\n7f02-7f03 rw-p 0 00:00 0 \n\
            7f03-7f04 rw-s 00001000 00:01 3    /SYSV00000000 (deleted)\n";
        maps.iter().for_each(|&byte| counter.push(byte));
        assert_eq!(counter.count, 2);
    }
}
