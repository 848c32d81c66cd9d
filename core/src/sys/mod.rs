//! The system calls the engine makes for itself, as safe functions.
//!
//! All of them are async-signal-safe and none allocates. Each may change errno: the edge restores it. Opening, reading, writing and
//! closing go by the system call itself: libc's functions are cancellation points, and the host's shmget is none, so that a
//! thread with a pending pthread_cancel would be unwound from inside of us.

mod file;
mod memory;
mod signals;

use core::ffi::CStr;
use core::sync::atomic::AtomicU8;

pub use file::{File, Parked, access};
pub use memory::{free_address, mmap, mremap, munmap, pin, wish_large_pages};
use signals::HeldSignals;
pub use signals::{BlockedSignals, handler_comes};

use crate::errno::{Errno, HostErrno};

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
    fallocate(file, 0, 0, len)
}

/// Gives room to `len` of the file's bytes from `start`. It gets no longer: somebody may be cutting it short.
///
/// # Errors
/// fallocate's.
pub fn allocate_range(file: &File, start: u64, len: u64) -> Result<(), Errno> {
    fallocate(file, libc::FALLOC_FL_KEEP_SIZE, start, len)
}

fn fallocate(file: &File, mode: i32, start: u64, len: u64) -> Result<(), Errno> {
    let _quiet = HeldSignals::hold();
    loop {
        // SAFETY: plain system call on our descriptor.
        if unsafe { libc::syscall(libc::SYS_fallocate, file.fd(), mode, start, len) } == 0 {
            return Ok(());
        }
        if Errno::last() != Errno::EINTR {
            return Err(Errno::last());
        }
    }
}

/// Gives the file `len` bytes, without room for them.
///
/// # Errors
/// ftruncate's.
pub fn truncate(file: &File, len: u64) -> Result<(), Errno> {
    // Beyond the limit it would be a signal for the host.
    if len > limit(libc::RLIMIT_FSIZE) {
        return Err(Errno::EFBIG);
    }
    // SAFETY: plain system call on our descriptor.
    check(unsafe { libc::syscall(libc::SYS_ftruncate, file.fd(), len) })
}

/// Gives a file a second name.
///
/// # Errors
/// link's: EEXIST, …
pub fn link(from: &CStr, to: &CStr) -> Result<(), Errno> {
    // SAFETY: the paths are NUL-terminated.
    check(unsafe { libc::link(from.as_ptr(), to.as_ptr()) }.into())
}

/// Makes a symbolic link `link` to `target`.
///
/// # Errors
/// symlink's: EEXIST, …
pub fn symlink(target: &CStr, link: &CStr) -> Result<(), Errno> {
    // SAFETY: the paths are NUL-terminated.
    check(unsafe { libc::symlink(target.as_ptr(), link.as_ptr()) }.into())
}

/// Removes a file's name.
///
/// # Errors
/// unlink's.
pub fn unlink(path: &CStr) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated.
    check(unsafe { libc::unlink(path.as_ptr()) }.into())
}

/// Gives a file another name, if it can be done.
pub fn rename(from: &CStr, to: &CStr) {
    // SAFETY: the paths are NUL-terminated.
    unsafe { libc::rename(from.as_ptr(), to.as_ptr()) };
}

/// Changes a file's permission bits.
///
/// # Errors
/// fchmod's.
pub fn set_mode(file: &File, mode: u32) -> Result<(), Errno> {
    // SAFETY: plain system call on our descriptor.
    check(unsafe { libc::fchmod(file.fd(), mode) }.into())
}

/// Gives back the pages of a file that somebody may have mapped; they read as zeros then.
///
/// # Errors
/// fallocate's: EOPNOTSUPP, …
pub fn free_pages(file: &File, len: u64) -> Result<(), Errno> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: plain system call on our descriptor.
    check(unsafe { libc::syscall(libc::SYS_fallocate, file.fd(), mode, 0_i64, len) })
}

/// Changes the permission bits of a file.
///
/// # Errors
/// chmod's.
pub fn change_mode(path: &CStr, mode: u32) -> Result<(), Errno> {
    // SAFETY: `path` is NUL-terminated.
    check(unsafe { libc::chmod(path.as_ptr(), mode) }.into())
}

const ACCESS_LIST: &CStr = c"system.posix_acl_access";

