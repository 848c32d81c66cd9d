//! The files of /proc that tell of System V shared memory, as a namespace has them: /proc/sysvipc/shm and /proc/sys/kernel/shm*.
//!
//! What is read is a file in memory, which says what was true when it was opened; the kernel's says it anew after each seek to its start.
//!
//! What is written nobody tells us: it goes into a file of the namespace, and is read by whoever needs the setting next. So a number that
//! the kernel would refuse is ignored, and what is open for reading and writing reads as empty. The descriptor holds a lock on the file: until it is
//! gone, with its last duplicate, there may come more.

use core::ffi::CStr;
use core::fmt::Write;
use core::sync::atomic::Ordering::SeqCst;

use super::Userspace;
use super::layout::{Header, SEGMENTS};
use super::registry::Registry;
use crate::atomic::AtomicU64;
use crate::errno::Errno;
use crate::names::SHM_STAT_ANY;
use crate::sys::{self, BlockedSignals, File};
use crate::text::Line;

/// One of these files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcFile {
    Segments,
    Setting(Setting),
}

/// What can be set of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Shmmax,
    Shmall,
    Shmmni,
    /// See [`super::forced`].
    RmidForced,
}

const FILES: [(&str, ProcFile); 5] = [
    ("/proc/sysvipc/shm", ProcFile::Segments),
    ("/proc/sys/kernel/shmmax", ProcFile::Setting(Setting::Shmmax)),
    ("/proc/sys/kernel/shmall", ProcFile::Setting(Setting::Shmall)),
    ("/proc/sys/kernel/shmmni", ProcFile::Setting(Setting::Shmmni)),
    ("/proc/sys/kernel/shm_rmid_forced", ProcFile::Setting(Setting::RmidForced)),
];

const HEAD: &[u8] = b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n";

impl ProcFile {
    /// Which of them openat means by `dirfd` and `path`.
    pub fn named(dirfd: i32, path: &[u8]) -> Option<ProcFile> {
        let is_it = |&&(whole, _): &&(&str, ProcFile)| match whole.as_bytes().strip_suffix(path) {
            Some([]) => true,
            Some([dir @ .., b'/']) => is_directory(dirfd, dir),
            _ => false,
        };
        FILES.iter().find(is_it).map(|&(_, file)| file)
    }
}

/// True if `dirfd` leads to the directory `path`.
fn is_directory(dirfd: i32, path: &[u8]) -> bool {
    let mut name = Line::<64>::new();
    let _ = match dirfd {
        libc::AT_FDCWD => name.write_str("/proc/self/cwd\0"),
        _ => write!(name, "/proc/self/fd/{dirfd}\0"),
    };
    let name = CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default();
    sys::read_link(name, &mut [0; 32]).is_ok_and(|dir| dir == path)
}

impl Setting {
    /// Where a limit is.
    fn place(self, header: &Header) -> &AtomicU64 {
        match self {
            Setting::Shmmax => &header.shmmax,
            Setting::Shmall => &header.shmall,
            Setting::Shmmni => &header.shmmni,
            Setting::RmidForced => &header.forced,
        }
    }

    /// The highest number that it takes.
    fn most(self) -> u64 {
        match self {
            Setting::Shmmax | Setting::Shmall => u64::MAX,
            Setting::Shmmni => SEGMENTS as u64,
            Setting::RmidForced => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Setting::Shmmax => "shmmax",
            Setting::Shmall => "shmall",
            Setting::Shmmni => "shmmni",
            Setting::RmidForced => "shm_rmid_forced",
        }
    }
}

/// The flags for open that are in a mode of fopen.
pub fn flags_of_stream(mode: &[u8]) -> i32 {
    let mut flags = if mode.first() == Some(&b'r') { libc::O_RDONLY } else { libc::O_WRONLY };
    for letter in mode.iter().take_while(|&&letter| letter != b',') {
        match letter {
            b'+' => flags = libc::O_RDWR | flags & libc::O_CLOEXEC,
            b'e' => flags |= libc::O_CLOEXEC,
            _ => {}
        }
    }
    flags
}

