//! The system calls that neither std nor the engine has, as safe functions.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use shmgate_core::backend::{Backend, Served};
use shmgate_core::errno::Errno;

fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

/// The user and group ids of this process.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
    pub euid: u32,
    pub egid: u32,
}

/// The caller's ids.
pub fn ids() -> Ids {
    // SAFETY: these always succeed.
    unsafe { Ids { uid: libc::getuid(), gid: libc::getgid(), euid: libc::geteuid(), egid: libc::getegid() } }
}

/// The name of a user, if it has one.
pub fn user_name(uid: u32) -> Option<String> {
    // SAFETY: the command has one thread; the entry stays until the next look-up, and its name is NUL-terminated.
    unsafe { libc::getpwuid(uid).as_ref() }.map(|entry| unsafe { CStr::from_ptr(entry.pw_name) }.to_string_lossy().into_owned())
}

/// The name of a group, if it has one.
pub fn group_name(gid: u32) -> Option<String> {
    // SAFETY: as above.
    unsafe { libc::getgrgid(gid).as_ref() }.map(|entry| unsafe { CStr::from_ptr(entry.gr_name) }.to_string_lossy().into_owned())
}

/// The user with this name.
pub fn user_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: as above, and the name is NUL-terminated.
    unsafe { libc::getpwnam(name.as_ptr()).as_ref() }.map(|entry| entry.pw_uid)
}

/// True if there is a process with this pid, be it dead and not waited for.
pub fn has_process(pid: u32) -> bool {
    // SAFETY: signal 0 is none.
    let failed = unsafe { libc::kill(pid.cast_signed(), 0) } != 0;
    !failed || Errno::last() == Errno::EPERM
}

/// How long ago the machine was started, as the times of processes count it.
pub fn since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a wait for input came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    There,
    /// Not within the time, or a signal came.
    Nothing,
    /// There will be none: the terminal is gone.
    Ended,
}

/// Waits for standard input, which is a terminal, at most for `time`.
pub fn wait_for_input(time: Duration) -> Input {
    let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    let milliseconds = i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd.
    match unsafe { libc::poll(&mut input, 1, milliseconds) } {
        1.. if input.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 => Input::Ended,
        1.. => Input::There,
        _ => Input::Nothing,
    }
}

/// The ticks of the times in /proc, in a second.
pub fn ticks_per_second() -> u64 {
    // SAFETY: it takes no pointer.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1)
}

/// Does something while a page of shared memory is mapped at the address that it is given; `None` if there is no memory for it.
pub fn with_shared_page<T>(act: impl FnOnce(u64) -> T) -> Option<T> {
    let (len, flags) = (shmgate_core::sys::page_size() as usize, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    let done = act(page.addr() as u64);
    // SAFETY: it was mapped above, and nobody else has its address.
    unsafe { libc::munmap(page, len) };
    Some(done)
}

/// True if the caller may execute `path`.
pub fn may_execute(path: &Path) -> bool {
    // SAFETY: the path is NUL-terminated.
    c_path(path)
        .is_some_and(|path| unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) == 0 })
}

/// True if executing `path` can give rights at all: neither its mount nor this process forbids that.
pub fn gives_rights(path: &Path) -> bool {
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    let Some(path) = c_path(path) else { return true };
    // SAFETY: the path is NUL-terminated and `stat` has room for the answer; this prctl takes no pointer.
    let (failed, no_new_rights) =
        unsafe { (libc::statvfs(path.as_ptr(), stat.as_mut_ptr()), libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)) };
    // SAFETY: statvfs is plain data, zeroed or filled.
    let nosuid = failed == 0 && unsafe { stat.assume_init() }.f_flag & libc::ST_NOSUID != 0;
    !nosuid && no_new_rights != 1
}

/// True if the file has capabilities to give.
pub fn has_capabilities(path: &Path) -> bool {
    let name = c"security.capability";
    // SAFETY: both strings are NUL-terminated; with length 0 only the size is asked for.
    c_path(path).is_some_and(|path| unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) > 0 })
}

/// Lets the command start in a session of its own, with no signal blocked and none of the descriptors that we were started with: neither our
/// terminal nor our group reaches it, and nobody waits for it at the other end of a pipe.
pub fn detach(command: &mut Command) {
    let leave = || {
        // SAFETY: these are async-signal-safe, and the set lives on this stack.
        unsafe {
            libc::setsid();
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
            let mut none = MaybeUninit::zeroed();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
        }
        Ok(())
    };
    // SAFETY: `leave` makes system calls only.
    unsafe { command.pre_exec(leave) };
}

/// What a segment's shmid_ds says of interest here.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub nattch: u64,
    /// Gone with its last attach.
    pub is_removed: bool,
}

/// Looks at a segment; `None` if the caller may not, or if it is gone.
pub fn segment(served: &Served, shmid: i32) -> Option<Segment> {
    /// `SHM_DEST`, which the libc crate has not.
    const REMOVED: u32 = 0o1000;
    let stat = stat(served, shmid).ok()?;
    Some(Segment { nattch: stat.shm_nattch, is_removed: u32::from(stat.shm_perm.mode) & REMOVED != 0 })
}

/// What IPC_STAT says of a segment.
///
/// # Errors
/// Its own: EACCES, EINVAL, EIDRM.
pub fn stat(served: &Served, shmid: i32) -> Result<libc::shmid_ds, Errno> {
    let mut stat = MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: `stat` has room for the answer.
    unsafe { served.shmctl(shmid, libc::IPC_STAT, stat.as_mut_ptr().expose_provenance() as u64) }?;
    // SAFETY: shmid_ds is plain data, and filled.
    Ok(unsafe { stat.assume_init() })
}

/// IPC_RMID.
///
/// # Errors
/// Its own: EPERM, EINVAL, EIDRM.
pub fn remove(served: &Served, shmid: i32) -> Result<(), Errno> {
    // SAFETY: it takes no buffer.
    unsafe { served.shmctl(shmid, libc::IPC_RMID, 0) }.map(drop)
}