/// Takes a file's access control list away, if it has one.
pub fn drop_access_list(path: &CStr) {
    // SAFETY: the strings are NUL-terminated.
    unsafe { libc::lremovexattr(path.as_ptr(), ACCESS_LIST.as_ptr()) };
}

/// Lets two users, the file's own among them, do what `mode` lets its owner do, and two groups what it lets its group do: as a
/// segment's mode speaks of owner and creator alike.
///
/// # Errors
/// lsetxattr's: EPERM for others than the file's owner and root, EOPNOTSUPP where the file system has no such lists.
pub fn set_access_list(path: &CStr, own: (u32, u32), also: (u32, u32), mode: u32) -> Result<(), Errno> {
    const VERSION: u32 = 2;
    const NOBODY: u32 = u32::MAX;
    let [user, group, other] = [mode >> 6 & 7, mode >> 3 & 7, mode & 7];
    // Tag and permission, and whose: acl(5)'s order, as Linux lays it out.
    let entries = [
        (0x01, user, NOBODY),
        (0x02, user, also.0),
        (0x04, group, NOBODY),
        (0x08, group, also.1),
        (0x10, 7, NOBODY),
        (0x20, other, NOBODY),
    ];
    let mut words = [VERSION.to_le(); 13];
    let mut len = 1;
    for (tag, permission, id) in entries {
        // Who is the file's own already needs no entry beside that.
        if !(tag == 0x02 && also.0 == own.0 || tag == 0x08 && also.1 == own.1) {
            words[len..len + 2].copy_from_slice(&[(tag | permission << 16).to_le(), id.to_le()]);
            len += 2;
        }
    }
    // SAFETY: the strings are NUL-terminated, and `words` is readable for so many bytes.
    check(unsafe { libc::lsetxattr(path.as_ptr(), ACCESS_LIST.as_ptr(), words.as_ptr().cast(), len * 4, 0) }.into())
}

/// How many bytes the file system of `path` has left for the caller.
///
/// # Errors
/// statfs's.
pub fn free_bytes(path: &CStr) -> Result<u64, Errno> {
    let about = file_system(path)?;
    // A tmpfs without a limit says 0 of 0.
    if about.f_blocks == 0 {
        return Ok(u64::MAX);
    }
    Ok(about.f_bavail.saturating_mul(about.f_bsize as u64))
}

/// The size of the blocks of `path`'s file system: of a hugetlbfs, that of its pages.
///
/// # Errors
/// statfs's.
pub fn block_size(path: &CStr) -> Result<u64, Errno> {
    file_system(path).map(|about| about.f_bsize as u64)
}

fn file_system(path: &CStr) -> Result<libc::statfs, Errno> {
    let mut about = core::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` is NUL-terminated and `about` has room for the answer.
    check(unsafe { libc::statfs(path.as_ptr(), about.as_mut_ptr()) }.into())?;
    // SAFETY: statfs succeeded and filled it.
    Ok(unsafe { about.assume_init() })
}

/// True if the file's file system is mounted noexec.
pub fn is_noexec(file: &File) -> bool {
    let mut about = core::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `about` has room for the answer, and zeros are one.
    unsafe { libc::fstatvfs(file.fd(), about.as_mut_ptr()) == 0 && about.assume_init().f_flag & libc::ST_NOEXEC != 0 }
}

/// True if the system knows huge pages of this size, a power of two; 0 is the default size.
pub fn has_huge_pages(size_log2: u32) -> bool {
    use core::fmt::Write;
    let mut name = crate::text::Line::<64>::new();
    let kib = if size_log2 == 0 { 2048 } else { (1_u64 << size_log2.min(60)) >> 10 };
    let _ = write!(name, "/sys/kernel/mm/hugepages/hugepages-{kib}kB\0");
    CStr::from_bytes_with_nul(name.as_bytes()).is_ok_and(|path| stat(path, true).is_ok())
}

/// How many bytes the caller may lock into memory: RLIMIT_MEMLOCK.
pub fn memlock_limit() -> u64 {
    limit(libc::RLIMIT_MEMLOCK)
}

fn limit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` has room for the answer.
    unsafe { libc::getrlimit(resource, &mut limit) };
    limit.rlim_cur
}