/// The number that the kernel would take from what is written to it, if it takes one: decimal, octal or hexadecimal, with blanks before it.
fn number(text: &[u8]) -> Option<u64> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != 0x0b)?;
    let word = text[start..].split(|byte| b" \t\n".contains(byte)).next()?;
    let (digits, base) = match word {
        [b'0', b'x' | b'X', digits @ ..] => (digits, 16),
        [b'0', digits @ ..] if !digits.is_empty() => (digits, 8),
        digits => (digits, 10),
    };
    // The kernel's buffer for it is as short.
    if digits.is_empty() || word.len() > 20 {
        return None;
    }
    digits
        .iter()
        .try_fold(0_u64, |sum, &digit| sum.checked_mul(base.into())?.checked_add(char::from(digit).to_digit(base)?.into()))
}

impl Userspace {
    /// Opens one of the files as `flags` ask, those of open.
    ///
    /// # Errors
    /// EACCES: the caller may not write it. Else what a file in memory or in the namespace's directory fails with.
    #[inline(never)]
    pub fn open_proc(&self, file: ProcFile, flags: i32) -> Result<File, Errno> {
        let _whole = BlockedSignals::block_handled();
        self.settle_limits();
        self.force();
        match file {
            _ if flags & libc::O_ACCMODE == libc::O_RDONLY => self.content(file),
            ProcFile::Setting(setting) => self.open_setting(setting, flags & libc::O_ACCMODE),
            ProcFile::Segments => Err(Errno::EACCES),
        }
    }

    fn content(&self, file: ProcFile) -> Result<File, Errno> {
        let content = File::in_memory()?;
        match file {
            ProcFile::Segments => {
                sys::write_once(content.fd(), HEAD)?;
                self.bury();
                for (index, segment) in self.registry.segments().iter().enumerate() {
                    let word = segment.load();
                    if word.is_there() {
                        let resident = if word.has_file { self.registry.resident(segment.file_id(index)) } else { 0 };
                        self.write_segment(&content, index, resident)?;
                    }
                }
            }
            ProcFile::Setting(setting) => {
                let value = match setting {
                    Setting::RmidForced => self.registry.is_forced().into(),
                    limit => limit.place(&self.registry.layout().header).load(SeqCst),
                };
                let mut line = Line::<64>::new();
                let _ = writeln!(line, "{value}");
                sys::write_once(content.fd(), line.as_bytes())?;
            }
        }
        content.for_reading()
    }

    /// A line as the kernel prints it; none if the segment has just gone.
    #[inline(never)]
    fn write_segment(&self, content: &File, index: usize, resident: u64) -> Result<(), Errno> {
        // SAFETY: zeros are a shmid_ds.
        let mut about: libc::shmid_ds = unsafe { core::mem::zeroed() };
        // SAFETY: it has room for the answer.
        let Ok(shmid) = (unsafe { self.control(index as i32, SHM_STAT_ANY, (&raw mut about).expose_provenance() as u64) })
        else {
            return Ok(());
        };
        let perm = &about.shm_perm;
        let mut line = Line::<512>::new();
        let _ = writeln!(
            line,
            "{:10} {shmid:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {resident:21} {:21}",
            perm.__key,
            perm.mode,
            about.shm_segsz,
            about.shm_cpid,
            about.shm_lpid,
            about.shm_nattch,
            perm.uid,
            perm.gid,
            perm.cuid,
            perm.cgid,
            about.shm_atime,
            about.shm_dtime,
            about.shm_ctime,
            0,
        );
        sys::write_once(content.fd(), line.as_bytes())
    }

    /// The file that is to take what the host writes. Who may write there may set it: the namespace's owner, and root.
    fn open_setting(&self, setting: Setting, access: i32) -> Result<File, Errno> {
        let (header, uid) = (&self.registry.layout().header, sys::geteuid());
        if self.registry.is_shared() && uid != 0 && u64::from(uid) != header.owner.load(SeqCst) {
            return Err(Errno::EACCES);
        }
        let file = self.registry.setting_file(setting, access | libc::O_CREAT | libc::O_TRUNC)?;
        sys::set_mode(&file, if self.registry.is_shared() { 0o644 } else { 0o600 })?;
        file.lock_byte(0);
        match setting {
            Setting::RmidForced => self.registry.forced_opened(),
            _ => _ = header.limits_written.fetch_add(1, SeqCst),
        }
        Ok(file)
    }

