//! The hooks of clone and syscall: a child with memory of its own is a fork, though no fork handler runs for it, and its attaches are to be
//! counted when the call returns.
//!
//! `syscall` is hooked for SYS_clone, SYS_clone3 and SYS_fork, and for the calls of shared memory, which on the userspace backend are the gate's by
//! that name too: libraries that overwrite the first bytes of shmat and shmdt, ours, make the call so (UCX, for MPI). All else is passed on by a jump,
//! with every register as it came. A child that shares its parent's memory, or that is to begin on another stack by a raw call, is left alone.

use core::ffi::{c_int, c_long, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};

use once_cell::race::OnceNonZeroUsize;
use shmgate_core::errno;
use shmgate_core::sys::read_host;

use crate::hooks::{plain_shmat, plain_shmctl, plain_shmdt, plain_shmget};
use crate::next;
use crate::process::{before_fork, gate_if_on, in_child, in_parent};

type Main = extern "C" fn(*mut c_void) -> c_int;

/// What a child of clone is to begin with. The child finds it in its copy of the parent's stack.
struct Start {
    main: Main,
    arg: *mut c_void,
}

redhook::hook! {
    unsafe fn clone(main: Main, stack: *mut c_void, flags: c_int, arg: *mut c_void, ptid: *mut c_void, tls: *mut c_void, ctid: *mut c_void) -> c_int => counted_clone {
        if flags & libc::CLONE_VM != 0 || gate_if_on().is_none() {
            // SAFETY: the host's own call.
            return unsafe { next::clone()(main, stack, flags, arg, ptid, tls, ctid) };
        }
        let start = Start { main, arg };
        before_fork();
        // SAFETY: the host's own call, but for where the child begins.
        let pid = unsafe { next::clone()(begin, stack, flags, (&raw const start).cast_mut().cast(), ptid, tls, ctid) };
        in_parent();
        pid
    }
}

/// Where a child of clone begins.
extern "C" fn begin(start: *mut c_void) -> c_int {
    in_child();
    // SAFETY: `counted_clone` gave it, and its frame has been copied with the rest of the parent's memory.
    let Start { main, arg } = unsafe { start.cast::<Start>().read() };
    main(arg)
}

/// The next `syscall`, 0 until it is looked for.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Finds the next `syscall`.
pub fn prepare() {
    static PLACE: OnceNonZeroUsize = OnceNonZeroUsize::new();
    NEXT.store(next::find(&PLACE, c"syscall", considered as *const () as usize), Ordering::Release);
}

/// The beginning of struct clone_args.
#[derive(Clone, Copy)]
#[repr(C)]
struct CloneArgs {
    flags: u64,
    unused: [u64; 4],
    stack: u64,
}

/// True for a system call that makes a child as fork does.
fn is_fork(number: c_long, first: c_long, second: c_long) -> bool {
    let (flags, stack) = match number {
        libc::SYS_clone => (first as u64, second as u64),
        // A struct that can't be read is the kernel's to refuse.
        libc::SYS_clone3 => match read_host::<CloneArgs>(first as u64) {
            Some(CloneArgs { flags, stack, .. }) => (flags, stack),
            None => return false,
        },
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork => (0, 0),
        _ => return false,
    };
    flags & libc::CLONE_VM as u64 == 0 && stack == 0 && gate_if_on().is_some()
}

/// A call of shared memory, if the userspace backend serves. To the kernel's it goes unseen: what the next shmat calls is not to come here again.
unsafe fn served(number: c_long, a: c_long, b: c_long, c: c_long) -> Option<c_long> {
    if !matches!(number, libc::SYS_shmget | libc::SYS_shmat | libc::SYS_shmdt | libc::SYS_shmctl) {
        return None;
    }
    gate_if_on()?.backend().userspace()?;
    // SAFETY: the host's own call. Not by the hooks, which may lead here.
    Some(unsafe {
        match number {
            libc::SYS_shmget => plain_shmget(a as _, b as _, c as _).into(),
            libc::SYS_shmat => plain_shmat(a as _, b as _, c as _) as _,
            libc::SYS_shmdt => plain_shmdt(a as _).into(),
            _ => plain_shmctl(a as _, b as _, c as _).into(),
        }
    })
}

/// A system call that may make a child, or one of shared memory; before [`prepare`], any.
unsafe extern "C" fn considered(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    // SAFETY: the host's own call.
    if let Some(result) = unsafe { served(n, a, b, c) } {
        return result;
    }
    let forks = is_fork(n, a, b);
    if forks {
        before_fork();
    }
    // SAFETY: the host's own call. The child returns from it too, on its copy of this stack.
    let result = unsafe { system_call(n, a, b, c, d, e, f) };
    match result {
        0 if forks => in_child(),
        _ if forks => in_parent(),
        _ => {}
    }
    if (-4095..0).contains(&result) {
        errno::set(-result as i32);
        return -1;
    }
    result
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn system_call(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    let result;
    // SAFETY: by the caller's promise; the kernel changes rcx and r11 alone.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") n => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn system_call(n: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    let result;
    // SAFETY: by the caller's promise.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") n,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
        );
    }
    result
}

/// syscall(2).
///
/// # Safety
/// As for libc's.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    core::arch::naked_asm!(
        "cmp rdi, {clone}",
        "je 2f",
        "cmp rdi, {fork}",
        "je 2f",
        "cmp rdi, {clone3}",
        "je 2f",
        "lea rax, [rdi - {shmget}]",
        "cmp rax, 2",
        "jbe 2f",
        "cmp rdi, {shmdt}",
        "je 2f",
        "mov rax, qword ptr [rip + {next}]",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2: jmp {considered}",
        clone = const libc::SYS_clone,
        fork = const libc::SYS_fork,
        clone3 = const libc::SYS_clone3,
        // To shmctl, with shmat between.
        shmget = const libc::SYS_shmget,
        shmdt = const libc::SYS_shmdt,
        next = sym NEXT,
        considered = sym considered,
    )
}

/// syscall(2).
///
/// # Safety
/// As for libc's.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
    core::arch::naked_asm!(
        "cmp x0, {clone}",
        "b.eq 2f",
        "cmp x0, {clone3}",
        "b.eq 2f",
        "sub x16, x0, {shmget}",
        "cmp x16, 3",
        "b.ls 2f",
        "adrp x16, {next}",
        "ldr x16, [x16, :lo12:{next}]",
        "cbz x16, 2f",
        "br x16",
        "2: b {considered}",
        clone = const libc::SYS_clone,
        clone3 = const libc::SYS_clone3,
        // To shmdt, with the others between.
        shmget = const libc::SYS_shmget,
        next = sym NEXT,
        considered = sym considered,
    )
}
