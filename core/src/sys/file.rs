//! Descriptors: one that is closed when dropped, and one that is kept where hosts seldom look.

use core::ffi::CStr;
use core::fmt::Write;
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use super::stat_fd;
use crate::errno::Errno;
use crate::text::Line;

/// An open descriptor, closed when dropped.
#[derive(Debug)]
pub struct File(i32);

impl File {
    /// Opens `path` with `flags` (`O_CLOEXEC` is added). A new file gets exactly `mode`, whatever the umask.
    ///
    /// # Errors
    /// open's.
    pub fn open(path: &CStr, flags: i32, mode: u32) -> Result<File, Errno> {
        // SAFETY: `path` is NUL-terminated.
        let fd =
            unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, mode) as i32 };
        if fd < 0 {
            return Err(Errno::last());
        }
        let file = File(fd);
        if flags & libc::O_EXCL != 0 {
            // SAFETY: the descriptor is ours.
            unsafe { libc::fchmod(fd, mode) };
        }
        Ok(file)
    }

    /// An empty file in memory, which nothing but its descriptor leads to.
    ///
    /// # Errors
    /// memfd_create's: EMFILE, ENFILE, ENOMEM, …
    pub fn in_memory() -> Result<File, Errno> {
        // That it can't be executed kernels since 6.3 want to be told, or may be set up to refuse it.
        for flags in [libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL, libc::MFD_CLOEXEC] {
            // SAFETY: the name is NUL-terminated.
            let fd = unsafe { libc::syscall(libc::SYS_memfd_create, c"shmgate".as_ptr(), flags) as i32 };
            if fd >= 0 {
                return Ok(File(fd));
            }
        }
        Err(Errno::last())
    }

    /// The same file, under the same number, from its start and for reading only.
    ///
    /// # Errors
    /// open's.
    pub fn for_reading(self) -> Result<File, Errno> {
        super::set_mode(&self, 0o444)?;
        let reader = File::open_again(self.0, libc::O_RDONLY)?;
        reader.hand_over(self.0, libc::O_CLOEXEC)?;
        Ok(self)
    }

    /// Opens the file of a descriptor anew, whatever has become of its path.
    fn open_again(fd: i32, flags: i32) -> Result<File, Errno> {
        let mut path = Line::<64>::new();
        let _ = write!(path, "/proc/self/fd/{fd}\0");
        File::open(CStr::from_bytes_with_nul(path.as_bytes()).unwrap_or_default(), flags, 0)
    }

    /// Gives the descriptor away, closed by exec if `flags` are O_CLOEXEC and not if they are 0: in the place of the open one `fd`, or under its own
    /// number if that is -1.
    ///
    /// # Errors
    /// dup3's.
    pub fn hand_over(self, fd: i32, flags: i32) -> Result<i32, Errno> {
        if fd < 0 {
            // FD_CLOEXEC is 1.
            // SAFETY: plain system call on our descriptor.
            unsafe { libc::syscall(libc::SYS_fcntl, self.0, libc::F_SETFD, i32::from(flags != 0)) };
            return Ok(self.into_fd());
        }
        // SAFETY: whoever asks answers for `fd`.
        if unsafe { libc::syscall(libc::SYS_dup3, self.0, fd, flags) } < 0 { Err(Errno::last()) } else { Ok(fd) }
    }

    /// Duplicates `fd` to a number not below `lowest`.
    ///
    /// # Errors
    /// fcntl's, such as EBADF when `fd` is not open.
    pub fn duplicate(fd: i32, lowest: i32) -> Result<File, Errno> {
        // SAFETY: makes a new descriptor only.
        let new = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) };
        if new < 0 { Err(Errno::last()) } else { Ok(File(new)) }
    }

    /// Takes over an open descriptor.
    pub fn from_fd(fd: i32) -> File {
        File(fd)
    }

    /// Gives the descriptor away, still open.
    pub fn into_fd(self) -> i32 {
        let fd = self.0;
        core::mem::forget(self);
        fd
    }

    /// The descriptor's number.
    pub fn fd(&self) -> i32 {
        self.0
    }

    /// Closes the calling process's descriptors of which `is_meant` says so. Without /proc they stay.
    pub fn close_where(is_meant: &dyn Fn(i32) -> bool) {
        let Ok(dir) = File::open(c"/proc/self/fd", libc::O_DIRECTORY, 0) else { return };
        let mut entries = [0_u8; 1024];
        loop {
            // SAFETY: `entries` is writable for its length.
            let len = unsafe { libc::syscall(libc::SYS_getdents64, dir.fd(), entries.as_mut_ptr(), entries.len()) };
            let mut rest = match usize::try_from(len) {
                Ok(len) if len > 0 => &entries[..len],
                _ => return,
            };
            // struct linux_dirent64: the length of the entry lies at 16, and its name at 19.
            while let Some((len, name)) = rest.get(16..18).zip(rest.get(19..)) {
                let name = CStr::from_bytes_until_nul(name).ok().and_then(|name| name.to_str().ok());
                if let Some(fd) = name.and_then(|name| name.parse().ok())
                    && fd != dir.fd()
                    && is_meant(fd)
                {
                    drop(File(fd));
                }
                rest = rest.get(usize::from(u16::from_ne_bytes([len[0], len[1]])).max(1)..).unwrap_or_default();
            }
        }
    }

    /// Reads what fits into `buffer` from offset `from`; shorter at the end of the file. Not by the descriptor's own offset: a child that a
    /// signal's handler forks out of this goes on here too, and shares that.
    ///
    /// # Errors
    /// pread's.
    pub fn read<'a>(&self, buffer: &'a mut [u8], from: u64) -> Result<&'a [u8], Errno> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            // SAFETY: `rest` is writable for its length.
            match unsafe { libc::syscall(libc::SYS_pread64, self.0, rest.as_mut_ptr(), rest.len(), from + filled as u64) } {
                0 => break,
                count if count > 0 => filled += count as usize,
                _ if Errno::last() == Errno::EINTR => {}
                _ => return Err(Errno::last()),
            }
        }
        Ok(&buffer[..filled])
    }

    /// The byte at an offset.
    ///
    /// # Errors
    /// pread's; EINVAL at the end of the file.
    pub fn byte_at(&self, offset: u64) -> Result<u8, Errno> {
        let mut byte = 0_u8;
        // SAFETY: `byte` is writable.
        match unsafe { libc::syscall(libc::SYS_pread64, self.0, &raw mut byte, 1, offset) } {
            1 => Ok(byte),
            0 => Err(Errno::EINVAL),
            _ => Err(Errno::last()),
        }
    }

    /// Locks byte `at` of the file for this open file description, which fork and mmap keep alive; false if another has it.
    pub fn lock_byte(&self, at: u64) -> bool {
        let lock = byte_lock(libc::F_WRLCK, at);
        // SAFETY: `lock` outlives the call. The system call itself: libc's function is a cancellation point.
        unsafe { libc::syscall(libc::SYS_fcntl, self.0, libc::F_OFD_SETLK, &raw const lock) == 0 }
    }

    /// Gives a byte's lock up.
    pub fn unlock_byte(&self, at: u64) {
        let lock = byte_lock(libc::F_UNLCK, at);
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_fcntl, self.0, libc::F_OFD_SETLK, &raw const lock) };
    }

    /// True if another open file description has byte `at` of the file locked.
    ///
    /// # Errors
    /// fcntl's.
    pub fn is_byte_locked(&self, at: u64) -> Result<bool, Errno> {
        Ok(i32::from(lock_at(self.0, at)?.l_type) != libc::F_UNLCK)
    }

    /// The file's size in bytes.
    ///
    /// # Errors
    /// fstat's.
    pub fn size(&self) -> Result<u64, Errno> {
        Ok(stat_fd(self.0)?.st_size as u64)
    }
}

