//! The next functions of the hooked names in the host's search order: libc's, or another preloaded library's.
//!
//! Found on first use, which may be before our constructor: lazily, and without a lock. A missing one never ends the host: the
//! system call itself takes its place.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::transmute;
use core::num::NonZeroUsize;

use libc::{key_t, off_t, pid_t, sighandler_t, size_t, uid_t};
use once_cell::race::OnceNonZeroUsize;
use shmgate_core::backend::kernel::Functions;
use shmgate_core::backend::userspace::truncated::Sigaction;

/// The address of the next function called `name`, or else `fallback`.
pub fn find(place: &OnceNonZeroUsize, name: &CStr, fallback: usize) -> usize {
    let find = || {
        // SAFETY: `name` is NUL-terminated; RTLD_NEXT searches behind this library.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) } as usize;
        NonZeroUsize::new(found).or(NonZeroUsize::new(fallback)).unwrap_or(NonZeroUsize::MAX)
    };
    place.get_or_init(find).get()
}

macro_rules! next {
    ($(#[$doc:meta])* $name:ident: $type:ty, $fallback:expr) => {
        $(#[$doc])*
        #[inline]
        #[allow(non_snake_case, reason = "the name in C")]
        pub fn $name() -> $type {
            static PLACE: OnceNonZeroUsize = OnceNonZeroUsize::new();
            const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            };
            let fallback: $type = $fallback;
            // SAFETY: the dynamic linker's function of this name has this type, as the libc crate declares it; so has the fallback.
            unsafe { transmute::<usize, $type>(find(&PLACE, NAME, fallback as usize)) }
        }
    };
}

next!(shmget: unsafe extern "C" fn(key_t, size_t, c_int) -> c_int, Functions::SYSTEM_CALLS.shmget);
next!(shmat: unsafe extern "C" fn(c_int, *const c_void, c_int) -> *mut c_void, Functions::SYSTEM_CALLS.shmat);
next!(shmdt: unsafe extern "C" fn(*const c_void) -> c_int, Functions::SYSTEM_CALLS.shmdt);
next!(shmctl: unsafe extern "C" fn(c_int, c_int, *mut libc::shmid_ds) -> c_int, Functions::SYSTEM_CALLS.shmctl);
next!(ftok: unsafe extern "C" fn(*const c_char, c_int) -> key_t, no_ftok);
next!(_Fork: unsafe extern "C" fn() -> pid_t, fork_by_clone);
next!(clone: Clone, no_clone);
next!(setuid: unsafe extern "C" fn(uid_t) -> c_int, no_setuid);
next!(seteuid: unsafe extern "C" fn(uid_t) -> c_int, no_seteuid);
next!(setreuid: unsafe extern "C" fn(uid_t, uid_t) -> c_int, no_setreuid);
next!(setresuid: unsafe extern "C" fn(uid_t, uid_t, uid_t) -> c_int, no_setresuid);
next!(sigaction: Sigaction, no_sigaction);
next!(signal: unsafe extern "C" fn(c_int, sighandler_t) -> sighandler_t, no_signal);
next!(__sysv_signal: unsafe extern "C" fn(c_int, sighandler_t) -> sighandler_t, no_signal);

/// As `next!`, but looking for nothing: an allocator of the host's may map memory while the dynamic linker looks for a name, or
/// before there is a dynamic linker to ask. Until [`find_all`] has found the function, the system call takes its place.
macro_rules! found {
    ($name:ident: $type:ty, $fallback:expr) => {
        #[allow(non_camel_case_types, reason = "the name in C")]
        pub struct $name;

        impl $name {
            const PLACE: &OnceNonZeroUsize = {
                static PLACE: OnceNonZeroUsize = OnceNonZeroUsize::new();
                &PLACE
            };

            fn find() {
                const NAME: &CStr = match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                };
                let fallback: $type = $fallback;
                find($name::PLACE, NAME, fallback as usize);
            }

            #[inline(always)]
            pub fn get() -> $type {
                match $name::PLACE.get() {
                    // SAFETY: as in `next!`.
                    Some(found) => unsafe { transmute::<usize, $type>(found.get()) },
                    None => $fallback,
                }
            }
        }
    };
}

found!(mmap: unsafe extern "C" fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void, mmap_by_call);
found!(munmap: unsafe extern "C" fn(*mut c_void, size_t) -> c_int, munmap_by_call);
found!(mremap: unsafe extern "C" fn(*mut c_void, size_t, size_t, c_int, *mut c_void) -> *mut c_void, mremap_by_call);

unsafe extern "C" fn mmap_by_call(
    addr: *mut c_void,
    length: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the host's own call. -1, which is MAP_FAILED, comes with errno set.
    unsafe { libc::syscall(libc::SYS_mmap, addr, length, prot, flags, fd, offset) as *mut c_void }
}

unsafe extern "C" fn munmap_by_call(addr: *mut c_void, length: size_t) -> c_int {
    // SAFETY: the host's own call.
    unsafe { libc::syscall(libc::SYS_munmap, addr, length) as c_int }
}

unsafe extern "C" fn mremap_by_call(
    old: *mut c_void,
    old_size: size_t,
    new_size: size_t,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    // SAFETY: the host's own call.
    unsafe { libc::syscall(libc::SYS_mremap, old, old_size, new_size, flags, new) as *mut c_void }
}

type Clone = unsafe extern "C" fn(
    extern "C" fn(*mut c_void) -> c_int,
    *mut c_void,
    c_int,
    *mut c_void,
    *mut c_void,
    *mut c_void,
    *mut c_void,
) -> c_int;

unsafe extern "C" fn no_clone(
    _: extern "C" fn(*mut c_void) -> c_int,
    _: *mut c_void,
    _: c_int,
    _: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
) -> c_int {
    not_implemented()
}

/// All that the kernel backend calls.
pub fn functions() -> Functions {
    Functions { shmget: shmget(), shmat: shmat(), shmdt: shmdt(), shmctl: shmctl() }
}

/// Finds all of them, so that nobody has to later.
pub fn find_all() {
    let _ = (functions(), ftok(), _Fork(), clone(), setuid(), seteuid(), setreuid(), setresuid());
    let _ = (sigaction(), signal(), __sysv_signal());
    mmap::find();
    munmap::find();
    mremap::find();
}

fn not_implemented() -> c_int {
    shmgate_core::errno::set(libc::ENOSYS);
    -1
}

/// Before glibc 2.34 there is no `_Fork`; a host that asks for it by name has it from us.
unsafe extern "C" fn fork_by_clone() -> pid_t {
    // SAFETY: without CLONE_VM it is a fork that runs no handlers.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as pid_t }
}

unsafe extern "C" fn no_ftok(_: *const c_char, _: c_int) -> key_t {
    not_implemented()
}

unsafe extern "C" fn no_setuid(_: uid_t) -> c_int {
    not_implemented()
}

unsafe extern "C" fn no_seteuid(_: uid_t) -> c_int {
    not_implemented()
}

unsafe extern "C" fn no_setreuid(_: uid_t, _: uid_t) -> c_int {
    not_implemented()
}

unsafe extern "C" fn no_setresuid(_: uid_t, _: uid_t, _: uid_t) -> c_int {
    not_implemented()
}

unsafe extern "C" fn no_sigaction(_: c_int, _: *const libc::sigaction, _: *mut libc::sigaction) -> c_int {
    not_implemented()
}

unsafe extern "C" fn no_signal(_: c_int, _: sighandler_t) -> sighandler_t {
    not_implemented();
    libc::SIG_ERR
}