fn check(result: i64) -> Result<(), Errno> {
    if result == -1 { Err(Errno::last()) } else { Ok(()) }
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
    loop {
        // SAFETY: `bytes` is readable for its length.
        return match unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) } {
            written if written == bytes.len() as i64 => Ok(()),
            written if written >= 0 => Err(Errno::ENOSPC),
            // A handler of the host's came while a pipe was full.
            _ if Errno::last() == Errno::EINTR => continue,
            _ => Err(Errno::last()),
        };
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

/// Copies a value to an address that the host gave, which may be bad.
///
/// # Errors
/// EFAULT.
pub fn write_host<T: Copy>(address: u64, value: &T) -> Result<(), Errno> {
    writable_by(address, size_of::<T>())?;
    // SAFETY: both ends are writable, and `T` is shorter than a page, so that there is no third page between them.
    unsafe { core::ptr::write_unaligned(address as *mut T, *value) };
    Ok(())
}

const LEAST_PAGE: u64 = 4096;

/// The caller's effective user id, if `len` bytes at `address`, at most a page, can be written; the id costs no call more. What the
/// last four bytes held may be lost, and nothing else. errno stays, unless it fails.
///
/// # Errors
/// EFAULT.
#[inline(always)]
pub fn writable_by(address: u64, len: usize) -> Result<u32, Errno> {
    // Most hosts give an address in their own frame, and a page that our frame lies in can be written: no need to ask.
    let frame = 0_u8;
    let is_beside = |at: u64| (at ^ (&raw const frame).addr() as u64) < LEAST_PAGE;
    if is_beside(address) && is_beside(address.wrapping_add(len as u64)) {
        return Ok(geteuid());
    }
    write_uids(address, len)
}

#[inline(never)]
fn write_uids(address: u64, len: usize) -> Result<u32, Errno> {
    let last = address.checked_add(len as u64 - 4).ok_or(Errno::EFAULT)?;
    if address / LEAST_PAGE == last / LEAST_PAGE {
        let mut spare = 0_u32;
        return write_uids_to((&raw mut spare).addr() as u64, last);
    }
    let _errno = HostErrno::save();
    if !is_readable(address) {
        return Err(Errno::EFAULT);
    }
    let first = address as *mut u32;
    // SAFETY: it can be read.
    let kept = unsafe { first.read_unaligned() };
    let uid = write_uids_to(address, last)?;
    // SAFETY: the kernel has just written there.
    unsafe { first.write_unaligned(kept) };
    Ok(uid)
}

/// Of what the kernel writes to a host's memory this is the cheapest, and it has three places.
fn write_uids_to(first: u64, last: u64) -> Result<u32, Errno> {
    let mut uid = 0_u32;
    // SAFETY: a bad address is an EFAULT; the host means these bytes to be written.
    let failed = unsafe { libc::syscall(libc::SYS_getresuid, first, &raw mut uid, last) } != 0;
    if failed { Err(Errno::EFAULT) } else { Ok(uid) }
}

/// True if eight bytes at `address` can be read. rt_sigprocmask copies them in before it finds that -1 is no operation.
pub fn is_readable(address: u64) -> bool {
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

/// The caller's effective user id, anew: the kernel's, whatever another preloaded library makes of geteuid.
#[inline]
pub fn geteuid() -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        let uid: u64;
        // Inline: after a system call the processor may have forgotten where functions return to, and each return costs it some ns.
        // SAFETY: the system call touches no memory.
        unsafe {
            core::arch::asm!(
                "syscall",
                inlateout("rax") libc::SYS_geteuid => uid,
                lateout("rcx") _,
                lateout("r11") _,
                options(nomem, nostack),
            );
        }
        uid as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        // SAFETY: always succeeds.
        unsafe { libc::syscall(libc::SYS_geteuid) as u32 }
    }
}

/// The caller's effective group id, anew, as [`geteuid`].
pub fn getegid() -> u32 {
    // SAFETY: always succeeds.
    unsafe { libc::syscall(libc::SYS_getegid) as u32 }
}

/// True if `gid` is one of the caller's supplementary groups.
pub fn is_in_group(gid: u32) -> bool {
    // As many as a handler's stack can bear.
    let mut few = [0; 256];
    match groups(&mut few) {
        Ok(groups) => groups.contains(&gid),
        Err(_) => is_in_many_groups(gid),
    }
}

