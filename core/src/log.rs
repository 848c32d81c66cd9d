//! The text log: a line a call, to standard error or a file, by one write each.
//!
//! No descriptor of a file is kept: it is opened for each line. That of standard error is kept at a high number and believed
//! only while it still leads to where it did, so that a host that closes or reuses descriptors finds nothing of ours in
//! its files. Lines that can't be written are counted, and said once; what a full disk has taken of a line gets an end before the next
//! one. No lock, no allocation on the way of a line.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::ffi::CString;

use once_cell::race::OnceBox;

use crate::errno::Errno;
use crate::map::Mapping;
use crate::sys::{self, File, Parked};
use crate::text::Quoted;

/// Text or JSON lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As strace writes them.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Where lines go.
#[derive(Debug)]
pub enum Target {
    /// Standard error, as it was at the start.
    Stderr,
    /// A file, by its absolute path.
    File(CString),
}

/// The log of a process, which can be turned on and off.
#[derive(Debug)]
pub struct Log {
    target: AtomicPtr<Target>,
    stderr: Stderr,
    /// A word that forked children share: lines that could not be written. The first is said.
    lost: OnceBox<Mapping>,
    /// As many were lost when the file was last looked at for a line without an end; at first it was not.
    looked_at: AtomicU64,
}

impl Log {
    /// A log that is off.
    pub fn new() -> Log {
        Log { target: AtomicPtr::default(), stderr: Stderr::now(), lost: OnceBox::new(), looked_at: AtomicU64::new(u64::MAX) }
    }

    /// Sends lines to `target` from now on, or nowhere. The target before is never freed: another thread may be writing to it.
    pub fn set(&self, target: Option<Target>) {
        if matches!(target, Some(Target::Stderr)) {
            self.stderr.park();
        }
        if target.is_some()
            && self.lost.get().is_none()
            && let Ok(lost) = Mapping::shared_memory(8)
        {
            let _ = self.lost.set(Box::new(lost));
        }
        let new = target.map_or(core::ptr::null_mut(), |target| Box::into_raw(Box::new(target)));
        self.target.store(new, Ordering::Release);
    }

    /// True if lines go anywhere.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.target.load(Ordering::Relaxed).is_null()
    }

    /// Writes a whole line; false if it can't be written.
    #[inline(never)]
    pub fn write(&self, line: &[u8]) -> bool {
        // SAFETY: targets are never freed.
        let target = unsafe { self.target.load(Ordering::Acquire).as_ref() };
        let written = match target {
            None => return true,
            Some(Target::Stderr) => self.stderr.write(line),
            Some(Target::File(path)) => {
                let lost = self.lost();
                let may_be_torn = self.looked_at.swap(lost, Ordering::Relaxed) != lost;
                append(path, line, may_be_torn)
            }
        };
        let Err(errno) = written else { return true };
        let before = self.lost.get().map_or(0, |lost| lost.words()[0].fetch_add(1, Ordering::Relaxed));
        if before == 0 {
            use core::fmt::Write;
            let mut text = super::text::Line::<512>::new();
            let _ = text.write_str("the log ");
            if let Some(Target::File(path)) = target {
                let _ = write!(text, "{} ", Quoted { bytes: path.to_bytes(), json: false });
            }
            let why = errno.text();
            let _ = write!(text, "can't be written ({why}); the program goes on, calls are counted but not logged");
            self.say(text.as_bytes());
        }
        false
    }

    fn lost(&self) -> u64 {
        self.lost.get().map_or(0, |lost| lost.words()[0].load(Ordering::Relaxed))
    }

    /// Writes a message of shmgate's own to standard error.
    #[cold]
    #[inline(never)]
    pub fn say(&self, message: &[u8]) {
        use core::fmt::Write;
        let mut line = super::text::Line::<512>::new();
        let _ = line.write_str("shmgate: ");
        for chunk in message.utf8_chunks() {
            let _ = line.write_str(chunk.valid());
        }
        line.end();
        let _ = self.stderr.write(line.as_bytes());
    }
}

impl Default for Log {
    fn default() -> Self {
        Log::new()
    }
}

/// Opens, writes, closes. A pipe without a reader, or a full one, is no reason to wait. With `may_be_torn`, a line without an end gets one.
fn append(path: &CStr, line: &[u8], may_be_torn: bool) -> Result<(), Errno> {
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_NOCTTY | libc::O_NONBLOCK;
    let file = match File::open(path, flags, 0) {
        Err(Errno::ENOENT) => match File::open(path, flags | libc::O_CREAT | libc::O_EXCL, 0o644) {
            Err(Errno::EEXIST) => File::open(path, flags, 0)?,
            other => other?,
        },
        other => other?,
    };
    if may_be_torn && File::open(path, flags & !libc::O_WRONLY, 0).is_ok_and(|file| ends_in_a_line(&file)) {
        sys::write_once(file.fd(), b"\n")?;
    }
    sys::write_once(file.fd(), line)
}

/// True if the file's last byte is one of a line that has no end.
fn ends_in_a_line(file: &File) -> bool {
    let size =
        sys::stat_fd(file.fd()).map_or(0, |stat| if stat.st_mode & libc::S_IFMT == libc::S_IFREG { stat.st_size } else { 0 });
    size > 0 && file.byte_at(size as u64 - 1).is_ok_and(|byte| byte != b'\n')
}

/// Standard error as it was when the library came in; `None` if there was none. A copy of it is kept only if lines are to go there.
#[derive(Debug)]
pub struct Stderr(Option<Parked>);

impl Stderr {
    /// Notes it.
    pub fn now() -> Stderr {
        Stderr(sys::stat_fd(2).ok().map(|stat| Parked::place(&stat)))
    }

    fn park(&self) {
        if let Some(place) = self.0.as_ref().filter(|place| place.is_of(2)) {
            place.keep(2);
        }
    }

    /// Writes a line, if it is still where it was.
    ///
    /// # Errors
    /// write's; EBADF.
    pub fn write(&self, line: &[u8]) -> Result<(), Errno> {
        let place = self.0.as_ref().ok_or(Errno::EBADF)?;
        let fd = place.get().or_else(|| place.is_of(2).then_some(2));
        sys::write_once(fd.ok_or(Errno::EBADF)?, line)
    }
}