/// What descriptor `fd` was opened for: O_RDONLY, O_WRONLY or O_RDWR; something else if it is not open.
pub fn access(fd: i32) -> i32 {
    // SAFETY: only asks.
    unsafe { libc::fcntl(fd, libc::F_GETFL) & libc::O_ACCMODE }
}

/// The first lock of another open file description that byte `at` of `fd`'s file is in.
fn lock_at(fd: i32, at: u64) -> Result<libc::flock, Errno> {
    let mut lock = byte_lock(libc::F_WRLCK, at);
    // SAFETY: `lock` outlives the call, which only asks. The system call itself, as above.
    let failed = unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_OFD_GETLK, &raw mut lock) } != 0;
    if failed { Err(Errno::last()) } else { Ok(lock) }
}

fn byte_lock(kind: i32, at: u64) -> libc::flock {
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: at as _, l_len: 1, l_pid: 0 }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and not used again.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}

/// A place for a descriptor kept at a high number, where hosts seldom look. It is believed only while it leads to the file it is
/// meant to: a host may close all descriptors and open others under their numbers.
#[derive(Debug)]
pub struct Parked {
    fd: AtomicI32,
    dev: AtomicU64,
    ino: AtomicU64,
}

impl Parked {
    /// An empty place, for a descriptor of the file that `stat` tells of.
    pub fn place(stat: &libc::stat) -> Parked {
        Parked { fd: AtomicI32::new(-1), dev: AtomicU64::new(stat.st_dev), ino: AtomicU64::new(stat.st_ino) }
    }

