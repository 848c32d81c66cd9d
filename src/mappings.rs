//! The hooks of mmap, mmap64, munmap and mremap: on the userspace backend an attach is a mapping like any other, of which the host may
//! unmap, replace or move a part without shmdt. Nothing is recorded or refused here.
//!
//! With nothing attached in user space a hook calls the next function and returns, and that is all. It makes no gate and looks for no
//! function: allocators call these before anything of ours is there, and in places where nothing may be asked of them.
//!
//! mremap's last argument is variadic in C; on x86-64 and aarch64 such an argument is passed as a named one is.

use core::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::{off_t, size_t};
use shmgate_core::backend::userspace::{Change, Move, Userspace};
use shmgate_core::errno;

use crate::next;
use crate::process::attached;

/// MAP_FAILED, and -1.
const FAILED: usize = usize::MAX;

redhook::hook! {
    unsafe fn mmap(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void => followed_mmap {
        if flags & libc::MAP_FIXED != 0 && let Some(userspace) = attached() {
            // SAFETY: the host's own call.
            return unsafe { replacing_mmap(userspace, addr, len, prot, flags, fd, offset) };
        }
        // SAFETY: the host's own call.
        unsafe { next::mmap::get()(addr, len, prot, flags, fd, offset) }
    }
}

redhook::hook! {
    unsafe fn mmap64(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void => followed_mmap64 {
        // SAFETY: the host's own call; off_t has 64 bits.
        unsafe { followed_mmap(addr, len, prot, flags, fd, offset) }
    }
}

redhook::hook! {
    unsafe fn munmap(addr: *mut c_void, len: size_t) -> c_int => followed_munmap {
        if let Some(userspace) = attached() {
            // SAFETY: the host's own call.
            return unsafe { unmapping_munmap(userspace, addr, len) };
        }
        // SAFETY: the host's own call.
        unsafe { next::munmap::get()(addr, len) }
    }
}

redhook::hook! {
    unsafe fn mremap(old: *mut c_void, old_len: size_t, new_len: size_t, flags: c_int, new: *mut c_void) -> *mut c_void => followed_mremap {
        if let Some(userspace) = attached() {
            // SAFETY: the host's own call.
            return unsafe { moving_mremap(userspace, old, old_len, new_len, flags, new) };
        }
        // SAFETY: the host's own call.
        unsafe { next::mremap::get()(old, old_len, new_len, flags, new) }
    }
}

#[inline(never)]
unsafe extern "C" fn replacing_mmap(
    userspace: &Userspace,
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the host's own call.
    let call = || unsafe { next::mmap::get()(addr, len, prot, flags, fd, offset) } as usize;
    followed(&call, &mut |change| userspace.unmapping(addr as u64, len as u64, change)) as *mut c_void
}

#[inline(never)]
unsafe extern "C" fn unmapping_munmap(userspace: &Userspace, addr: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the host's own call.
    let call = || unsafe { next::munmap::get()(addr, len) } as usize;
    followed(&call, &mut |change| userspace.unmapping(addr as u64, len as u64, change)) as c_int
}

#[inline(never)]
unsafe extern "C" fn moving_mremap(
    userspace: &Userspace,
    old: *mut c_void,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    // SAFETY: the host's own call.
    let call = || unsafe { next::mremap::get()(old, old_len, new_len, flags, new) } as usize;
    let what = Move { old: old as u64, old_len: old_len as u64, new_len: new_len as u64, flags, new: new as u64 };
    followed(&call, &mut |change| userspace.moving(what, change)) as *mut c_void
}

/// Makes the host's `call`, from within `follow`; returns its result, and errno is as it left it. A panic of ours neither prevents the
/// call nor repeats it.
fn followed(call: &dyn Fn() -> usize, follow: &mut dyn FnMut(Change<'_>)) -> usize {
    let mut made = None;
    let mut make = || {
        let result = call();
        made = Some((result, errno::get()));
        (result != FAILED).then_some(result as u64)
    };
    let _ = catch_unwind(AssertUnwindSafe(|| follow(&mut make)));
    let Some((result, code)) = made else { return call() };
    errno::set(code);
    result
}

/// The signatures are libc's: each list holds only if both functions have one type.
const _: () = {
    type Mmap = unsafe extern "C" fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void;
    let _: [Mmap; 3] = [libc::mmap, mmap::mmap, mmap64::mmap64];
    let _: [unsafe extern "C" fn(*mut c_void, size_t) -> c_int; 2] = [libc::munmap, munmap::munmap];
};
