//! The hooks of open and fopen: on the userspace backend, /proc/sysvipc/shm and /proc/sys/kernel/shm* are the namespace's.
//!
//! | hooked | why |
//! | --- | --- |
//! | open, openat | shells, sysctl, cat, and programs that read the limits |
//! | open64, openat64 | the same under the names that programs compiled for large files use: Python, Perl, Rust |
//! | __open_2, __openat_2, __open64_2, __openat64_2 | the same under the names that glibc's headers use in fortified programs: ipcs and lsipc read the limits so |
//! | fopen, fopen64 | stdio opens inside of libc, past open: ipcs and lsipc list segments so, C++ streams too |
//!
//! Where the userspace backend can't come to serve, and before there is a gate, a hook jumps straight on. Else it calls the next function first,
//! whatever the path is, so that a bad address is its EFAULT, and what it does to errno, to signals and to a pending cancellation is as ever; then
//! it looks at the path, and for one of these files puts ours in the place of the descriptor: without a lock or an allocation, but for
//! what the call that turns to the userspace backend allocates anyway.
//!
//! open is variadic in C: it has its third argument only with O_CREAT or O_TMPFILE. Rust can't define such a function; but in the calling conventions of
//! x86-64 and aarch64 Linux a variadic int argument travels as a named one does, and what a caller did not pass is a register with any value, which we
//! hand on unlooked at. The next function is called as variadic.
//!
//! Not hooked: freopen, creat, access and stat (they see the kernel's files, if it has them), and raw system calls.

use core::ffi::{CStr, c_char, c_int};
use core::mem::transmute;
use core::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{FILE, mode_t};
use once_cell::race::OnceNonZeroUsize;
use shmgate_core::backend::userspace::proc;
use shmgate_core::errno::{self, Errno, HostErrno};
use shmgate_core::gate::Gate;
use shmgate_core::sys::File;

use crate::next;
use crate::process::{gate, made_gate};

/// The next functions, in the order of [`NAMES`].
static NEXT: [OnceNonZeroUsize; 10] = [const { OnceNonZeroUsize::new() }; 10];
const NAMES: [&CStr; 10] = [
    c"open",
    c"openat",
    c"__open_2",
    c"__openat_2",
    c"fopen",
    c"open64",
    c"openat64",
    c"__open64_2",
    c"__openat64_2",
    c"fopen64",
];

type Open = unsafe extern "C" fn(*const c_char, c_int, ...) -> c_int;
type OpenAt = unsafe extern "C" fn(c_int, *const c_char, c_int, ...) -> c_int;
type Open2 = unsafe extern "C" fn(*const c_char, c_int) -> c_int;
type OpenAt2 = unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int;
type Fopen = unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE;

macro_rules! hook {
    ($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $returns:ty, $next:ty, $index:expr, $finish:ident($($rest:expr),*)) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As for libc's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $returns {
            let next = NEXT[$index].get().map_or_else(|| find($index), NonZeroUsize::get);
            // SAFETY: the dynamic linker's function of this name has this type, and so has what takes its place.
            let next = unsafe { transmute::<usize, $next>(next) };
            if !is_on() {
                // SAFETY: the host's own call.
                return unsafe { next($($arg),*) };
            }
            let errno = errno::get();
            // There is no cleanup in this frame: a thread that is cancelled in there is unwound through it.
            // SAFETY: the host's own call.
            let opened = unsafe { next($($arg),*) };
            // SAFETY: the host's own arguments, of a call that has returned.
            unsafe { $finish(opened, errno, $($rest),*) }
        }
    };
}

macro_rules! hooks {
    ($from:literal: $open:ident, $openat:ident, $open_2:ident, $openat_2:ident, $fopen:ident) => {
        hook!(
            /// open(2).
            $open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int, Open, $from, finish(libc::AT_FDCWD, path, flags)
        );
        hook!(
            /// openat(2).
            $openat(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int, OpenAt, $from + 1,
            finish(dirfd, path, flags)
        );
        hook!(
            /// open(2) without a mode.
            $open_2(path: *const c_char, flags: c_int) -> c_int, Open2, $from + 2, finish(libc::AT_FDCWD, path, flags)
        );
        hook!(
            /// openat(2) without a mode.
            $openat_2(dirfd: c_int, path: *const c_char, flags: c_int) -> c_int, OpenAt2, $from + 3, finish(dirfd, path, flags)
        );
        hook!(
            /// fopen(3).
            $fopen(path: *const c_char, mode: *const c_char) -> *mut FILE, Fopen, $from + 4, finish_stream(path, mode)
        );
    };
}

hooks!(0: open, openat, __open_2, __openat_2, fopen);
hooks!(5: open64, openat64, __open64_2, __openat64_2, fopen64);

/// Finds all of them, so that nobody has to later.
pub fn find_all() {
    for index in 0..NAMES.len() {
        find(index);
    }
}

#[cold]
#[inline(never)]
extern "C" fn find(index: usize) -> usize {
    let _errno = HostErrno::save();
    let instead = match index % 5 {
        0 | 2 => system_open as *const (),
        1 | 3 => system_openat as *const (),
        _ => no_fopen as *const (),
    };
    next::find(&NEXT[index], NAMES[index], instead as usize)
}

/// A program that has passed no mode needs none.
unsafe extern "C" fn system_open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the host's own call.
    unsafe { system_openat(libc::AT_FDCWD, path, flags, mode) }
}