    /// An empty place, for a descriptor of a file that is not known yet.
    pub fn anywhere() -> Parked {
        Parked { fd: AtomicI32::new(-1), dev: AtomicU64::new(0), ino: AtomicU64::new(0) }
    }

    /// Keeps a copy of `file`, whatever the place was for before.
    pub fn park(&self, file: &File) {
        if let Ok(stat) = stat_fd(file.fd()) {
            self.dev.store(stat.st_dev, Relaxed);
            self.ino.store(stat.st_ino, Relaxed);
            self.keep(file.fd());
        }
    }

    /// Keeps a copy of `fd`, if the place is empty and there is a high number for it.
    pub fn keep(&self, fd: i32) {
        // Below what select() and most limits allow.
        if self.get().is_none()
            && let Some(file) = [1000, 200, 60].into_iter().find_map(|lowest| File::duplicate(fd, lowest).ok())
        {
            let before = self.fd.load(Relaxed);
            // Unless another thread was faster.
            if self.fd.compare_exchange(before, file.fd(), Relaxed, Relaxed).is_ok() {
                core::mem::forget(file);
            }
        }
    }

    /// True if another open file description has byte `at` of the file locked, and nothing but that byte: what says so of a byte
    /// that nobody else would lock needs no other proof that it is our file. False is no answer.
    pub fn knows_locked(&self, at: u64) -> bool {
        let fd = self.fd.load(Relaxed);
        let is_it = |lock: libc::flock| {
            i32::from(lock.l_type) == libc::F_WRLCK && lock.l_start as u64 == at && lock.l_len == 1 && lock.l_pid == -1
        };
        fd >= 0 && lock_at(fd, at).is_ok_and(is_it)
    }

    /// The file, opened anew with `flags`, if its descriptor is still there and the file's mode allows it.
    pub fn open_again(&self, flags: i32) -> Option<File> {
        File::open_again(self.get()?, flags).ok()
    }

    /// The descriptor's number, if there is one that is still ours.
    pub fn get(&self) -> Option<i32> {
        let fd = self.fd.load(Relaxed);
        (fd >= 0 && self.is_of(fd)).then_some(fd)
    }

    /// True if `fd` leads to the file.
    pub fn is_of(&self, fd: i32) -> bool {
        stat_fd(fd).is_ok_and(|stat| stat.st_dev == self.dev.load(Relaxed) && stat.st_ino == self.ino.load(Relaxed))
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(fd) = self.get() {
            drop(File::from_fd(fd));
        }
    }
}