#[cold]
fn is_in_many_groups(gid: u32) -> bool {
    /// NGROUPS_MAX of Linux.
    const MOST: usize = 65536;
    let (len, protection) = (MOST * size_of::<u32>(), libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: new memory, wherever the kernel puts it.
    let Ok(at) = (unsafe { mmap(0, len, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) }) else { return false };
    // SAFETY: it is zeroed, this long, and only ours until it is unmapped.
    let is_one =
        groups(unsafe { core::slice::from_raw_parts_mut(at as *mut u32, MOST) }).is_ok_and(|groups| groups.contains(&gid));
    // SAFETY: nobody else knows of it.
    let _ = unsafe { munmap(at, len) };
    is_one
}

/// The caller's supplementary groups; EINVAL if `room` is too small for them.
fn groups(room: &mut [u32]) -> Result<&[u32], Errno> {
    // SAFETY: `room` has room for as many as are asked for.
    let count = unsafe { libc::getgroups(room.len() as i32, room.as_mut_ptr()) };
    usize::try_from(count).map(|count| &room[..count]).map_err(|_| Errno::last())
}

/// True if the caller has the capability with this number in its effective set.
pub fn is_capable(capability: u32) -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    // Effective, permitted, inheritable, twice.
    let mut sets = [0_u32; 6];
    // SAFETY: version 3 fills two structures of three words.
    let failed = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) } != 0;
    !failed && sets[capability as usize / 32 * 3] >> (capability % 32) & 1 != 0
}

/// Sleeps, unless a signal comes.
pub fn sleep_us(us: u32) {
    #[cfg(test)]
    if crate::model::let_others() {
        return;
    }
    let time = libc::timespec { tv_sec: 0, tv_nsec: libc::c_long::from(us) * 1000 };
    // SAFETY: `time` outlives the call. The system call itself: libc's function is a cancellation point.
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, core::ptr::null_mut::<libc::timespec>()) };
}

/// The size of a page in bytes.
pub fn page_size() -> u64 {
    // SAFETY: always succeeds.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// True if there is a process with this id in the caller's PID namespace, dead and not waited for yet or not.
pub fn has_process(pid: u32) -> bool {
    // SAFETY: takes no pointer. kill(pid, 0) would do too, but some security modules report it.
    unsafe { libc::getpgid(pid as libc::pid_t) >= 0 || Errno::last() != Errno(libc::ESRCH) }
}

/// Gives the processor away.
pub fn yield_now() {
    #[cfg(test)]
    if crate::model::let_others() {
        return;
    }
    // SAFETY: always succeeds.
    unsafe { libc::sched_yield() };
}

/// membarrier(2)'s commands.
const MEMBARRIER_QUERY: i32 = 0;
const MEMBARRIER_GLOBAL: i32 = 1;
const MEMBARRIER_PRIVATE_EXPEDITED: i32 = 1 << 3;
const MEMBARRIER_REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;

fn membarrier(command: i32) -> i64 {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}

/// True if the calling process can have [`Fences::Mine`], until its next exec, and [`Fences::All`].
pub fn prepare_fences() -> bool {
    can_fence() && membarrier(MEMBARRIER_REGISTER_PRIVATE_EXPEDITED) == 0
}

/// True if [`Fences::All`] can be had here: not before Linux 4.14, nor in some sandboxes.
pub fn can_fence() -> bool {
    membarrier(MEMBARRIER_QUERY) & i64::from(MEMBARRIER_GLOBAL) == i64::from(MEMBARRIER_GLOBAL)
}

/// Whose memory accesses [`fence`] orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fences {
    /// The calling process's threads': takes 1 us.
    Mine,
    /// Every process's: takes some 10 ms. (The kernel's faster way, MEMBARRIER_CMD_GLOBAL_EXPEDITED, missed threads on processors
    /// that were idle when they registered: 1 run in 7 of the test in `ledger::attach`.)
    All,
}

/// Orders the memory accesses of other threads, as if each executed a fence now: all that they did before is seen afterwards,
/// and what they do afterwards sees all that the caller did before.
pub fn fence(whose: Fences) {
    #[cfg(test)]
    if crate::model::fence_all() {
        return;
    }
    membarrier(match whose {
        Fences::Mine => MEMBARRIER_PRIVATE_EXPEDITED,
        Fences::All => MEMBARRIER_GLOBAL,
    });
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
            while let Ok(piece @ [_, ..]) = file.read(&mut buffer, bytes.len() as u64) {
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
