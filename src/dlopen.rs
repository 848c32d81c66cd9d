//! The hook of dlopen: it takes RTLD_DEEPBIND out of the flags, so that the library binds to our functions and not to libc's.
//!
//! dlopen searches by its caller (its RUNPATH, its namespace), and knows the caller by the return address. A hook that called
//! the next dlopen would be that caller; so this one only changes the flags and jumps on. That is why it is written in
//! assembly, and not by redhook. Where nothing is set, or with SHMGATE_DEEPBIND=keep, the flags stay as they are.

use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use once_cell::race::OnceNonZeroUsize;
use shmgate_core::errno::HostErrno;

use crate::next;
use crate::process::gate;

/// The next dlopen, 0 until it is looked for.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// The flags that stay.
static KEPT: AtomicI32 = AtomicI32::new(!0);

/// Settles what the hook does.
pub fn prepare(drops_deepbind: bool) {
    static PLACE: OnceNonZeroUsize = OnceNonZeroUsize::new();
    KEPT.store(if drops_deepbind { !libc::RTLD_DEEPBIND } else { !0 }, Ordering::Relaxed);
    NEXT.store(next::find(&PLACE, c"dlopen", no_dlopen as *const () as usize), Ordering::Release);
}

unsafe extern "C" fn no_dlopen(_: *const c_char, _: c_int) -> *mut c_void {
    core::ptr::null_mut()
}

/// A dlopen before our constructor has run.
extern "C" fn prepare_late() {
    let _errno = HostErrno::save();
    prepare(gate().drops_deepbind());
}

/// dlopen(3).
///
/// # Safety
/// As for libc's.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void {
    core::arch::naked_asm!(
        "mov rax, qword ptr [rip + {next}]",
        "test rax, rax",
        "jnz 2f",
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {prepare}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "mov rax, qword ptr [rip + {next}]",
        "2:",
        "and esi, dword ptr [rip + {kept}]",
        "jmp rax",
        next = sym NEXT,
        kept = sym KEPT,
        prepare = sym prepare_late,
    )
}

/// dlopen(3).
///
/// # Safety
/// As for libc's.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void {
    core::arch::naked_asm!(
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbnz x16, 2f",
        "stp x29, x30, [sp, #-32]!",
        "stp x0, x1, [sp, #16]",
        "bl {prepare}",
        "ldp x0, x1, [sp, #16]",
        "ldp x29, x30, [sp], #32",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "2:",
        "adrp x17, {kept}",
        "ldr w17, [x17, :lo12:{kept}]",
        "and w1, w1, w17",
        "br x16",
        next = sym NEXT,
        kept = sym KEPT,
        prepare = sym prepare_late,
    )
}

const _: [unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void; 2] = [libc::dlopen, dlopen];