unsafe extern "C" fn system_openat(dirfd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the host's own call.
    unsafe { libc::syscall(libc::SYS_openat, dirfd, path, flags, mode) as c_int }
}

unsafe extern "C" fn no_fopen(_: *const c_char, _: *const c_char) -> *mut FILE {
    errno::set(libc::ENOSYS);
    core::ptr::null_mut()
}

/// False if the kernel's own files are the right ones, whatever comes.
#[inline(always)]
fn is_on() -> bool {
    made_gate().is_some_and(Gate::minds_proc)
}

/// True if a host that opened `path`, or failed to, may have to get another file. `path` is read only if the kernel could.
#[inline(always)]
unsafe fn may_be_ours(opened: bool, path: *const c_char) -> bool {
    if !opened && !matches!(Errno::last(), Errno::ENOENT | Errno::EACCES | Errno::EPERM | Errno::EROFS) {
        return false;
    }
    let path = path.cast::<u8>();
    // SAFETY: a NUL-terminated string, as the kernel has found; a byte is read only behind others that are not NUL.
    let byte = |at| unsafe { *path.add(at) };
    match byte(0) {
        b'/' => b"/proc/sys".iter().enumerate().skip(1).all(|(at, &expected)| byte(at) == expected),
        first => matches!(first, b's' | b'k'),
    }
}

/// What the host gets that has opened `path` as `fd`, and had `errno` before.
#[inline(never)]
unsafe extern "C" fn finish(fd: c_int, errno: c_int, dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: by the hook's promise.
    if !unsafe { may_be_ours(fd >= 0, path) } {
        return fd;
    }
    // SAFETY: as above.
    let ours = unsafe { replaced(fd, dirfd, path, flags) };
    if ours == NOT_OURS {
        return fd;
    }
    if ours < 0 && fd >= 0 {
        drop(File::from_fd(fd));
    }
    errno::set(if ours < 0 { -ours } else { errno });
    ours.max(-1)
}

/// The same for a stream.
#[inline(never)]
unsafe extern "C" fn finish_stream(mut stream: *mut FILE, errno: c_int, path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: by the hook's promise.
    if !unsafe { may_be_ours(!stream.is_null(), path) } {
        return stream;
    }
    // SAFETY: libc has read the mode.
    let flags = proc::flags_of_stream(unsafe { CStr::from_ptr(mode) }.to_bytes());
    // SAFETY: the stream is open, and has read nothing yet.
    let fd = if stream.is_null() { -1 } else { unsafe { libc::fileno(stream) } };
    // SAFETY: by the hook's promise.
    let ours = unsafe { replaced(fd, libc::AT_FDCWD, path, flags) };
    if ours == NOT_OURS {
        return stream;
    }
    if ours < 0 && !stream.is_null() {
        // SAFETY: the host never gets to see the stream.
        unsafe { libc::fclose(stream) };
        stream = core::ptr::null_mut();
    } else if ours >= 0 && stream.is_null() {
        // SAFETY: a descriptor that is ours to give, and the host's mode. It fails for want of memory, and the descriptor is lost with it.
        stream = unsafe { libc::fdopen(ours, mode) };
    }
    errno::set(match ours {
        ..0 => -ours,
        _ if stream.is_null() => libc::ENOMEM,
        _ => errno,
    });
    stream
}

/// Not the path of any of our files.
const NOT_OURS: c_int = c_int::MIN;

/// Opens what the namespace has in the place of `path`: under the number `fd`, if that is one. Returns the descriptor, or a negative
/// errno and leaves `fd` open, or [`NOT_OURS`] and leaves errno as it was.
#[cold]
#[inline(never)]
unsafe extern "C" fn replaced(fd: c_int, dirfd: c_int, path: *const c_char, flags: c_int) -> c_int {
    let _errno = HostErrno::save();
    // SAFETY: by the hook's promise.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let opened = catch_unwind(AssertUnwindSafe(|| gate().open_proc(fd, dirfd, path, flags)));
    match opened.unwrap_or(Some(Err(Errno::EIO))) {
        None => NOT_OURS,
        Some(Ok(ours)) => ours,
        Some(Err(code)) => -code.0,
    }
}
