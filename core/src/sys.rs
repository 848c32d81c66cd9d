//! The system calls the engine makes for itself, as safe functions.
//!
//! All of them are async-signal-safe and none allocates. Each may change errno: the edge restores it. Opening, reading, writing and
//! closing go by the system call itself: libc's functions are cancellation points, and the host's shmget is none, so that a
//! thread with a pending pthread_cancel would be unwound from inside of us.

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, AtomicU8, Ordering::Relaxed};

use crate::errno::Errno;

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

    /// Reads what fits into `buffer`; shorter at the end of the file.
    ///
    /// # Errors
    /// read's.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            // SAFETY: `rest` is writable for its length.
            match unsafe { libc::syscall(libc::SYS_read, self.0, rest.as_mut_ptr(), rest.len()) } {
                0 => break,
                count if count > 0 => filled += count as usize,
                _ if Errno::last() == Errno::EINTR => {}
                _ => return Err(Errno::last()),
            }
        }
        Ok(&buffer[..filled])
    }

    /// The file's size in bytes.
    ///
    /// # Errors
    /// fstat's.
    pub fn size(&self) -> Result<u64, Errno> {
        Ok(stat_fd(self.0)?.st_size as u64)
    }
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
    dev: u64,
    ino: u64,
}

impl Parked {
    /// An empty place, for a descriptor of the file that `stat` tells of.
    pub fn place(stat: &libc::stat) -> Parked {
        Parked { fd: AtomicI32::new(-1), dev: stat.st_dev, ino: stat.st_ino }
    }

    /// Keeps a copy of `fd`, if the place is empty and there is a high number for it.
    pub fn keep(&self, fd: i32) {
        // Below what select() and most limits allow.
        if self.get().is_none()
            && let Some(file) = [1000, 200, 60].into_iter().find_map(|lowest| File::duplicate(fd, lowest).ok())
        {
            self.fd.store(file.into_fd(), Relaxed);
        }
    }

    /// The descriptor's number, if there is one that is still ours.
    pub fn get(&self) -> Option<i32> {
        let fd = self.fd.load(Relaxed);
        (fd >= 0 && self.is_of(fd)).then_some(fd)
    }

    /// True if `fd` leads to the file.
    pub fn is_of(&self, fd: i32) -> bool {
        stat_fd(fd).is_ok_and(|stat| stat.st_dev == self.dev && stat.st_ino == self.ino)
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(fd) = self.get() {
            drop(File::from_fd(fd));
        }
    }
}

/// fstat.
///
/// # Errors
/// fstat's.
pub fn stat_fd(fd: i32) -> Result<libc::stat, Errno> {
    let mut stat = core::mem::MaybeUninit::uninit();
    // SAFETY: `stat` has room for the answer.
    if unsafe { libc::fstat(fd, stat.as_mut_ptr()) } != 0 {
        return Err(Errno::last());
    }
    // SAFETY: fstat succeeded and filled it.
    Ok(unsafe { stat.assume_init() })
}

/// stat, or lstat where `path` is a symbolic link.
///
/// # Errors
/// fstatat's.
pub fn stat(path: &CStr, follow: bool) -> Result<libc::stat, Errno> {
    let mut stat = core::mem::MaybeUninit::uninit();
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    // SAFETY: `path` is NUL-terminated and `stat` has room for the answer.
    if unsafe { libc::fstatat(libc::AT_FDCWD, path.as_ptr(), stat.as_mut_ptr(), flags) } != 0 {
        return Err(Errno::last());
    }
    // SAFETY: fstatat succeeded and filled it.
    Ok(unsafe { stat.assume_init() })
}

/// readlink, cut to the buffer's length.
///
/// # Errors
/// readlink's.
pub fn read_link<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    // SAFETY: `path` is NUL-terminated and `buffer` writable for its length.
    let count = unsafe { libc::readlink(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    if count < 0 { Err(Errno::last()) } else { Ok(&buffer[..count as usize]) }
}

/// Gives the file blocks up to `len` bytes, so that a mapping of them can be written whatever becomes of the disk.
///
/// # Errors
/// fallocate's: ENOSPC, EFBIG, EDQUOT, EOPNOTSUPP.
pub fn allocate(file: &File, len: u64) -> Result<(), Errno> {
    let _quiet = HeldSignals::hold();
    loop {
        // SAFETY: plain system call on our descriptor.
        if unsafe { libc::syscall(libc::SYS_fallocate, file.fd(), 0, 0_i64, len) } == 0 {
            return Ok(());
        }
        if Errno::last() != Errno::EINTR {
            return Err(Errno::last());
        }
    }
}

/// Appends `len` zero bytes to the file of a descriptor opened with `O_APPEND`. A signal that writing would raise is kept from the host.
///
/// # Errors
/// write's: ENOSPC, EFBIG, EDQUOT, …
pub fn append_zeros(fd: i32, mut len: u64) -> Result<(), Errno> {
    // Atomic only to lie with what is zeroed at the start of the process, instead of in the library's file.
    static ZEROS: [AtomicU8; 64 << 10] = [const { AtomicU8::new(0) }; 64 << 10];
    let _quiet = HeldSignals::hold();
    while len > 0 {
        let piece = ZEROS.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let piece = libc::iovec { iov_base: ZEROS.as_ptr().cast_mut().cast(), iov_len: piece };
        let count = (len / piece.iov_len as u64).min(4) as i32;
        // SAFETY: the pieces are readable for their lengths, and only read.
        match unsafe { libc::syscall(libc::SYS_writev, fd, [piece; 4].as_ptr(), count) } {
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Err(Errno::last()),
            0 => return Err(Errno::ENOSPC),
            written => len -= written as u64,
        }
    }
    Ok(())
}

/// Writes `bytes` with a single write. A signal that the write would raise is kept from the host.
///
/// # Errors
/// write's; ENOSPC too when less than all was written.
pub fn write_once(fd: i32, bytes: &[u8]) -> Result<(), Errno> {
    let _quiet = HeldSignals::hold();
    // SAFETY: `bytes` is readable for its length.
    match unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) } {
        written if written == bytes.len() as i64 => Ok(()),
        written if written >= 0 => Err(Errno::ENOSPC),
        _ => Err(Errno::last()),
    }
}

