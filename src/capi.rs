//! The C API: what a program that links -lshmgate can ask. include/shmgate.h is made from this file; AIX's flags for shmget come from
//! cbindgen.toml, where they have their guards.
//!
//! Every function may be called from any thread, at any time. None changes errno unless it fails.

use core::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use shmgate_core::config::log_target;
use shmgate_core::errno::{Errno, HostErrno};
use shmgate_core::gate::Counters;
use shmgate_core::ledger;
use shmgate_core::text::reason::ReasonText;

use crate::process::{gate, quiet_panics};

/// Counters of the calling process.
pub const SHMGATE_PROCESS: c_int = 0;
/// Counters of all processes of the session.
pub const SHMGATE_SESSION: c_int = 1;

/// What a process or a session did and has in use.
///
/// Bytes, segments and attaches are kept only where there are quotas or a session; otherwise they are 0. Bytes are those of the
/// segments created, rounded up to pages, until the segments are destroyed.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct shmgate_counters {
    /// Calls of shmget, shmat, shmdt, shmctl and ftok.
    pub calls: u64,
    /// Calls that were refused by a quota or rule.
    pub denials: u64,
    /// Bytes of the segments created.
    pub bytes: u64,
    /// Segments created.
    pub segments: u64,
    /// Segments attached.
    pub attaches: u64,
}

/// Runs `work`; a panic in it becomes `otherwise`.
fn guarded<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    let work = || {
        #[cfg(feature = "test-panic")]
        crate::process::panic_for_a_test(c"capi");
        work()
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(otherwise)
}

/// The version of the library, such as "0.1.0".
///
/// # Returns
/// A string that is valid for as long as the library is loaded. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shmgate_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Which backend serves the calls: "kernel" or "userspace".
///
/// # Returns
/// A string that is valid for as long as the library is loaded. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shmgate_backend() -> *const c_char {
    let _errno = HostErrno::save();
    guarded(c"kernel".as_ptr(), || match gate().backend_name() {
        "userspace" => c"userspace".as_ptr(),
        _ => c"kernel".as_ptr(),
    })
}

/// Fills `out` with counters of the calling process (SHMGATE_PROCESS) or of its session (SHMGATE_SESSION).
///
/// # Returns
/// 0, or -1 with errno set.
///
/// # Errors
/// EINVAL: `scope` is neither. EFAULT: `out` is NULL. ENOENT: the process belongs to no session.
///
/// # Safety
/// `out` is NULL or points to a struct shmgate_counters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmgate_counters(scope: c_int, out: *mut shmgate_counters) -> c_int {
    let mut errno = HostErrno::save();
    let counters = guarded(Err(Errno::EIO), || match scope {
        _ if !(SHMGATE_PROCESS..=SHMGATE_SESSION).contains(&scope) => Err(Errno::EINVAL),
        _ if out.is_null() => Err(Errno::EFAULT),
        SHMGATE_PROCESS => Ok(gate().process_counters()),
        _ => gate().session_counters().ok_or(Errno::ENOENT),
    });
    match counters {
        Ok(Counters { calls, denials, in_use: ledger::Counters { bytes, segments, attaches } }) => {
            // SAFETY: not NULL, and the C caller guarantees that it points to such a struct.
            unsafe { out.write(shmgate_counters { calls, denials, bytes, segments, attaches }) };
            0
        }
        Err(code) => {
            errno.fail(code);
            -1
        }
    }
}

/// Writes the reason of the calling thread's last denial into `buf`, as a NUL-terminated string, cut off to `len` bytes if it is
/// longer. Nothing is written if `buf` is NULL or `len` is 0.
///
/// # Returns
/// The length of the whole reason without the NUL, as snprintf does; 0 if nothing was denied to this thread yet.
///
/// # Safety
/// `buf` is NULL or points to `len` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmgate_last_denial(buf: *mut c_char, len: usize) -> usize {
    let _errno = HostErrno::save();
    let reason = guarded(String::new(), || {
        gate().last_denial().map(|(denial, rule)| ReasonText { denial, rule }.to_string()).unwrap_or_default()
    });
    if !buf.is_null() && len > 0 {
        let fits = reason.len().min(len - 1);
        // SAFETY: not NULL, and the C caller guarantees `len` writable bytes, of which `fits` + 1 are written.
        unsafe {
            core::ptr::copy_nonoverlapping(reason.as_ptr(), buf.cast(), fits);
            buf.add(fits).write(0);
        }
    }
    reason.len()
}

/// Sends the log to `target` from now on: "stderr" or "-", a file's path, or NULL or "off" for nowhere.
///
/// The path's string is copied. A few bytes stay allocated for each change, since another thread may be writing meanwhile.
///
/// # Returns
/// 0, or -1 with errno set.
///
/// # Errors
/// EINVAL: `target` is empty. ENAMETOOLONG: it is longer than a path can be.
///
/// # Safety
/// `target` is NULL or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmgate_log(target: *const c_char) -> c_int {
    let mut errno = HostErrno::save();
    // SAFETY: not NULL, and the C caller guarantees a NUL-terminated string.
    let target = (!target.is_null()).then(|| unsafe { CStr::from_ptr(target) });
    let changed = guarded(Err(Errno::EIO), || match target.map(CStr::to_bytes) {
        Some(b"") => Err(Errno::EINVAL),
        Some(path) if path.len() >= libc::PATH_MAX as usize => Err(Errno::ENAMETOOLONG),
        _ => {
            quiet_panics();
            gate().set_log(target.and_then(|target| log_target(target.to_owned())));
            Ok(())
        }
    });
    match changed {
        Ok(()) => 0,
        Err(code) => {
            errno.fail(code);
            -1
        }
    }
}