    /// Takes over what has been written to the limits' files.
    #[inline]
    pub(super) fn settle_limits(&self) {
        let header = &self.registry.layout().header;
        let written = header.limits_written.load(SeqCst);
        if written != header.limits_settled.load(SeqCst) {
            self.read_limits(written);
        }
    }

    #[cold]
    #[inline(never)]
    fn read_limits(&self, written: u64) {
        let header = &self.registry.layout().header;
        let mut more = false;
        for limit in [Setting::Shmmax, Setting::Shmall, Setting::Shmmni] {
            let (value, may_change) = self.registry.read_setting(limit);
            more |= may_change;
            if let Some(value) = value {
                limit.place(header).store(value, SeqCst);
            }
        }
        // Whoever opened one of them meanwhile has counted on.
        if !more {
            header.limits_settled.store(written, SeqCst);
        }
    }
}

impl Registry {
    fn setting_file(&self, setting: Setting, flags: i32) -> Result<File, Errno> {
        let path = self.path(format_args!("limit.{}", setting.name()))?;
        File::open(path.as_c_str(), flags | libc::O_NOFOLLOW, 0o600)
    }

    /// What was written to a setting's file, if it is a number that the setting takes, and whether more may come.
    #[inline(never)]
    pub fn read_setting(&self, setting: Setting) -> (Option<u64>, bool) {
        let file = match self.setting_file(setting, libc::O_RDONLY) {
            Ok(file) => file,
            Err(errno) => return (None, errno != Errno::ENOENT),
        };
        // Asked first: what was written before the lock went is read below.
        let more = file.is_byte_locked(0).unwrap_or(true);
        let value = file.read(&mut [0; 64], 0).ok().and_then(number);
        (value.filter(|&value| value <= setting.most()), more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_the_kernel_takes() {
        let taken: [(&[u8], u64); 12] = [
            (b"65536", 65536),
            (b" 65536\n", 65536),
            (b"0x10000", 65536),
            (b"010", 8),
            (b"18446744073709551615", u64::MAX),
            (b"5 6", 5),
            (b"5\n6", 5),
            (b"5\t", 5),
            (b"\x0b5", 5),
            (b"0", 0),
            (b"0X1f", 31),
            (b"00000000000000000005", 5),
        ];
        for (text, value) in taken {
            assert_eq!(number(text), Some(value), "{}", text.escape_ascii());
        }
        let refused: [&[u8]; 16] = [
            b"",
            b"\n",
            b"-5",
            b"abc",
            b"12abc",
            b"18446744073709551616",
            b"7\0",
            b"99999999999999999999999",
            b"+5",
            b"0x",
            b"08",
            b"5\x0b",
            b"1\r\n",
            b"-",
            b"000000000000000000005",
            b"0x-5",
        ];
        for text in refused {
            assert_eq!(number(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn files_are_known_by_their_whole_paths_and_by_their_directories() {
        let in_tree = |path: &[u8]| ProcFile::named(libc::AT_FDCWD, path);
        assert_eq!(in_tree(b"/proc/sysvipc/shm"), Some(ProcFile::Segments));
        assert_eq!(in_tree(b"/proc/sys/kernel/shmmni"), Some(ProcFile::Setting(Setting::Shmmni)));
        for other in [b"".as_slice(), b"shm", b"/shm", b"sysvipc/shm", b"/proc/sysvipc/sem", b"/proc/sys/kernel/shmmaxx"] {
            assert_eq!(in_tree(other), None, "{}", other.escape_ascii());
        }
        let dir = File::open(c"/proc/sys", libc::O_RDONLY | libc::O_DIRECTORY, 0).unwrap();
        assert_eq!(ProcFile::named(dir.fd(), b"kernel/shmall"), Some(ProcFile::Setting(Setting::Shmall)));
        assert_eq!(ProcFile::named(dir.fd(), b"shmall"), None);
    }
}