/// Keeps SIGPIPE and SIGXFSZ, which writing can raise and which kill by default, from a host that did not ask for our writing.
struct HeldSignals {
    before: libc::sigset_t,
    pending: libc::sigset_t,
}

impl HeldSignals {
    const SIGNALS: [i32; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

    fn set() -> libc::sigset_t {
        let mut set = core::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set; the signals are valid.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in Self::SIGNALS {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            set.assume_init()
        }
    }

    fn hold() -> HeldSignals {
        let mut held = HeldSignals { before: Self::set(), pending: Self::set() };
        // SAFETY: all sets live on this stack; the mask is put back by Drop.
        unsafe {
            libc::sigpending(&mut held.pending);
            libc::pthread_sigmask(libc::SIG_BLOCK, &Self::set(), &mut held.before);
        }
        held
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        let errno = crate::errno::get();
        let mut now = Self::set();
        // SAFETY: all sets live on this stack.
        unsafe {
            libc::sigpending(&mut now);
            for signal in Self::SIGNALS {
                // Ours only if it was not pending before: the host's own stay.
                if libc::sigismember(&now, signal) == 1 && libc::sigismember(&self.pending, signal) == 0 {
                    let mut one = core::mem::MaybeUninit::uninit();
                    libc::sigemptyset(one.as_mut_ptr());
                    libc::sigaddset(one.as_mut_ptr(), signal);
                    let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
                    libc::syscall(
                        libc::SYS_rt_sigtimedwait,
                        one.as_ptr(),
                        core::ptr::null_mut::<u8>(),
                        &raw const zero,
                        8_usize,
                    );
                }
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, core::ptr::null_mut());
        }
        crate::errno::set(errno);
    }
}

/// Copies `size_of::<T>()` bytes from an address that the host gave, which may be bad.
///
/// `T` must be plain C data. Returns `None` where the kernel would say EFAULT.
pub fn read_host<T: Copy>(address: u64) -> Option<T> {
    let len = size_of::<T>() as u64;
    if !is_readable(address) || !is_readable(address.checked_add(len - 8)?) {
        return None;
    }
    // SAFETY: both ends are readable, and `T` is shorter than a page, so that there is no third page between them.
    Some(unsafe { core::ptr::read_unaligned(address as *const T) })
}

/// True if eight bytes at `address` can be read. rt_sigprocmask copies them in before it finds that -1 is no operation.
fn is_readable(address: u64) -> bool {
    let none = core::ptr::null_mut::<u8>();
    // SAFETY: with an invalid `how` the call changes nothing, and a bad address is its EFAULT.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, -1_i32, address, none, 8_usize) };
    result == -1 && Errno::last() == Errno::EINVAL
}

/// The caller's process id, anew.
pub fn getpid() -> u32 {
    // SAFETY: always succeeds. The call, not libc's function: a libc may cache.
    unsafe { libc::syscall(libc::SYS_getpid) as u32 }
}

/// The caller's thread id, anew.
pub fn gettid() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// The caller's effective user id, anew.
pub fn geteuid() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::geteuid() }
}

/// The size of a page in bytes.
pub fn page_size() -> u64 {
    // SAFETY: always succeeds.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// Gives the processor away.
pub fn yield_now() {
    // SAFETY: always succeeds.
    unsafe { libc::sched_yield() };
}

/// The value of an environment variable. No lock is taken, unlike by std's functions.
///
/// The bytes are the host's: they are good as long as the host does not change its environment.
pub fn environment(name: &CStr) -> Option<&'static CStr> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: reads a pointer that libc sets at its start.
    if unsafe { environ }.is_null() {
        return early_environment(name);
    }
    // SAFETY: `name` is NUL-terminated.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    // SAFETY: getenv returns NULL or a NUL-terminated string of the environment.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
}

/// Before libc has started (another library is linked with `-z initfirst`, or the program has a preinit function) only the kernel
/// knows the environment.
#[cold]
fn early_environment(name: &CStr) -> Option<&'static CStr> {
    static ALL: once_cell::race::OnceBox<Vec<u8>> = once_cell::race::OnceBox::new();
    let all = ALL.get_or_init(|| {
        let mut bytes = Vec::new();
        if let Ok(file) = File::open(c"/proc/self/environ", libc::O_RDONLY, 0) {
            let mut buffer = [0; 256];
            while let Ok(piece @ [_, ..]) = file.read(&mut buffer) {
                bytes.extend_from_slice(piece);
            }
        }
        bytes.push(0);
        Box::new(bytes)
    });
    let mut entries = all.split_inclusive(|&byte| byte == 0);
    entries.find_map(|entry| CStr::from_bytes_with_nul(entry.strip_prefix(name.to_bytes())?.strip_prefix(b"=")?).ok())
}

/// True for a program that runs with rights its caller has not (setuid, setgid, capabilities).
pub fn is_secure() -> bool {
    // SAFETY: always succeeds.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
